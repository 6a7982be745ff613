"""Samples of training and validation, read from the slice store: slices, or patches of several slices.

A sample is what the context shows the network at a time. Its augmentation, and the place of a patch in the stack and in
the plane, are a pure function of (seed, epoch, sample). The slices of a sample are moved alike: for the augmentation
they are channels of one image, with a label each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from nerveseg.data.augmentation import Augmentation, slice_seed
from nerveseg.data.consensus import Target
from nerveseg.data.context import Context, mirrored
from nerveseg.data.nerve_sampling import Aim, draw_aim, part_counts, pixel_of
from nerveseg.data.optional_channels import keep_some, with_presence
from nerveseg.data.slice_store import SliceStore

EpochSample = tuple[int, int]
SLICE = Context()  # each slice by itself
Batch = dict[str, Any]
"""`image` and `label`; before augmentation `spacing_mm`, `seed` and, with a share `context.centred`, `aim` too, lists
that stay on the host; in validation `subject` too, and of patches `counted`, flags (batch, z) of the slices that no
patch before has shown."""


class PlainSlices(Dataset[Batch]):
    """All samples of some subjects as they are stored, each with the spacing and seed that its augmentation needs.

    Patches lie at random places of the stack, or about nerve; without `random` they follow one another. `optional` are
    the optional channels with the probability of their dropping, which is 0 without `random`; their presence planes are
    added. With the target "raters" the label holds the share of raters who drew each part (`rater_counts`).
    """

    def __init__(
        self,
        store: SliceStore,
        subjects: Sequence[str],
        seed: int,
        context: Context = SLICE,
        random: bool = True,
        optional: Mapping[str, float] | None = None,
        target: Target = "consensus",
    ) -> None:
        self.store = store
        self.target = target
        self.seed = seed
        self.context = context
        self.random = random
        self.optional = dict(optional or {})
        self.optional_positions = [store.index.channels.index(name) for name in self.optional]
        self.counts: dict[str, Int64[np.ndarray, "slice part"]] = {}  # pixels of nerve in subjects read before
        self.subjects = list(subjects)
        stored = (store.subject(subject) for subject in subjects)
        table = np.array([(context.samples(one.slices), *one.spacing_mm[:2]) for one in stored]).reshape(-1, 3)
        self.ends = np.cumsum(table[:, 0].astype(int))
        self.spacing_mm = table[:, 1:]

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, key: EpochSample) -> Batch:
        """Return `image` float32 (channel, x, y), `label` uint8 (x, y), `spacing_mm` (x, y), `seed` and perhaps `aim`.

        The channels are those of every slice of the sample; a patch has a label (slice, x, y). Labels of shares are
        float32 with an axis of parts before x.
        """
        epoch, number = key
        subject, index = self.place(number)
        name = self.subjects[subject]
        x, y = self.spacing_mm[subject].tolist()
        seed = slice_seed(self.seed, epoch, number)
        images = self.store.images(name)
        context, aim = self.context, self._aim(name, seed)
        if aim is not None:
            index = aim.slice
            positions = context.about(index + round(aim.offset[2] * (context.depth or 0)), len(images))
        else:
            share = shares_of(seed)[2] if self.random and context.depth is not None else None
            positions = context.positions(len(images), index, share)
        slices = mirrored(positions, len(images))
        seen = images[slices]
        if self.optional:
            present = [channel in self.store.subject(name).sha256 for channel in self.optional]
            kept = keep_some(present, list(self.optional.values()), seed) if self.random else present
            seen = with_presence(seen.swapaxes(0, 1), self.optional_positions, kept).swapaxes(0, 1)
        batch = {
            "image": torch.from_numpy(seen.reshape(-1, *images.shape[2:])),
            "label": self._label(name, index if context.depth is None else slices),
            "spacing_mm": (x, y),
            "seed": seed,
        }
        if context.centred is not None and self.random:
            batch["aim"] = aim and aim._replace(slice=int(np.flatnonzero(slices == index)[0]))
        return batch

    def _aim(self, name: str, seed: int) -> Aim | None:
        if not self.context.centred or not self.random:
            return None
        if name not in self.counts:
            self.counts[name] = part_counts(self.store.labels(name))
        return draw_aim(self.counts[name], self.context.centred, seed)

    def _label(self, name: str, slices: Any) -> Tensor:
        if self.target == "raters":
            counts = self.store.rater_counts(name)[slices].astype(np.float32)
            return torch.from_numpy(counts / np.float32(self.store.subject(name).raters))
        return torch.from_numpy(np.array(self.store.labels(name)[slices]))

    def place(self, number: int) -> tuple[int, int]:
        """Return the position in `subjects` of a sample's subject, and the sample's number among those of the subject.

        Raises:
            IndexError: The number is that of no sample.
        """
        if not 0 <= number < len(self):
            raise IndexError(number)
        subject = int(np.searchsorted(self.ends, number, side="right"))  # a list of all would be a worker's largest
        return subject, number - (int(self.ends[subject - 1]) if subject else 0)


class TrainingSlices(Dataset[Batch]):
    """Augmented samples of the training subjects, indexed by (epoch, sample)."""

    def __init__(self, plain: PlainSlices, augmentation: Augmentation) -> None:
        self.plain = plain
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, key: EpochSample) -> Batch:
        """Return `image` float32 (channel, x, y) and `label` int64 (x, y), or those of a patch with z.

        With the target "raters" the label is float32 (class, x, y), probabilities of background and each part.
        """
        plain = self.plain[key]
        image, label = self.augmentation(plain["image"], plain["label"], plain["spacing_mm"], plain["seed"])
        image, label = as_patch(image, label, self.plain.context, plain["seed"], plain.get("aim"))
        return {"image": image, "label": as_target(label)}


class ValidationSlices(Dataset[Batch]):
    """Samples of the validation subjects in order, not augmented; patches show the whole crop."""

    def __init__(self, plain: PlainSlices) -> None:
        self.plain = plain

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, number: int) -> Batch:
        """Return `image` float32 (channel, x, y), `label` int64 (x, y) and `subject` int64, the subject's position.

        A patch has z too, and `counted` bool (z).
        """
        plain, context = self.plain[0, number], self.plain.context
        subject, index = self.plain.place(number)
        image, label = plain["image"], plain["label"]
        batch = {"subject": torch.tensor(subject)}
        image, label = as_patch(image, label, context)
        if context.depth is not None:
            slices = self.plain.store.subject(self.plain.subjects[subject]).slices
            positions = context.positions(slices, index)
            batch["counted"] = torch.from_numpy((positions >= index * context.depth) & (positions < slices))
        return {"image": image, "label": label.long(), **batch}


def shares_of(seed: int) -> tuple[float, float, float]:
    """Return the shares (0 to 1) of crop (x, y) and stack (z) at which the centre of a training patch lies."""
    x, y, z = np.random.default_rng(seed).random(3).tolist()
    return x, y, z


def as_patch(
    image: Tensor, label: Tensor, context: Context, seed: int | None = None, aim: Aim | None = None
) -> tuple[Tensor, Tensor]:
    """Return a sample as the network takes it, of a patch image (channel, x, y, z) and label (..., x, y, z).

    Args:
        image: Image (slice and channel, x, y).
        label: Labels (..., x, y), of a patch (slice, ..., x, y).
        context: Depth and in-plane size of the sample.
        seed: Seed of the place of the sample in the plane; None for the whole crop.
        aim: Voxel that the sample is centred on, or None.
    """
    crop = (image.shape[1], image.shape[2])
    x, y = slice(None), slice(None)
    if seed is not None and context.size is not None:
        pixel = aim and pixel_of(aim, label if context.depth is None else label[aim.slice])
        if aim and pixel:
            centre = [at + round(share * own) for at, share, own in zip(pixel, aim.offset, context.size, strict=False)]
            x, y = context.in_plane_about(crop, (centre[0], centre[1]))
        else:
            x, y = context.in_plane(crop, shares_of(seed)[:2])
    slices = len(label)
    image, label = image[:, x, y], label[..., x, y]
    if context.depth is None:
        return image, label
    return image.reshape(slices, -1, *image.shape[1:]).movedim(0, -1), label.movedim(0, -1)


def as_target(
    labels: UInt8[Tensor, "*size"] | Float32[Tensor, "*size"], axis: int = 0
) -> Int64[Tensor, "*size"] | Float32[Tensor, "*classes"]:
    """Return what the loss compares logits with: numbers of parts, or of shares the probabilities of all classes.

    Args:
        labels: Numbers of parts (x, y) or (x, y, z), or shares (part, x, y) or (part, x, y, z), of a batch or not.
        axis: Axis of the parts in shares; the probability of background is put before them.
    """
    if not labels.is_floating_point():
        return labels.long()
    background = (1 - labels.sum(dim=axis, keepdim=True)).clamp(min=0)  # rounding of the interpolation
    return torch.cat([background, labels], dim=axis)
