"""Running the main job in this process, reading its weights, and finding what runs it in others."""

from pathlib import Path

from safetensors.torch import load_file

from nerveseg.train import main as train


def in_process(*arguments):
    code = train([str(argument) for argument in arguments])
    assert code == 0


def weights(folder):
    return load_file(folder / "model" / "weights.safetensors")


def processes_naming(*texts):
    """Processes whose command line has all of these words, or parts of words."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if all(str(text).encode() in line for text in texts):
            found.append(int(entry.name))
    return sorted(found)
