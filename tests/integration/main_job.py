"""Running the main job in this process, and reading its weights."""

from safetensors.torch import load_file

from nerveseg.train import main as train


def in_process(*arguments):
    code = train([str(argument) for argument in arguments])
    assert code == 0


def weights(folder):
    return load_file(folder / "model" / "weights.safetensors")
