"""Find the folders of trained models, without opening a model.

A mistake in `model=` is so found before torch is imported, which takes seconds. A model that is part of nerveseg is
called by its name (`model=thigh`); a folder of the same name is called by a path (`model=./thigh`).
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from nerveseg.errors import BundleError, RunError
from nerveseg.names import FolderPath
from nerveseg.runs import FOLD_PREFIX, FoldFolder, find_cross_validations

DESCRIPTION = "model.json"
DEMO = "make demo trains one on synthetic data (outputs/demo)"
NAMED_AT_MOST = 8

PACKAGED = Path(__file__).parents[1] / "models"  # folder of the models that are part of nerveseg
DEFAULT = "thigh"  # name of the one that `segment` takes without `model=`


def packaged_models() -> dict[str, Path]:
    """Return the folder of each model that is part of nerveseg, by its name."""
    return {path.parent.name: path.parent for path in sorted(PACKAGED.glob(f"*/{DESCRIPTION}"))}


def model_path(given: Any) -> Any:
    """Return the folder of a model that is part of nerveseg for its name as text; anything else as it is.

    `./thigh` is no name but a path, and so is every `Path`.
    """
    return packaged_models().get(given, given) if isinstance(given, str) else given


ModelPath = Annotated[FolderPath, BeforeValidator(model_path)]
"""Type of the fields of configurations that hold a model, by its name or its folder."""


def default_model(output_root: Path) -> Path:
    """Return the folder of the model that is taken without `model=`; raise `BundleError` if it is not installed."""
    folder = packaged_models().get(DEFAULT)
    if folder is None:
        raise no_model_error(output_root)
    return folder


def check_model_folder(path: Path) -> None:
    """Raise `BundleError` unless `path` is a folder that holds a bundle, a trained fold or one sweep."""
    if path.is_file():
        raise BundleError("model= names a folder", found="a file", path=path, remedy=f"model={path.parent}")
    if not path.is_dir():
        raise BundleError(
            "model= names the folder of a sweep, a fold or a bundle",
            found="no such folder",
            path=path,
            remedy=f"see outputs/ for trained models; {_by_name()}{DEMO}",
        )
    if not any(map(is_bundle, (path, FoldFolder(path).model))):
        find_cross_validation(path)


def known_models(output_root: Path) -> list[Path]:
    """Return the folders below `output_root` that `open_model` takes: sweeps with a trained fold, and other bundles."""
    bundles = [
        path.parent
        for path in output_root.rglob(DESCRIPTION)
        if not any(part.startswith(".") for part in path.relative_to(output_root).parts)  # temporary, or not ours
    ]
    return sorted({folder.parents[1] if is_in_fold(folder) else folder for folder in bundles})


def no_model_error(output_root: Path) -> BundleError:
    """Return the error of a missing `model=`, which names the trained models."""
    trained = known_models(output_root)
    given = f"model={trained[0]}" if trained else DEMO
    more = f"; {DEMO}" if trained else ", then model=outputs/demo"
    return BundleError(
        "segment needs a trained model",
        found="no model=; trained models here: " + (_listed(list(map(str, trained))) if trained else "none"),
        path=output_root,
        remedy=f"{given}{more}",
    )


def find_cross_validation(path: Path) -> Path:
    """Return the one folder at or below `path` that holds folds; raise `BundleError` if there is none, or several."""
    try:
        found = find_cross_validations(path)
    except RunError as error:
        raise BundleError(
            "model= names the folder of a sweep, a fold or a bundle",
            found="a fold that is not trained yet" if path.name.startswith(FOLD_PREFIX) else "no trained model in it",
            path=path,
            remedy=f"see outputs/ for trained models; {DEMO}",
        ) from error
    if len(found) > 1:
        raise BundleError(
            "model= names one sweep",
            found=f"{len(found)}: {_listed([str(folder.relative_to(path)) for folder in found])}",
            path=path,
            remedy=f"for example model={found[0]}",
        )
    return found[0]


def is_bundle(folder: Path) -> bool:
    """Return true for the folder of a bundle, complete or not."""
    return (folder / DESCRIPTION).is_file() or (folder / "weights.safetensors").is_file()


def is_in_fold(bundle: Path) -> bool:
    """Return true for a bundle in the folder of its fold."""
    return bundle == FoldFolder(bundle.parent).model and bundle.parent.name.startswith(FOLD_PREFIX)


def _by_name() -> str:
    """Return the beginning of a remedy that names the models of the package."""
    return "".join(f"model={name} is part of nerveseg; " for name in packaged_models())


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return ", ".join(names[:NAMED_AT_MOST]) + more
