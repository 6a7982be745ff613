"""Training samples made on the fly, as `samples` configures them, and the bank of anatomies that they need."""

from nerveseg.console import report_progress
from nerveseg.errors import ConfigurationError
from nerveseg.files import wait_for_lock
from nerveseg.inference.training_record import ScanRanges
from nerveseg.phantom.structures import ARTERY, BONE, FAT, MUSCLE, NERVE, VEIN
from nerveseg.synthesis.anatomies import prepare_bank
from nerveseg.synthesis.scanner import PIXELS_MM
from nerveseg.synthesis.scene import STEPS_MM
from nerveseg.synthesis.thigh_samples import ThighSamples
from nerveseg.workflows.config import TrainConfig

BANKS = "thighs"  # name of the folder, below `output_root`, of the banks of anatomies
BANK_SEED = 1  # of the anatomies, which all trainings share
CLASSES = {"nerve": (NERVE,), "artery": (ARTERY,), "vein": (VEIN,), "bone": (BONE,), "muscle": (MUSCLE,), "fat": (FAT,)}
"""Classes that a study has to declare for its samples to be made."""

RANGES = ScanRanges(pixel_mm=PIXELS_MM, step_mm=STEPS_MM)
"""Scans that the samples stand for."""


def check_samples(config: TrainConfig) -> None:
    """Raise `ConfigurationError` if samples cannot be made for a configuration, one of `experiment=thigh`."""
    if config.samples is None:
        return
    images = [*config.study.images, *config.study.optional_channels]
    spacing = config.preprocessing.spacing_mm
    wanted: dict[str, tuple[bool, object]] = {
        f"study.classes={{{', '.join(f'{name}: {list(labels)}' for name, labels in CLASSES.items())}}}":
        (config.study.classes == CLASSES, config.study.classes),
        "one image channel": (len(images) == 1, ", ".join(images)),
        "preprocessing.spacing_mm of two numbers": (isinstance(spacing, tuple), spacing),
        "context.depth=null": (config.context.depth is None, config.context.depth),
        "context.centred=null": (config.context.centred is None, config.context.centred),
        "target=consensus": (config.target == "consensus", config.target),
    }  # fmt: skip
    for rule, (kept, found) in wanted.items():
        if not kept:
            raise ConfigurationError(f"samples=thigh is trained with {rule}", found=found, remedy="experiment=thigh")


def thigh_samples(config: TrainConfig) -> ThighSamples:
    """Return the samples of a configuration; make the anatomies first that the bank lacks."""
    assert config.samples is not None
    assert isinstance(config.preprocessing.spacing_mm, tuple)
    root = config.output_root / BANKS
    root.mkdir(parents=True, exist_ok=True)
    with wait_for_lock(root / ".making"), report_progress("making thighs", config.samples.people) as progress:
        bank = prepare_bank(root, config.samples.people, BANK_SEED, progress)
    return ThighSamples(
        bank,
        config.context.size or config.preprocessing.size,
        config.preprocessing.spacing_mm,
        config.context.neighbours,
        config.seed,
        config.samples.per_epoch,
    )
