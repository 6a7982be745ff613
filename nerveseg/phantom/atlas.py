"""Atlas of a thigh of average size: muscles, femur, fascia, vessels and nerve at five levels.

Coordinates are millimetres from the femur's axis, (lateral, anterior), at levels above the popliteal crease; between
the levels they are interpolated. The plan was read off axial sections; sizes are assumed, of the order seen in adult
volunteers.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

LEVELS_MM = (0.0, 100.0, 200.0, 300.0, 400.0)
"""Levels above the popliteal crease of the columns below; 400 mm is the ischial tuberosity."""

Table: TypeAlias = tuple[tuple[float | int, ...], ...]  # one row per level


@dataclass(frozen=True)
class Ellipse:
    """Ellipse in the plane: centre and semi-axes in millimetres, tilt in degrees."""

    lateral_mm: float
    anterior_mm: float
    lateral_axis_mm: float
    anterior_axis_mm: float
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class Muscle:
    """Muscle as one ellipse per level; where its axes are small the muscle has ended."""

    name: str
    sciatic: bool  # true if the sciatic nerve supplies the muscle, which is then denervated with it
    sections: Table  # rows (lateral, anterior, lateral axis, anterior axis, tilt) per level

    def at(self, level_mm: float) -> Ellipse:
        """Return the section at a level."""
        return Ellipse(*interpolate(self.sections, level_mm))


def interpolate(rows: Table, level_mm: float) -> list[float]:
    """Interpolate each column of a table linearly between the atlas's levels, constant outside."""
    return [float(np.interp(level_mm, LEVELS_MM, column)) for column in zip(*rows, strict=True)]


GONE = 0.6

MUSCLES: tuple[Muscle, ...] = (
    Muscle("rectus femoris", False, (
        (0, 42, 9, 2, 0), (0, 37, 12, 5, 0), (-6, 37, 16, 10, 0), (-5, 41, 18, 13, 0), (2, 46, 15, 12, 0))),
    Muscle("vastus lateralis", False, (
        (30, 18, 4, 10, 0), (28, 10, 17, 27, 10), (33, 4, 19, 33, 5), (35, 0, 20, 34, 0), (32, 0, 15, 24, 0))),
    Muscle("vastus intermedius", False, (
        (0, 33, 3, 2, 0), (2, 20, 22, 15, 0), (5, 10, 23, 21, 0), (6, 11, 22, 19, 0), (6, 12, 16, 15, 0))),
    Muscle("vastus medialis", False, (
        (-32, 16, 8, 14, 0), (-30, 6, 19, 27, -10), (-19, 15, 12, 20, -10), (-10, 21, 5, 10, 0),
        (-8, 22, GONE, GONE, 0))),
    Muscle("sartorius", False, (
        (-44, -20, 5, 12, 0), (-44, -16, 9, 14, 20), (-38, 7, 13, 9, 30), (-30, 33, 14, 9, -20), (-6, 54, 14, 8, -10))),
    Muscle("gracilis", False, (
        (-42, -30, 3, 4, 0), (-44, -34, 7, 8, 0), (-57, -24, 8, 12, 20), (-72, -16, 8, 17, 10), (-84, -6, 7, 17, 0))),
    Muscle("adductor longus", False, (
        (-24, -10, GONE, GONE, 0), (-24, -8, GONE, GONE, 0), (-36, -7, 10, 9, 20), (-46, 8, 21, 12, 25),
        (-50, 20, 22, 15, 20))),
    Muscle("adductor magnus", False, (
        (-30, -6, GONE, GONE, 0), (-27, -14, 5, 6, 0), (-31, -25, 25, 14, 12), (-42, -26, 33, 20, 12),
        (-54, -18, 30, 20, 8))),
    Muscle("semimembranosus", True, (
        (-30, -36, 9, 10, 0), (-26, -42, 17, 13, -20), (-38, -50, 15, 10, -15), (-42, -56, 11, 6, -10),
        (-34, -48, 5, 4, 0))),
    Muscle("semitendinosus", True, (
        (-34, -46, 3, 3, 0), (-20, -57, 8, 6, 0), (-24, -62, 14, 10, 0), (-24, -66, 17, 9, 0), (-36, -58, 12, 8, 0))),
    Muscle("biceps femoris, long head", True, (
        (44, -20, 5, 8, 0), (18, -53, 13, 11, 30), (-1, -60, 17, 12, 10), (-3, -62, 13, 9, 0), (-24, -58, 9, 7, 0))),
    Muscle("biceps femoris, short head", True, (
        (39, -18, 4, 7, 0), (23, -34, 12, 11, 30), (10, -31, 10, 9, 20), (10, -26, 3, 3, 0), (10, -24, GONE, GONE, 0))),
    Muscle("gluteus maximus", False, (
        (30, -40, GONE, GONE, 0), (30, -40, GONE, GONE, 0), (28, -42, GONE, GONE, 0), (24, -58, 24, 18, -30),
        (4, -72, 50, 20, -12))),
    Muscle("quadratus femoris", False, (
        (0, -26, GONE, GONE, 0), (0, -26, GONE, GONE, 0), (-4, -26, GONE, GONE, 0), (0, -24, 3, 3, 0),
        (-12, -26, 16, 9, 10))),
    Muscle("tensor fasciae latae", False, (
        (40, 20, GONE, GONE, 0), (40, 20, GONE, GONE, 0), (42, 26, GONE, GONE, 0), (36, 34, 7, 9, 20),
        (38, 38, 11, 14, 20))),
    Muscle("gastrocnemius, medial head", True, (
        (-19, -36, 12, 9, 0), (-18, -30, GONE, GONE, 0), (-18, -30, GONE, GONE, 0), (-18, -30, GONE, GONE, 0),
        (-18, -30, GONE, GONE, 0))),
    Muscle("gastrocnemius, lateral head", True, (
        (19, -34, 11, 8, 0), (16, -28, GONE, GONE, 0), (16, -28, GONE, GONE, 0), (16, -28, GONE, GONE, 0),
        (16, -28, GONE, GONE, 0))),
)  # fmt: skip

FASCIA = ((-1, -8, 51, 51, 0), (-6, -12, 54, 54, 0), (-8, -14, 61, 61, 0), (-14, -13, 69, 67, 0), (-22, -10, 78, 77, 0))
"""Deep fascia around all muscles: an ellipse per level."""

BONES = (
    ((0, -2, 37, 25, 1.5), (0, 0, 17, 15.5, 3.0), (0, 0, 13.5, 14.5, 5.0), (0, 0, 14, 15, 5.0), (3, 0, 18, 17, 3.5)),
    ((-44, -42, -130, -130, 2), (-44, -42, -90, -90, 2), (-44, -42, -60, -60, 2), (-44, -42, -34, -36, 2),
     (-46, -44, 13, 16, 2)),
)  # fmt: skip
"""Femur and ischial tuberosity per level: centre, outer semi-axes (negative: absent), thickness of cortical bone."""

SCIATIC = ((-3, -44), (-3, -46), (-11, -43), (-12, -44), (-18, -46))
"""Centre of the sciatic nerve; below the split it is the tibial nerve's course, superficial to the popliteal vein."""


@dataclass(frozen=True)
class Vessel:
    """Vessel as one disc per level: (lateral, anterior, radius); a radius of 0 is absence."""

    name: str
    artery: bool
    sections: Table


VESSELS: tuple[Vessel, ...] = (
    Vessel("femoral and popliteal artery", True, (
        (-3, -28, 3.0), (-12, -26, 3.0), (-28, -3, 3.2), (-33, 20, 3.4), (-28, 38, 3.8))),
    Vessel("femoral and popliteal vein", False, (
        (-2, -36, 3.8), (-8, -33, 3.8), (-25, -11, 3.8), (-30, 12, 4.2), (-38, 36, 4.8))),
    Vessel("deep femoral artery", True, (
        (-8, -18, 0), (-6, -20, 0), (-11, -15, 1.6), (-17, -2, 2.0), (-20, 26, 2.6))),
    Vessel("deep femoral vein", False, (
        (-12, -20, 0), (-10, -21, 0), (-15, -18, 1.9), (-22, -5, 2.3), (-25, 22, 2.8))),
    Vessel("great saphenous vein", False, (
        (-56, -22, 1.9), (-64, -24, 1.9), (-74, -10, 2.0), (-82, 16, 2.2), (-62, 60, 2.4))),
    Vessel("small saphenous vein", False, (
        (4, -63, 2.0), (2, -70, 1.2), (0, -66, 0), (0, -66, 0), (0, -66, 0))),
    Vessel("perforating vein", False, (
        (6, -30, 0), (6, -32, 1.2), (2, -37, 1.9), (-2, -36, 1.6), (0, -34, 1.4))),
)  # fmt: skip

NODES = (
    (-14.0, -44.0, 52.0, 4.0), (-52.0, 46.0, 372.0, 5.0), (-44.0, 52.0, 388.0, 6.0), (-56.0, 38.0, 396.0, 4.5),
    (-48.0, 44.0, 412.0, 5.5),
)  # fmt: skip
"""Lymph nodes, popliteal and inguinal: (lateral, anterior, level, radius); assumed."""
