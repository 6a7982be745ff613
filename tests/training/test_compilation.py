"""Compilers are stood in for: what is tested is what training makes of one that works and of one that does not."""

import subprocess
import sys

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.training import compilation
from nerveseg.training.compilation import compile_or_explain, wants_compiling
from nerveseg.training.segmenter import Segmenter


def network():
    torch.manual_seed(0)
    return FCDenseNet(first_filters=3, growth_rate=2, layers_per_block=1, transitions=1, dropout=0.2)


def broken(module):
    raise RuntimeError("no compiler\nand a long story")


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize(("compiler", "lines"), [(lambda module: module, 0), (broken, 1)])
def test_a_trial_leaves_weights_statistics_gradients_and_random_numbers_alone(compiler, lines):
    module, told = network().train(), []
    before, image = state(module), torch.randn(2, 1, 8, 8)
    random = torch.get_rng_state()
    compile_or_explain(module, image, told.append, compiler)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert len(told) == lines


TRACED = """
import torch
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.training.compilation import compile_or_explain

network = FCDenseNet(first_filters=3, growth_rate=2, layers_per_block=1, transitions=1, dropout=0.0).train()
image = torch.randn(2, 1, 9, 8)
compiler = lambda module: torch.compile(module, backend="aot_eager", dynamic=False, fullgraph=True)
compiled = compile_or_explain(network, image, print, compiler)
assert compiled is not network
torch.testing.assert_close(compiled(image), network(image))
"""


@pytest.mark.slow
@pytest.mark.integration
def test_the_network_is_traced_whole_and_gives_the_same_numbers():
    """In a process of its own: the type checks of these tests cannot be traced. No compiler is behind it."""
    subprocess.run([sys.executable, "-c", TRACED], check=True)


def test_a_failure_is_told_in_one_line_and_the_network_comes_back():
    module, told = network(), []
    assert compile_or_explain(module, torch.randn(2, 1, 8, 8), told.append, broken) is module
    assert told == ["training goes on without torch.compile, which failed: RuntimeError: no compiler"]


def test_a_compiler_may_fail_as_late_as_on_the_way_back():
    class Late(torch.nn.Module):
        def forward(self, image):
            image = image.clone().requires_grad_()
            image.register_hook(lambda _: broken(None))
            return 2 * image

    module, told = network(), []
    assert compile_or_explain(module, torch.randn(2, 1, 8, 8), told.append, lambda _: Late()) is module
    assert len(told) == 1


@pytest.mark.parametrize(("choice", "accelerator", "triton", "expected"), [
    ("auto", "gpu", True, True), ("auto", "gpu", False, False), ("auto", "cpu", True, False),
    (True, "cpu", False, True), (False, "gpu", True, False),
])  # fmt: skip
def test_auto_compiles_on_a_gpu_with_triton(monkeypatch, choice, accelerator, triton, expected):
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: triton)
    assert wants_compiling(choice, accelerator) is expected


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*")
@pytest.mark.filterwarnings("ignore:.*number of training batches.*", "ignore:.*have no `val_dataloader`.*")
def test_a_compiled_training_leaves_the_same_names_in_its_state(monkeypatch, tmp_path):
    used = []
    monkeypatch.setattr(compilation, "_compile", lambda module: used.append(module) or torch.nn.Sequential(module))
    names = []
    for compiled in (False, True):
        model = Segmenter(
            network(), lambda parameters: torch.optim.SGD(parameters, lr=0.1),
            lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1), compiled=compiled,
        )  # fmt: skip
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=tmp_path, enable_checkpointing=False,
        )  # fmt: skip
        batch = {"image": torch.randn(1, 8, 8), "label": torch.ones(8, 8, dtype=torch.int64)}
        trainer.fit(model, DataLoader([batch, batch], batch_size=2))
        names.append(list(model.state_dict()))
    assert len(used) == 1
    assert names[0] == names[1]
