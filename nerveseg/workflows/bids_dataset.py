"""Folders of a BIDS App: the dataset with its images, and the dataset of derivatives with its description.

What a person added to `dataset_description.json`, `README.md` and `.bidsignore` of the derivatives stays there.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nerveseg import __version__
from nerveseg.errors import ConfigurationError, RunError, StudyError
from nerveseg.files import atomic_write, check_writable_folder, write_text
from nerveseg.notices import NOTICE
from nerveseg.scans.batch_page import PAGE
from nerveseg.scans.batch_table import TABLE
from nerveseg.scans.verdicts import FILE

RESULTS = "nerveseg"  # folder of the results, as `segment` writes them
BIDS_VERSION = "1.10.0"
DESCRIPTION = "dataset_description.json"
IGNORED = (RESULTS, TABLE, PAGE, FILE)  # lines of `.bidsignore`
TITLE = "masks of peripheral nerves"  # end of the name of a dataset of derivatives
ANY_IMAGE = re.compile(
    r"(?:(?P<ses>ses)-[^_/]+/)?anat/sub-[^_/]+(?P<entities>(?:_[a-z]+-[^_/]+)*)_T2w(?P<end>\.nii(?:\.gz)?)"
)
IMAGE_NAME = re.compile(r"sub-\{id\}(?:_[A-Za-z0-9]+-[^_]+)*_[A-Za-z0-9]+\.nii(?:\.gz)?")


def check_dataset(bids_dir: Path, skip: bool) -> None:
    """Raise `StudyError` unless a folder is a BIDS dataset; `skip` accepts one without a description."""
    if not bids_dir.is_dir():
        raise StudyError("the BIDS dataset is a folder", found="no such folder", path=bids_dir, remedy="correct it")
    if skip:
        return
    try:
        content = json.loads((bids_dir / DESCRIPTION).read_text(encoding="utf-8"))
        missing = [name for name in ("Name", "BIDSVersion") if not (isinstance(content, dict) and content.get(name))]
        found = f"no {', '.join(missing)} in it" if missing else ""
    except (OSError, ValueError) as error:
        found = type(error).__name__
    if found:
        raise StudyError(
            f"a BIDS dataset has {DESCRIPTION} with Name and BIDSVersion",
            found=found,
            path=bids_dir / DESCRIPTION,
            remedy="mend it, or --skip-bids-validation",
        )


def image_templates(bids_dir: Path, given: Sequence[str]) -> dict[str, str]:
    """Return the path template of each image: those that are given as NAME=TEMPLATE, else that of the T2w images.

    Raises:
        ConfigurationError: What is given is no template.
        StudyError: The dataset has no T2w images without other entities than session and run, or with and without.
    """
    if given:
        templates = dict(each.partition("=")[::2] for each in given)
        remedy = "--image T2='sub-{id}/anat/sub-{id}_T2w.nii.gz'"
        wrong = [name or template for name, template in templates.items() if not name.isidentifier() or not template]
        if wrong:
            raise ConfigurationError("--image is NAME=TEMPLATE", found=wrong[0], remedy=remedy)
        for template in templates.values():
            if Path(template).is_absolute() or ".." in Path(template).parts:
                raise ConfigurationError("--image is a path below the dataset", found=template, remedy=remedy)
        first = next(iter(templates.values()))
        if not IMAGE_NAME.fullmatch(Path(first).name):
            rule = "the first --image is called sub-{id}[_<entity>-<label>...]_<suffix>.nii[.gz], as derivatives are"
            raise ConfigurationError(rule, found=first, remedy=remedy)
        return templates
    found: dict[str, int] = {}
    for path in sorted(bids_dir.glob("sub-*/**/anat/*_T2w.nii*")):
        match = ANY_IMAGE.fullmatch(path.relative_to(bids_dir).as_posix().split("/", 1)[1])
        if match:
            template = _template(match["ses"], match["entities"], match["end"])
            found[template] = found.get(template, 0) + 1
    plain = [template for template in found if not re.search(r"_(?!ses-|run-)[a-z]+-", template)]
    if len(plain) == 1:
        return {"T2": plain[0]}
    raise StudyError(
        "the images of a dataset have one name, but for participant, session and run",
        found="; ".join(f"{count} of {template}" for template, count in found.items()) or "no sub-*/anat/*_T2w.nii.gz",
        path=bids_dir,
        remedy="choose with --image T2=<template>",
    )


def _template(session: str | None, entities: str, end: str) -> str:
    named = re.sub(r"_(ses|run)-[^_/]+", r"_\1-{\1}", entities)
    folder = "sub-{id}/ses-{ses}/anat" if session else "sub-{id}/anat"
    return f"{folder}/sub-{{id}}{named}_T2w{end}"


def check_output(bids_dir: Path, output_dir: Path) -> None:
    """Check that a folder can be one of derivatives of nerveseg: a new one, or one that holds such derivatives.

    Raises:
        ConfigurationError: The folder cannot be written to.
        RunError: The folder is the dataset itself, or holds anything else.
    """
    check_writable_folder(output_dir, "output_dir")
    entries = [path.name for path in output_dir.iterdir()] if output_dir.is_dir() else []
    foreign = sorted(name for name in entries if name != RESULTS and not name.startswith("."))
    is_raw = output_dir.resolve() == bids_dir.resolve()
    if is_raw or (foreign and not _is_ours(_description(output_dir))):
        found = "another dataset" if DESCRIPTION in foreign else f"other files: {', '.join(foreign[:3])}"
        raise RunError(
            "derivatives of nerveseg have a folder of their own",
            found="the dataset itself" if is_raw else found,
            path=output_dir,
            remedy="give another output_dir, such as <bids_dir>/derivatives/nerveseg",
        )


def describe_derivatives(bids_dir: Path, output_dir: Path, warnings: Sequence[str]) -> None:
    """Write what describes a dataset of derivatives; what a person added to it stays.

    Args:
        bids_dir: Folder of the dataset.
        output_dir: Folder of the derivatives.
        warnings: Warnings of all results, such as "SYNTHETIC TRAINING DATA".
    """
    earlier = _description(output_dir)
    name = str(earlier.get("Name") or "")
    if not name or (name.startswith("nerveseg") and name.endswith(TITLE)):
        name = ": ".join(["nerveseg", TITLE])
    start, colon, rest = name.partition(": ") if name.startswith("nerveseg: ") else ("", "", name)
    missing = [each for each in warnings if each not in name]
    makers = {str(each.get("Name")): each for each in _generated_by(earlier)}
    generated = {"Name": "nerveseg", "Version": __version__, "Description": NOTICE}
    content = earlier | {
        "Name": start + colon + ": ".join([*missing, rest]),
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [makers.pop("nerveseg", {}) | generated, *makers.values()],
        "DatasetLinks": _entries(earlier.get("DatasetLinks"))
        | {"raw": quote(os.path.relpath(bids_dir, output_dir).replace(os.sep, "/"))},
    }
    write_text(output_dir / DESCRIPTION, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    head, end = "# Masks of peripheral nerves by nerveseg", f"Results of each scan: {RESULTS}/"
    _add_texts(output_dir / "README.md", [head, *warnings, NOTICE, end], warnings, "\n\n")
    _add_texts(output_dir / ".bidsignore", IGNORED, IGNORED, "\n")


def _add_texts(path: Path, whole: Sequence[str], needed: Sequence[str], separator: str) -> None:
    """Write a new text file as a whole; at the end of an existing one, add the needed texts that it lacks."""
    before = path.read_bytes() if path.is_file() else b""
    lines = {line.strip() for line in before.decode(errors="replace").splitlines()}
    added = [each for each in (needed if before else whole) if each not in lines]
    if added:
        gap = separator if before and not before.endswith(separator.encode()) else ""
        with atomic_write(path) as temporary:
            temporary.write_bytes(before + (gap + separator.join(added) + "\n").encode())


def _description(folder: Path) -> dict[str, Any]:
    """Return the content of a dataset's description; nothing if there is none that can be read."""
    try:
        return _entries(json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _entries(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _generated_by(description: Mapping[str, Any]) -> list[dict[str, Any]]:
    made = description.get("GeneratedBy")
    return [_entries(each) for each in made] if isinstance(made, list) else []


def _is_ours(description: Mapping[str, Any]) -> bool:
    return any(each.get("Name") == "nerveseg" for each in _generated_by(description))
