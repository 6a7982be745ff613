"""`experiment=paper` is the method of Balsiger et al. 2018, value by value, written down from the paper's text."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from nerveseg.data.folds import split_folds
from nerveseg.data.preprocessing import Crop, Preprocessing
from nerveseg.data.study import Subject
from nerveseg.inference.prediction_settings import PredictionSettings
from nerveseg.inference.runtimes import THRESHOLD
from nerveseg.launch.schema import parse_config
from nerveseg.phantom.cohort import CohortSpec, participants
from nerveseg.targets import instantiate_target
from nerveseg.training.devices import choose_device
from nerveseg.workflows.training_objects import build_network, build_segmenter
from tests.helpers.composed import plain_config


@pytest.fixture(scope="module")
def config():
    return plain_config("train", "experiment=paper", "fold=0")


def built(config):
    """Return the network and the Lightning module of a configuration in plain types."""
    parsed = parse_config("train", config)
    network = build_network(parsed)
    return network.module, build_segmenter(parsed, network.module)


@pytest.fixture(scope="module")
def network(config):
    return built(config)[0]


def test_the_values_of_the_paper(config):
    assert config["name"] == "paper"
    assert config["fold"] == 0
    assert config["preprocessing"] == {"normalisation": "volume", "size": [320, 320], "spacing_mm": None}
    assert config["network"] == {
        "_target_": "nerveseg.networks.fc_densenet.FCDenseNet",
        "first_filters": 48,
        "growth_rate": 12,
        "layers_per_block": 4,
        "transitions": 4,
        "dropout": 0.2,
        "checkpointing": False,
    }
    optimization = config["optimization"]
    assert (optimization["epochs"], optimization["batch_size"]) == (100, 8)
    assert optimization["class_prior_bias"] is False
    assert config["folds"]["count"] == 4
    assert config["folds"]["minimum_per_cohort"] == {"volunteer": 2}
    assert config["study"]["consensus"] == "majority"
    assert list(config["study"]["raters"]) == ["OS", "BW", "LG"]
    assert THRESHOLD == 0.5, "the likelier of the two classes"
    prediction = PredictionSettings.model_validate(config["inference"])
    assert (prediction.field_of_view, prediction.accuracy) == ("crop", "exact")
    assert (prediction.in_plane_spacing, prediction.precision) == ("scan", "32-true")
    assert not prediction.postprocessing.remove_specks
    assert not prediction.postprocessing.bridge_single_slices


def test_the_cohort_stands_in_for_ten_volunteers_and_forty_two_patients(config):
    cohort = config["study"]["simulate"]
    assert cohort["volunteers"] == 10
    assert cohort["patients"] == {"distal": 14, "medial": 7, "proximal": 21}
    assert (cohort["matrix"], cohort["slices"]) == ([384, 330], 60)
    assert cohort["spacing_mm"] == pytest.approx([200 / 384, 200 / 384, 4.0 + 0.4], abs=1e-6)
    assert cohort["slice_thickness_mm"] == 4.0


def test_a_real_study_takes_the_synthetic_ones_place_and_nothing_else_changes(config):
    real = plain_config("train", "experiment=paper", "study=bids", "study.root=/data")
    assert (real["study"]["name"], real["study"]["root"], real["study"]["synthetic"]) == ("bids", "/data", False)
    assert {key: value for key, value in real.items() if key != "study"} == {
        key: value for key, value in config.items() if key != "study"
    }


def test_the_augmentation_flips_translates_and_bends_nothing_else(config):
    augmentation = instantiate_target(config["augmentation"], "augmentation")
    steps = augmentation._transform.transforms
    assert [type(step).__name__ for step in steps] == ["RandomFlip", "RandomAffine", "RandomElasticDeformation"]
    assert set(map(float, steps[1].scales)) == {1.0}
    assert set(map(float, steps[1].degrees)) == {0.0}


def test_single_precision_also_on_a_gpu(config):
    assert config["trainer"]["precision"] == "32-true"
    assert choose_device(config["trainer"]["accelerator"], config["trainer"]["precision"]).precision == "32-true"


def test_the_network_has_the_papers_number_of_weights(network):
    """Summed from feature maps: 48 at first, 48 more per block on the way down, 48 new ones per block on the way up."""

    def convolution(maps, filters, kernel):
        return maps * filters * kernel**2 + filters

    def block(maps):
        return sum(2 * (maps + 12 * layer) + convolution(maps + 12 * layer, 12, 3) for layer in range(4))

    down = [48, 96, 144, 192, 240]
    weights = convolution(1, 48, 3) + sum(map(block, down))
    weights += sum(2 * maps + convolution(maps, maps, 1) for maps in down[1:])
    weights += sum(convolution(48, 48, 3) + block(48 + skip) for skip in (240, 192, 144, 96))
    weights += convolution(48 + 96 + 48, 2, 1)
    assert sum(parameter.numel() for parameter in network.parameters()) == weights


def test_the_networks_parts_are_the_papers(network):
    kinds = [module for module in network.modules() if not list(module.children())]
    dropouts = [module for module in kinds if isinstance(module, (nn.Dropout, nn.Dropout2d))]
    assert {module.p for module in dropouts} == {0.2}
    assert len(dropouts) == 9 * 4 + 4, "after every layer of nine dense blocks and in every transition down"
    up = [module for module in kinds if isinstance(module, nn.ConvTranspose2d)]
    assert [(module.kernel_size, module.stride) for module in up] == [((3, 3), (2, 2))] * 4
    assert sum(isinstance(module, nn.MaxPool2d) for module in kinds) in (1, 4), "one shared or one per transition"
    assert (network.classifier.kernel_size, network.classifier.out_channels) == ((1, 1), 2)


def test_the_learning_rate_of_every_epoch(config):
    """1e-3; 1e-4 after 30 epochs; 1e-5 after 80. Epochs count from 0 here."""
    settings = built(config)[1].configure_optimizers()
    optimizer, schedule = settings["optimizer"], settings["lr_scheduler"]
    assert type(optimizer) is torch.optim.Adam
    group = optimizer.param_groups[0]
    assert tuple(group["betas"]) == (0.9, 0.999)
    assert (group["weight_decay"], group["amsgrad"]) == (0, False)
    assert schedule["interval"] == "epoch"
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    assert rates == pytest.approx([1e-3] * 30 + [1e-4] * 50 + [1e-5] * 20)


class RecordedRate(pl.Callback):
    """The rate that the optimizer has when it takes a step."""

    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


# Lightning's own: it asks PyTorch a question that PyTorch deprecated, and advises worker processes for every loader.
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*")
@pytest.mark.filterwarnings("ignore:.*number of training batches.*")
@pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`.*")
def test_lightning_steps_the_schedule_once_per_epoch_whatever_the_number_of_batches(config, tmp_path):
    tiny = config | {"network": config["network"] | {"first_filters": 2, "growth_rate": 1, "layers_per_block": 1}}
    segmenter = built(tiny | {"network": tiny["network"] | {"transitions": 0}})[1]
    batch = {"image": torch.zeros(1, 8, 8), "label": torch.zeros(8, 8, dtype=torch.int64)}
    recorded = RecordedRate()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=82, logger=False, callbacks=[recorded], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(segmenter, torch.utils.data.DataLoader([batch, batch], batch_size=1))
    at = {epoch: recorded.rates[2 * epoch + 1] for epoch in (0, 29, 30, 79, 80, 81)}
    assert at == pytest.approx({0: 1e-3, 29: 1e-3, 30: 1e-4, 79: 1e-4, 80: 1e-5, 81: 1e-5})


@pytest.mark.parametrize("seed", [None, 2, 3, 2018])
def test_four_folds_of_thirteen_with_two_volunteers_each(config, seed):
    rows = participants(CohortSpec(**config["study"]["simulate"]))
    subjects = [Subject(id=row.id, images={}, raters={}, cohort=row.cohort, group=row.group) for row in rows]
    assert len(subjects) == 52
    options = config["folds"] | ({} if seed is None else {"seed": seed})
    assert options.pop("validation_fraction") == 0
    folds = split_folds(subjects, **options)
    for fold in folds:
        assert (len(fold.test), len(fold.train)) == (13, 39)
        assert sum(subject.cohort == "volunteer" for subject in fold.test) >= 2
        assert not {subject.id for subject in fold.test} & {subject.id for subject in fold.train}
    assert sorted(subject.id for fold in folds for subject in fold.test) == sorted(row.id for row in rows)


def test_a_volume_has_zero_mean_and_unit_variance_before_it_is_cropped(config):
    random = np.random.default_rng(5)
    channels = random.gamma(2.0, 80.0, (1, 384, 330, 3)).astype(np.float32)
    cropped, grid = Preprocessing(**config["preprocessing"]).apply(channels, (200 / 384, 200 / 384, 4.4))
    mean, sd = float(np.mean(channels, dtype=np.float64)), float(np.std(channels, dtype=np.float64))
    assert cropped.shape == (1, 320, 320, 3)
    np.testing.assert_allclose(cropped[0], (channels[0, 32:352, 5:325] - mean) / sd, atol=1e-5)
    assert grid.crop == Crop(shape=(384, 330), size=(320, 320))


def test_the_crop_of_the_papers_matrix_is_undone_exactly():
    crop = Crop(shape=(384, 330), size=(320, 320))
    array = np.random.default_rng(1).integers(1, 1000, (384, 330, 2))
    back = crop.undo(crop.apply(array))
    inside = np.zeros((384, 330), bool)
    inside[32:352, 5:325] = True
    assert np.array_equal(back[inside], array[inside])
    assert not back[~inside].any()


def test_one_step_of_training_at_full_size_moves_every_weight(config):
    network, segmenter = built(config)
    optimizer = segmenter.configure_optimizers()["optimizer"]
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    assert network.classifier.bias.abs().max() < 0.2, "no class prior"
    random = torch.Generator().manual_seed(0)
    image = torch.randn(1, 1, 320, 320, generator=random).contiguous(memory_format=torch.channels_last)
    label = torch.zeros(1, 320, 320, dtype=torch.int64)
    label[:, 150:170, 140:165] = 1
    segmenter.train()
    assert isinstance(segmenter.loss, torch.nn.CrossEntropyLoss)
    loss = segmenter.loss(segmenter(image), label)
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert [name for name, parameter in network.named_parameters() if torch.equal(parameter, before[name])] == []
    assert all(parameter.isfinite().all() for parameter in network.parameters())
