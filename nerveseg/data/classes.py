"""Classes of a study: named sets of label values, which may be nested, and the disjoint parts that a network learns.

A study that declares `{tibial: [1], peroneal: [2], nerve: [1, 2]}` has three classes and two parts: label values that
belong to the same classes are one part. Inside nerveseg a label map holds the numbers of the parts, from 1; a class is
the union of its parts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, Field, Strict

from nerveseg.data.volumes.labels import check_declared, check_few_labels
from nerveseg.names import Name, folded
from nerveseg.types import LabelMap, Mask, Probabilities, Probability

NERVE = "nerve"  # name of the one class of a study that declares none, and of the class that is measured along the leg

LARGEST_LABEL = 2**16 - 1  # largest label value of a written label map

MOST_PARTS = 255  # largest number of parts, of which label maps in memory have one byte for each voxel


def _check_classes(classes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Raise `ValueError` for a class without labels, or two classes of the same labels or of names that look alike."""
    seen: dict[frozenset[int] | str, str] = {}
    for name, labels in classes.items():
        if not labels or len(set(labels)) < len(labels):
            raise ValueError(f"label values for the class {name}, each once")
        twin = seen.setdefault(frozenset(labels), name)
        if twin != name:
            raise ValueError(f"other label values for the class {name} than for {twin}")
        twin = seen.setdefault(folded(name), name)
        if twin != name:
            raise ValueError(f"classes whose names differ by more than case or spaces, unlike {name} and {twin}")
    if Classes.of(classes).count > MOST_PARTS:
        raise ValueError(f"classes of at most {MOST_PARTS} parts")
    return classes


Declared: TypeAlias = Annotated[
    dict[Name, Annotated[tuple[Annotated[int, Field(ge=1, le=LARGEST_LABEL, strict=True)], ...], Strict(False)]],
    Field(min_length=1),
    AfterValidator(_check_classes),
]
"""Label values of each class, as a study declares them."""


class Term(BaseModel, frozen=True, extra="forbid"):
    """Coded term of a class, as DICOM has it (PS3.3, 8.8)."""

    value: str = Field(min_length=1, max_length=16)  # code, such as 45684006
    meaning: str = Field(min_length=1, max_length=64)  # its meaning, such as Tibial nerve
    scheme: str = Field(default="SCT", min_length=1, max_length=16)  # coding scheme; SCT is SNOMED CT


NERVE_TERM = Term(value="84782009", meaning="Peripheral nerve")
"""Term of nerves that have no term of their own; of context group 7167."""

TIBIAL_TERM = Term(value="45684006", meaning="Tibial nerve")

TISSUE_TERM = Term(value="85756007", meaning="Tissue")
"""Term of other classes that have no term of their own; of context group 7166."""


def with_classes(values: Any) -> Any:
    """Return the values of a record with `classes` in place of `foreground`, the one class of earlier versions."""
    if not isinstance(values, Mapping) or "foreground" not in values:
        return values
    foreground = values["foreground"]
    others = {name: value for name, value in values.items() if name != "foreground"}
    return {"classes": {NERVE: foreground} if foreground else None} | others


@dataclass(frozen=True)
class Classes:
    """Classes and parts of a study."""

    names: tuple[str, ...]  # names of the classes, in the study's order
    parts: tuple[tuple[int, ...], ...]  # numbers of the parts of each class, from 1
    labels: tuple[tuple[int, ...], ...]  # label values of each part; none for the part of every label above zero

    @classmethod
    def of(cls, declared: Mapping[str, Sequence[int]] | None) -> Classes:
        """Return the classes that a study declares; None is one class, nerve, of every label above zero."""
        if declared is None:
            return cls((NERVE,), ((1,),), ((),))
        values = dict.fromkeys(value for labels in declared.values() for value in labels)
        grouped: dict[frozenset[str], list[int]] = {}
        for value in values:
            grouped.setdefault(frozenset(name for name in declared if value in declared[name]), []).append(value)
        parts = (tuple(number for number, owners in enumerate(grouped, 1) if name in owners) for name in declared)
        return cls(tuple(declared), tuple(parts), tuple(map(tuple, grouped.values())))

    @property
    def count(self) -> int:
        """Number of parts, which is the number of the network's classes without background."""
        return len(self.labels)

    @property
    def only(self) -> bool:
        """Flag: true if there is one class."""
        return len(self.names) == 1

    @property
    def values(self) -> tuple[int, ...]:
        """All declared label values; none where every label above zero is nerve."""
        return tuple(value for labels in self.labels for value in labels)

    def encode(self, labels: NDArray[np.int64]) -> LabelMap:
        """Return the label map of parts of a rater's labels; undeclared labels are background.

        Raises:
            VolumeError: The map holds labels but none of the declared ones, or more labels than an undeclared map has.
        """
        if not self.values:
            check_few_labels(labels)
            return (labels > 0).astype(np.uint8)
        check_declared(labels, self.values)
        parts = np.zeros(labels.shape, dtype=np.uint8)
        for number, values in enumerate(self.labels, 1):
            parts[np.isin(labels, values)] = number
        return parts

    def decode(self, parts: LabelMap) -> NDArray[Any]:
        """Return the labels to write: 0 and 1 for a single part, else the lowest label value of each part."""
        table = np.array([0, *self._written])
        return np.asarray(table.astype(np.min_scalar_type(max(self._written)))[parts])

    @property
    def _written(self) -> list[int]:
        """Value of each part in a written label map."""
        return [1] if self.count == 1 else [min(values) for values in self.labels]

    @property
    def written(self) -> dict[str, list[int]]:
        """Label values that each class has in a label map that `decode` made; none where it is a mask of 0 and 1."""
        names = self.names if self.count > 1 else ()
        return {name: [self._written[part - 1] for part in self.parts_of(name)] for name in names}

    def read_back(self) -> Classes:
        """Return the classes of a label map that `decode` made."""
        return self if self.count > 1 else Classes(self.names, self.parts, ((),))

    def parts_of(self, name: str) -> tuple[int, ...]:
        """Return the numbers of the parts of a class."""
        return self.parts[self.names.index(name)]

    def mask(self, parts: LabelMap, name: str) -> Mask:
        """Return the mask of a class."""
        return self.union(parts, self.parts_of(name))

    @property
    def nerve_parts(self) -> tuple[int, ...]:
        """Parts that are measured along the leg: those of the class nerve if there is one, else all."""
        return self.parts_of(NERVE) if NERVE in self.names else tuple(range(1, self.count + 1))

    def select(self, names: Collection[str]) -> tuple[Classes, NDArray[np.uint8]]:
        """Return some of the classes, and the number of the part that each part, from background on, has among them."""
        if set(names) >= set(self.names):
            return self, np.arange(self.count + 1, dtype=np.uint8)
        values = {name: [value for part in self.parts_of(name) for value in self.labels[part - 1]] for name in names}
        kept, table = Classes.of(values), np.zeros(self.count + 1, dtype=np.uint8)
        for number, labels in enumerate(kept.labels, 1):
            table[1:][[not set(own).isdisjoint(labels) for own in self.labels]] = number
        return kept, table

    def is_nerve(self, name: str) -> bool:
        """Return true for a class all of whose parts are nerve."""
        return set(self.parts_of(name)) <= set(self.nerve_parts)

    def part_name(self, part: int) -> str:
        """Return the name of a part: of the smallest class that holds it."""
        owners = [(len(numbers), name) for numbers, name in zip(self.parts, self.names, strict=True) if part in numbers]
        return min(owners)[1]

    def nerve(self, parts: LabelMap) -> Mask:
        """Return the mask of the nerve."""
        return self.union(parts, self.nerve_parts)

    def nerve_probability(self, probabilities: Probabilities) -> Probability:
        """Return the probability of nerve, the sum over its parts."""
        numbers = [part - 1 for part in self.nerve_parts]
        nerve: Probability = probabilities[numbers].sum(axis=0) if len(numbers) > 1 else probabilities[numbers[0]]
        return nerve

    def union(self, parts: LabelMap, numbers: Sequence[int]) -> Mask:
        """Return the mask of some parts."""
        if len(numbers) == self.count:
            return parts > 0
        return np.isin(parts, numbers) if len(numbers) > 1 else parts == numbers[0]
