"""Truth of all structures of a scan: nerve, artery, vein, bone (with its marrow), muscle and fat.

A voxel has the structure of its largest share: the topmost, in the order in which `signal.render` paints, that reaches
over the middle of the voxel, on average through the slice's thickness. Where two structures meet it fills at least half
of the voxel; fat between muscles may be thinner than a voxel. Infiltrated muscle is muscle; scar around the nerve is
the tissue in which it lies. Skin, lymph nodes and air are background.
"""

from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from nerveseg.phantom.anatomy import Section
from nerveseg.phantom.signal import SKIN_MM, VESSEL_FAT_MM

BACKGROUND, NERVE, ARTERY, VEIN, BONE, MUSCLE, FAT = range(7)
"""Labels of the structures."""

LAYERS = (FAT, MUSCLE, BONE, FAT, ARTERY, VEIN, BACKGROUND)
"""Labels of the layers of `layers_of`."""


def layers_of(section: Section, fat_bed_mm: float) -> Float32[np.ndarray[Any, Any], "layer x y"]:
    """Return signed distances in mm to the layers of one plane, each of which covers the earlier ones.

    They are the tissue below the skin, muscle, bone, fat around the nerve (`fat_bed_mm` thick) and around vessels,
    arteries, veins, and lymph nodes. The nerve, which covers all, is not among them.
    """
    veins = np.minimum(section.veins, section.near_veins)
    bed = section.nerve - np.float32(fat_bed_mm)
    around = np.minimum(bed, np.minimum(section.arteries, veins) - np.float32(VESSEL_FAT_MM))
    below_skin = section.skin + np.float32(SKIN_MM)
    return np.stack([below_skin, section.muscle, section.bone, around, section.arteries, veins, section.nodes])


def structures_in(layers: Float32[np.ndarray[Any, Any], "layer x y"]) -> UInt8[np.ndarray[Any, Any], "x y"]:
    """Return the label of every voxel of one slice, without the nerve; `layers` is the sum over the slice's planes."""
    labels = np.full(layers.shape[1:], BACKGROUND, dtype=np.uint8)
    for label, distance_mm in zip(LAYERS, layers, strict=True):
        labels[distance_mm < 0] = label
    return labels
