"""Specification of a synthetic cohort (size, grid, difficulty) and the list of its participants."""

import zlib
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field

Location = Literal["distal", "medial", "proximal"]
LOCATIONS: tuple[Location, ...] = ("distal", "medial", "proximal")

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=8)]

# Minutes per subject, mean and standard deviation: the paper's for OS and BW; LG assumed between.
MINUTES = {"OS": (21.1, 7.7), "BW": (18.2, 7.4), "LG": (19.0, 7.5)}


class CohortSpec(BaseModel, frozen=True, extra="forbid"):
    """Specification of a synthetic cohort; `conf/cohort/*.yaml` holds these keys, `paper.yaml` these defaults."""

    name: str  # name of the study, in its dataset_description.json
    volunteers: Count  # healthy subjects, imaged at mid-thigh
    patients: dict[Location, Count]  # patients per location of the stack
    matrix: tuple[Pixels, Pixels]  # in-plane voxels (lateral-medial, anterior-posterior)
    slices: int = Field(ge=1)  # slices per stack
    spacing_mm: tuple[Positive, Positive, Positive]  # the last is the slice step: thickness plus gap
    slice_thickness_mm: float = Field(default=4.0, gt=0)  # thickness over which the signal is averaged
    sub_slices: int = Field(default=2, ge=1)  # planes per slice for that average
    seed: int = Field(ge=0)  # a subject's seed is derived from it and the subject's name
    # Middle of the stack above the popliteal crease.
    stack_centre_mm: dict[Location, float] = {"distal": 110.0, "medial": 200.0, "proximal": 280.0}
    field_centre_mm: tuple[float, float] = (-8.0, -14.0)  # middle of the field of view from the femur's axis
    field_jitter_mm: float = Field(default=4.0, ge=0)  # standard deviation of that middle over subjects
    noise: float = Field(default=0.2, ge=0)  # of each receiver component, relative to healthy muscle
    shading_sd: float = Field(default=0.15, ge=0)  # of the logarithm of the coil's sensitivity, beside its profile
    coil: float = Field(default=0.45, ge=0)  # strength of the profile of knee (distal) and surface coil; 0 is none
    motion: float = Field(default=1.0, ge=0)  # scale of the ghosts; 1 is 5 % of the signal, 1.5 % in volunteers
    distortion_mm: float = Field(default=1.2, ge=0, le=5)  # at the edge of the field; a third of it in volunteers
    patient_movement_mm: float = Field(default=2.0, ge=0)  # median SD over slices of the leg's movement during a slice
    nerve_muscle_contrast: float = Field(default=1.0, gt=0)  # scale of the difference between fascicles and muscle
    # Share of the nerve's contrast with its surroundings that scar and oedema leave in the median patient, at the
    # popliteal crease and 400 mm above it; 1 is none lost, as in volunteers.
    patient_conspicuity: tuple[Share, Share] = (0.05, 0.5)
    nerve_vein_contrast: float = Field(default=0.25, ge=0)  # excess of the near veins over the nerve, relative to it
    fat_suppressed_mm: Positive | None = 0.78125  # in-plane spacing of the fat-suppressed channel; None for none
    repeats: Count = 0  # subjects who are scanned twice: half of them volunteers, half patients
    rater_noise_scale: float = Field(default=1.0, ge=0)  # of the raters' errors; 1 is calibrated on the paper's grid
    # Flag: true for shapes and contrasts of a variety far beyond a study's (`variety`), in place of T2-weighted images.
    varied: bool = False
    raters_only: bool = False  # masks without images, for calibration: the same masks in a fraction of the time


@dataclass(frozen=True)
class Participant:
    """One row of participants.tsv: one scan of one thigh."""

    id: str  # without `sub-`
    cohort: Literal["volunteer", "patient"]
    group: str  # id of the person's first scan; scans of one group stay in one fold
    side: Literal["left", "right"]
    location: Location  # part of the thigh that the stack shows
    # Stretch of the nerve that is swollen (focal, extended) or only brighter (signal; the paper's Figure 5).
    lesion: Literal["none", "focal", "extended", "signal"]
    minutes: dict[str, float]  # simulated drawing time per rater

    @property
    def repeat_of(self) -> str | None:
        """Id of the first scan of the same thigh, if this is the second."""
        return self.group if self.group != self.id else None


def participants(spec: CohortSpec) -> list[Participant]:
    """Return the participants: volunteers V01.., patients P01.. by location, then second scans (V01r, P01r, ..)."""
    locations = [location for location in LOCATIONS for _ in range(spec.patients.get(location, 0))]
    people: list[tuple[str, Location]] = [(f"V{number:02d}", "medial") for number in range(1, spec.volunteers + 1)]
    people += [(f"P{number:02d}", location) for number, location in enumerate(locations, 1)]
    rows = [_participant(spec, identifier, identifier, location) for identifier, location in people]
    volunteers = [row for row in rows if row.cohort == "volunteer"][: spec.repeats // 2]
    patients = [row for row in rows if row.cohort == "patient"][: spec.repeats - len(volunteers)]
    return rows + [_participant(spec, f"{row.id}r", row.id, row.location) for row in volunteers + patients]


def subject_generator(spec: CohortSpec, identifier: str, purpose: str) -> np.random.Generator:
    """Return a generator that depends on the cohort's seed, the subject and the purpose only."""
    words = [zlib.crc32(text.encode()) for text in (identifier, purpose)]
    return np.random.default_rng(np.random.SeedSequence([spec.seed, *words]))


def _participant(spec: CohortSpec, identifier: str, person: str, location: Location) -> Participant:
    rng = subject_generator(spec, person, "participant")
    patient = identifier.startswith("P")
    side: Literal["left", "right"] = "left" if rng.random() < 0.5 else "right"
    kind = rng.random()  # two in five focal, two in five extended, one in five signal only (assumed)
    lesion: Literal["focal", "extended", "signal"] = "focal" if kind < 0.4 else "extended" if kind < 0.8 else "signal"
    return Participant(
        id=identifier,
        cohort="patient" if patient else "volunteer",
        group=person,
        side=side,
        location=location,
        lesion=lesion if patient else "none",
        minutes=_minutes(subject_generator(spec, identifier, "minutes")),
    )


def _minutes(rng: np.random.Generator) -> dict[str, float]:
    diligence = rng.standard_normal()
    return {
        rater: round(float(max(5.0, mean + sd * (0.6 * diligence + 0.8 * rng.standard_normal()))), 1)
        for rater, (mean, sd) in MINUTES.items()
    }
