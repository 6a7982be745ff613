import pytest
import torch

from nerveseg.errors import ConfigurationError
from nerveseg.training.devices import choose_device


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU, as far as PyTorch's answers go."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_this_machine():
    device = choose_device()
    assert device.accelerator == ("gpu" if torch.cuda.is_available() else "cpu")
    assert device.precision in device.description


@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
@pytest.mark.parametrize(
    ("asked", "settled"), [("auto", "32-true"), ("32-true", "32-true"), ("bf16-mixed", "bf16-mixed")]
)
def test_without_a_gpu_the_cpu_computes_in_single_precision_unless_told(no_gpu, accelerator, asked, settled):
    device = choose_device(accelerator, asked)
    assert (device.accelerator, device.precision) == ("cpu", settled)
    assert f"{torch.get_num_threads()} threads" in device.description


@pytest.mark.parametrize("accelerator", ["auto", "gpu"])
@pytest.mark.parametrize(
    ("asked", "settled"), [("auto", "bf16-mixed"), ("32-true", "32-true"), ("bf16-mixed", "bf16-mixed")]
)
def test_a_gpu_is_taken_and_named(gpu, accelerator, asked, settled):
    device = choose_device(accelerator, asked)
    assert (device.accelerator, device.precision) == ("gpu", settled)
    assert device.description == f"Some GPU, {settled}"


def test_an_old_gpu_computes_in_single_precision(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert choose_device().precision == "32-true"


def test_the_cpu_may_be_preferred(gpu):
    assert choose_device("cpu").accelerator == "cpu"


def test_a_gpu_that_is_not_there_is_an_error_with_its_remedy(no_gpu):
    with pytest.raises(ConfigurationError) as caught:
        choose_device("gpu")
    assert "trainer=gpu" in caught.value.rule
    assert "trainer=cpu" in caught.value.remedy
