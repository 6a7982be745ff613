"""One synthetic scan: parameters drawn from the subject's own seed, then truth, three raters' masks and the images."""

from dataclasses import dataclass

import numpy as np

from nerveseg.phantom.acquisition import FatSuppressed, acquire, draw_acquisition, fat_suppressed
from nerveseg.phantom.anatomy import cut
from nerveseg.phantom.atlas import MUSCLES
from nerveseg.phantom.grid import ScanGrid
from nerveseg.phantom.outline import Truth, outline_of, truth_of, vein_mask
from nerveseg.phantom.population import SimulatedPerson, draw_affine, draw_grid, draw_person
from nerveseg.phantom.raters import RATERS, draw_difficulty, name_nerves, rate
from nerveseg.phantom.signal import Perineural, draw_perineural, render
from nerveseg.phantom.specification import CohortSpec, Participant, subject_generator
from nerveseg.phantom.structures import LAYERS, NERVE, layers_of, structures_in
from nerveseg.phantom.tissues import T2, TIRM, MrSequence
from nerveseg.phantom.variety import draw_sequence
from nerveseg.types import Affine, Channels, Image, LabelMap, Mask

VASTUS = [number for number, muscle in enumerate(MUSCLES) if muscle.name.startswith("vastus")]


@dataclass(frozen=True)
class Images:
    """Images of one scan."""

    t2: Image  # integers, healthy muscle near 100
    fat_suppressed: FatSuppressed | None  # second channel, where the cohort has one
    vastus: Mask  # vastus muscles, which the sciatic nerve does not supply
    structures: LabelMap  # labels of `nerveseg.phantom.structures`


@dataclass(frozen=True)
class SimulatedSubject:
    """One simulated scan, in RAS order on one grid."""

    participant: Participant
    images: Images | None  # None if only masks were simulated
    known: Truth
    raters: dict[str, Mask]
    named: dict[str, LabelMap]  # nerve of every voxel of each rater's mask, labels as in `Truth.nerves`
    near_veins: Mask  # veins beside the nerve, which resemble it
    affine: Affine  # from voxel indices to millimetres
    split_mm: float  # level of the split relative to the middle of the lowest slice; below 0 the stack shows none

    @property
    def image(self) -> Image:
        """T2-weighted image; `ValueError` if only masks were simulated."""
        if self.images is None:
            raise ValueError("the cohort was simulated with raters_only")
        return self.images.t2

    @property
    def truth(self) -> Mask:
        """Mask of the true nerve: voxels that are at least half nerve."""
        return self.known.nerve


def simulate_subject(spec: CohortSpec, participant: Participant) -> SimulatedSubject:
    """Simulate one scan of `participants(spec)`; the same in any order and process, masks also without images."""
    person, grid = draw_person(spec, participant), draw_grid(spec, participant)
    scan, affine = draw_acquisition(spec, participant), draw_affine(spec, participant)
    outline = outline_of(person, grid, scan)
    rng = subject_generator(spec, participant.id, "difficulty")
    difficulty = draw_difficulty(rng, participant.cohort == "patient", spec.rater_noise_scale)
    masks, named = {}, {}
    for rater in RATERS:
        drawing, naming = (subject_generator(spec, participant.id, rater.name + step) for step in ("", " nerves"))
        masks[rater.name] = rate(outline, rater, difficulty, drawing)
        named[rater.name] = name_nerves(masks[rater.name], outline, rater, difficulty, naming)
    veins = np.any([vein_mask(track, grid) for track in outline.veins if track.beside], axis=0)
    truth = truth_of(person.thigh, outline)
    images = None
    if not spec.raters_only:
        second = spec.fat_suppressed_mm is not None
        first = draw_sequence(subject_generator(spec, participant.id, "sequence")) if spec.varied else T2
        sequences = [first, TIRM] if second else [first]
        pictures, vastus, structures = _pictures(person, grid, draw_perineural(spec, participant), sequences)
        noise = subject_generator(spec, participant.id, "noise")
        t2 = np.round(acquire(pictures[0], scan, grid, noise)).clip(0, 32767).astype(np.float32)
        series = fat_suppressed(spec, participant, pictures[1], scan, grid, affine) if second else None
        structures[truth.nerve] = NERVE
        images = Images(t2, series, vastus, structures)
    return SimulatedSubject(
        participant=participant,
        images=images,
        known=truth,
        raters=masks,
        named=named,
        near_veins=veins & ~truth.nerve,
        affine=affine,
        split_mm=float(person.thigh.nerve.split_mm - grid.levels_mm[0]),
    )


def _pictures(
    person: SimulatedPerson, grid: ScanGrid, perineural: Perineural | None, sequences: list[MrSequence]
) -> tuple[Channels, Mask, LabelMap]:
    """Render noise-free pictures, averaged through each slice's thickness, with the structures but the nerve.

    Vastus, the second value, is that of the slice's last plane.
    """
    pictures, vastus = np.zeros((len(sequences), *grid.shape), np.float32), np.zeros(grid.shape, bool)
    structures = np.zeros(grid.shape, np.uint8)
    for number in range(grid.shape[2]):
        planes_mm = grid.planes_mm(number)
        total = np.zeros((len(sequences), *grid.shape[:2]), np.float32)
        layers = np.zeros((len(LAYERS), *grid.shape[:2]), np.float32)
        for level_mm in planes_mm.tolist():
            section = cut(person.thigh, *grid.axes_mm(number), level_mm)
            total += render(section, person, grid.spacing_mm[0], sequences, perineural)
            layers += layers_of(section, person.thigh.fat_bed_mm)
        structures[:, :, number] = structures_in(layers)
        pictures[..., number] = total / np.float32(len(planes_mm))
        vastus[:, :, number] = np.isin(section.muscle_index, VASTUS) & (section.muscle < -1.0) & (section.bone > 0)
    return pictures, vastus, structures
