"""Workspace of ITK-SNAP that opens the scan with its masks, their labels, and the channels that were written.

A workspace names its files by absolute paths and the folder that it was saved in. Opened from another folder, ITK-SNAP
looks for them at the same place relative to the workspace first, so that scan and results may be moved together. The
mask to correct is the first segmentation, which ITK-SNAP edits. Its label table holds for all segmentations, so a value
has the names of each.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from nerveseg.data.volumes.dicom_sources import ZIP
from nerveseg.files import atomic_write
from nerveseg.scans.image_files import channel_files
from nerveseg.scans.measuring import MeasuredScan
from nerveseg.scans.own_files import record, recorded
from nerveseg.scans.viewer_files import COLOURS, label_names

WORKSPACE = "workspace.itksnap"
VERSION = "20190612"  # date of the format of ITK-SNAP 3.8; later versions read it
HEAD = """<?xml version="1.0" encoding="UTF-8" ?>
<!DOCTYPE registry [
<!ELEMENT registry (entry*,folder*)>
<!ELEMENT folder (entry*,folder*)>
<!ELEMENT entry EMPTY>
<!ATTLIST folder key CDATA #REQUIRED>
<!ATTLIST entry key CDATA #REQUIRED>
<!ATTLIST entry value CDATA #REQUIRED>
]>
"""


def write_workspace(folder: Path, scan: MeasuredScan, masks: Sequence[str]) -> None:
    """Write `workspace.itksnap` beside the masks; nothing for a scan without a file that ITK-SNAP could open.

    Args:
        folder: Folder of the results.
        scan: Scan with its measurements.
        masks: Names of the files of masks and label maps in the folder, the one to correct first.
    """
    written = dict(recorded(folder))
    image = _image_file(folder, scan, written)
    if image is None:
        return
    channels = {name: file for name, file in channel_files(scan).items() if file in written and name != scan.channel}
    layers = [("MainRole", image, scan.channel, _label_table(scan, masks))]
    layers += [("SegmentationRole", folder / file, file.partition(".")[0], None) for file in masks]
    layers += [("OverlayRole", folder / file, name, None) for name, file in channels.items()]
    root = ElementTree.Element("registry")
    _entries(root, {"SaveLocation": os.path.abspath(folder), "Version": VERSION})
    listed = _folder(root, "Layers")
    for number, (role, path, name, table) in enumerate(layers):
        layer = _folder(listed, f"Layer[{number:03d}]")
        _entries(layer, {"AbsolutePath": os.path.abspath(path), "Role": role, "Tags": ""})
        _entries(_folder(layer, "LayerMetaData"), {"CustomNickName": name})
        if table is not None:
            _folder(_folder(layer, "ProjectMetaData"), "IRIS").append(table)
    ElementTree.indent(root)
    with atomic_write(folder / WORKSPACE) as temporary:
        text = HEAD + ElementTree.tostring(root, encoding="unicode") + "\n"
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    record(folder, WORKSPACE)


def _image_file(folder: Path, scan: MeasuredScan, written: Collection[str]) -> Path | None:
    """Return the file of the image, of DICOM the NIfTI file if there is one, else the first of the only series.

    None stands for an image in memory, a zip, and one of several series, of which ITK-SNAP would take any.
    """
    files, file = scan.scan.image.files, channel_files(scan).get(scan.channel)
    if file is not None and file in written:
        return folder / file
    if scan.files.in_memory or (files and (scan.files.series or scan.files.image.suffix.lower() == ZIP)):
        return None
    return files[0] if files else scan.files.image


def _label_table(scan: MeasuredScan, masks: Sequence[str]) -> ElementTree.Element:
    """Return the table of the labels of all masks, with the kind of file in which a value has a name."""
    named: dict[int, list[str]] = {}

    def add(names: Mapping[int, str], kind: str) -> None:
        for value, name in names.items():
            named.setdefault(value, []).append(f"{name} ({kind})")

    add({1: "nerve"}, "mask")
    if scan.classes.count > 1:
        parts = np.arange(1, scan.classes.count + 1, dtype=np.uint8)
        values = scan.classes.decode(parts[:, None, None]).ravel().tolist()
        add({value: scan.classes.part_name(part) for part, value in enumerate(values, 1)}, "labels")
    add(label_names(scan.courses), "branches")
    table = ElementTree.Element("folder", key="LabelTable")
    _entries(table, {"NumberOfElements": str(len(named))})
    for number, (value, names) in enumerate(sorted(named.items())):
        colour = " ".join(map(str, COLOURS[(value - 1) % len(COLOURS)]))
        element = _folder(table, f"Element[{number}]")
        shown = {"Alpha": "255", "Color": colour, "Flags": "1 1"}
        _entries(element, shown | {"Index": str(value), "Label": "; ".join(names)})
    return table


def _folder(parent: ElementTree.Element, key: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, "folder", key=key)


def _entries(parent: ElementTree.Element, values: Mapping[str, str]) -> None:
    for key, value in values.items():
        ElementTree.SubElement(parent, "entry", key=key, value=value)
