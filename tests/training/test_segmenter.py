import monai.losses
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from nerveseg.errors import TrainingError
from nerveseg.evaluation.metrics.pair_scores import dice
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.training.epoch_checkpoint import EpochCheckpoint
from nerveseg.training.segmenter import Segmenter, init_classifier_bias

# Lightning's own: it asks PyTorch a question that PyTorch deprecated, and gives advice on loaders and loggers.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*number of training batches.*", "ignore:Checkpoint directory .* not empty"),
    pytest.mark.filterwarnings("ignore:The `srun` command is available.*", "ignore:.*have no `val_dataloader`.*"),
]


def network(dropout=0.0):
    torch.manual_seed(0)
    return FCDenseNet(first_filters=3, growth_rate=2, layers_per_block=1, transitions=1, dropout=dropout)


def segmenter(dropout=0.0, seed=0):
    return Segmenter(
        network(dropout),
        lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5),
        seed=seed,
    )


def batches(count=3):
    random = torch.Generator().manual_seed(1)
    return [
        {"image": torch.randn(1, 8, 8, generator=random), "label": (torch.rand(8, 8, generator=random) < 0.3).long()}
        for _ in range(count)
    ]


def fit(model, folder, epochs=1, callbacks=(), checkpoint=None):
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, callbacks=list(callbacks), enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
        enable_checkpointing=any(isinstance(callback, pl.callbacks.Checkpoint) for callback in callbacks),
    )  # fmt: skip
    trainer.fit(model, DataLoader(batches(), batch_size=1), ckpt_path=checkpoint, weights_only=True)
    return trainer


@pytest.mark.parametrize("share", [0.0015, 0.03, 0.5, 0.9])
def test_a_network_that_starts_at_the_class_prior_predicts_that_share(share):
    prior = network()
    init_classifier_bias(prior, [share])
    with torch.no_grad():
        prior.classifier.weight.zero_()  # leaves the bias alone to speak
        probability = torch.softmax(prior.eval()(torch.randn(1, 1, 16, 16)), dim=1)[:, 1]
    np.testing.assert_allclose(probability.numpy(), share, rtol=1e-5)


def test_an_untrained_network_that_starts_at_the_prior_is_near_it():
    prior = FCDenseNet(first_filters=8, growth_rate=4, layers_per_block=2, transitions=2)
    init_classifier_bias(prior, [0.002])
    prior.train()  # normalised by the batch, as in training
    with torch.no_grad():
        probability = torch.softmax(prior(torch.randn(4, 1, 32, 32)), dim=1)[:, 1]
    assert 0.0004 < float(probability.median()) < 0.01


def test_a_step_of_training_is_the_loss_of_the_networks_logits():
    model = segmenter()
    model.log = lambda *arguments, **options: None
    model.eval()
    batch = {"image": torch.randn(2, 1, 8, 8), "label": torch.ones(2, 8, 8, dtype=torch.int64)}
    with torch.no_grad():
        shares = torch.softmax(model.network(batch["image"]).double(), dim=1)[:, 1]
        assert float(model.training_step(batch, 0)) == pytest.approx(float(-shares.log().mean()), rel=1e-5)


class Losses(pl.Callback):
    """The losses of each epoch; while the weights stay the same, only dropout changes them."""

    def __init__(self):
        self.numbers = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.numbers.setdefault(trainer.current_epoch, []).append(float(outputs["loss"]))


def drawn(tmp_path, seed, epochs, disturb=0):
    recorded, still = Losses(), segmenter(0.5, seed)
    still._optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.0)
    torch.manual_seed(disturb)
    fit(still, tmp_path, epochs, [recorded])
    return recorded.numbers


def test_dropout_of_an_epoch_depends_on_seed_and_epoch_alone(tmp_path):
    first = drawn(tmp_path, seed=3, epochs=3)
    assert first == drawn(tmp_path, seed=3, epochs=3, disturb=99)
    assert {epoch: first[epoch] for epoch in (0, 1)} == drawn(tmp_path, seed=3, epochs=2)
    other = drawn(tmp_path, seed=4, epochs=3)
    every = [tuple(numbers) for run in (first, other) for numbers in run.values()]
    assert len(set(every)) == 6, "no two epochs or seeds draw alike"


def test_a_run_resumed_from_its_checkpoint_ends_with_the_same_weights(tmp_path):
    straight = segmenter(0.5)
    fit(straight, tmp_path, epochs=4)
    first = segmenter(0.5)
    fit(first, tmp_path, epochs=2, callbacks=[EpochCheckpoint(tmp_path / "checkpoints", 1, {})])
    torch.manual_seed(12345)
    second = segmenter(0.5)
    again = EpochCheckpoint(tmp_path / "checkpoints", 1, {})
    fit(second, tmp_path, epochs=4, callbacks=[again], checkpoint=tmp_path / "checkpoints" / "last.ckpt")
    for (name, expected), resumed in zip(
        straight.network.state_dict().items(), second.network.state_dict().values(), strict=True
    ):
        assert torch.equal(expected, resumed), name


def test_a_checkpoint_holds_plain_values_and_only_the_last_one_is_kept(tmp_path):
    fit(segmenter(), tmp_path, epochs=3, callbacks=[EpochCheckpoint(tmp_path / "checkpoints", 1, {})])
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert "hyper_parameters" not in saved
    assert saved["epoch"] == 2


def test_checkpoints_may_be_rarer_than_epochs(tmp_path):
    fit(segmenter(), tmp_path, epochs=3, callbacks=[EpochCheckpoint(tmp_path / "checkpoints", 2, {})])
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["epoch"] == 1


def test_the_schedule_is_stepped_once_per_epoch(tmp_path):
    trainer = fit(segmenter(), tmp_path, epochs=3)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**3)


def test_the_network_computes_in_channels_last():
    weights = [parameter for parameter in segmenter().network.parameters() if parameter.ndim == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


class Validated(pl.Callback):
    """The logged values of each epoch."""

    def __init__(self):
        self.values = []

    def on_validation_epoch_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.values.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def validation_batches():
    """Two subjects; the second batch holds slices of both."""
    random = torch.Generator().manual_seed(5)
    image = torch.randn(6, 1, 8, 8, generator=random)
    label = (torch.rand(6, 8, 8, generator=random) < 0.3).long()
    subject = torch.tensor([4, 4, 4, 9, 9, 9])
    return [{"image": image[part], "label": label[part], "subject": subject[part]} for part in (slice(2), slice(2, 6))]


def test_validation_is_the_mean_over_subjects_and_over_slices(tmp_path):
    model, recorded = segmenter(), Validated()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, callbacks=[recorded], enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, DataLoader(batches(), batch_size=1), DataLoader(validation_batches(), batch_size=None))
    (logged,) = recorded.values
    image, label = (torch.cat([batch[name] for batch in validation_batches()]) for name in ("image", "label"))
    model.eval()
    with torch.no_grad():
        logits = model(image)
    found = (logits[:, 1] > logits[:, 0]).numpy()
    scores = [dice(label.bool().numpy()[part], found[part]) for part in (slice(3), slice(3, 6))]
    assert logged["validation/dice"] == pytest.approx(np.mean(scores))
    assert logged["validation/loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, label)), rel=1e-5)


def test_validation_of_patches_counts_each_slice_once(tmp_path):
    """Loss and Dice are those of the counted slices; the slices between them would change both."""
    torch.manual_seed(0)
    volumes = FCDenseNet(
        first_filters=3,
        growth_rate=2,
        layers_per_block=1,
        transitions=1,
        dimensions=3,
        pooling=[[2, 2, 1]],
        dropout=0.0,
    )
    model, recorded = Segmenter(volumes, lambda parameters: torch.optim.SGD(parameters, lr=0.1)), Validated()
    random = torch.Generator().manual_seed(5)
    image = torch.randn(3, 1, 8, 8, 4, generator=random)
    label = (torch.rand(3, 8, 8, 4, generator=random) < 0.3).long()
    counted, subject = torch.tensor([4 * [True], [False, True, True, False], 4 * [True]]), torch.tensor([4, 4, 9])
    batch = {"image": image, "label": label, "counted": counted, "subject": subject}
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, callbacks=[recorded], enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
    )  # fmt: skip
    training = [{"image": image, "label": label}]
    trainer.fit(model, DataLoader(training, batch_size=None), DataLoader([batch], batch_size=None))
    (logged,) = recorded.values
    model.eval()
    with torch.no_grad():
        logits = model(image)
    kept = counted[:, None, None].expand(label.shape)
    each = torch.nn.functional.cross_entropy(logits, label, reduction="none")
    assert logged["validation/loss"] == pytest.approx(float(each[kept].mean()), rel=1e-5)
    found, true = (logits[:, 1] > logits[:, 0]).numpy(), label.bool().numpy()
    scores = [
        dice(true[part][kept[part]][None, None], found[part][kept[part]][None, None])
        for part in (slice(2), slice(2, 3))
    ]
    assert logged["validation/dice"] == pytest.approx(np.mean(scores))


def test_a_loss_of_any_origin_is_trained_with(tmp_path):
    for loss in (monai.losses.DiceCELoss(to_onehot_y=True, softmax=True), lambda logits, label: logits.square().mean()):
        recorded = Losses()
        model = Segmenter(network(), lambda parameters: torch.optim.SGD(parameters, lr=0.0), loss=loss)
        fit(model, tmp_path, callbacks=[recorded])
        batch = batches()[0]
        model.train()
        logits, label = model(batch["image"][None]), batch["label"][None]
        expected = loss(logits, label[:, None] if isinstance(loss, torch.nn.Module) else label)
        assert recorded.numbers[0][0] == pytest.approx(float(expected.detach()), rel=1e-5)


def test_a_segmenter_is_loaded_from_its_checkpoint(tmp_path):
    trained = segmenter()
    fit(trained, tmp_path, epochs=2, callbacks=[EpochCheckpoint(tmp_path, 1, {})])
    other = FCDenseNet(first_filters=3, growth_rate=2, layers_per_block=1, transitions=1)
    loaded = Segmenter.load_from_checkpoint(tmp_path / "last.ckpt", network=other, weights_only=True).eval()
    image = torch.randn(1, 1, 8, 8)
    assert torch.equal(loaded(image), trained.eval()(image))


class Breaking(pl.Callback):
    """Makes a weight infinite after a step, as a rate that is too high does."""

    def __init__(self, epoch, batch):
        self.moment = epoch, batch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.moment:
            with torch.no_grad():
                pl_module.network.classifier.bias[0] = float("inf")


@pytest.mark.parametrize("batch", [0, 2])
def test_a_training_that_is_not_finite_stops_and_keeps_the_checkpoint_before(batch, tmp_path):
    checkpoint = EpochCheckpoint(tmp_path / "checkpoints", 1, {})
    with pytest.raises(TrainingError) as caught:
        fit(segmenter(), tmp_path, epochs=4, callbacks=[Breaking(2, batch), checkpoint])
    assert "epoch 3" in caught.value.found
    assert f"after {6 + batch + 1} optimizer steps" in caught.value.found
    assert caught.value.remedy
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["epoch"] == 1
    assert all(value.isfinite().all() for value in saved["state_dict"].values())
