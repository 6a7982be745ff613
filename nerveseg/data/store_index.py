"""The index of a slice store: what was stored, and what is known of each subject.

On disk it is JSON, checked whole when it is read. In memory a subject is kept as the bytes of its JSON, and becomes a
record when somebody asks for it: every process of a loader holds the index, and 10,000 records with four hashes each
are most of what it would hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store_build import StoredSubject
from nerveseg.data.volumes.volume import Geometry

FORMAT_VERSION: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class PackedSubject:
    """A `StoredSubject` in a fifth of its memory; in the file it is one like any other.

    Attributes:
        id: The participant without `sub-`.
        json: The record as UTF-8.
    """

    id: str
    json: bytes

    @classmethod
    def of(cls, subject: StoredSubject) -> PackedSubject:
        """Pack a record."""
        return cls(subject.id, subject.model_dump_json().encode())

    def record(self) -> StoredSubject:
        """What is known of the subject."""
        return StoredSubject.model_validate_json(self.json)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Each record is packed as soon as it is checked: all of them at once would leave holes in memory."""
        record = handler.generate_schema(StoredSubject)
        serialization = core_schema.plain_serializer_function_ser_schema(cls.record, return_schema=record)
        from_record = core_schema.no_info_after_validator_function(cls.of, record)
        either = core_schema.union_schema([core_schema.is_instance_schema(cls), from_record], mode="left_to_right")
        return core_schema.json_or_python_schema(from_record, either, serialization=serialization)


class StoreIndex(BaseModel):
    """`index.json` of a store.

    Attributes:
        format_version: Of this file and the arrays beside it.
        study: The study's name.
        channels: Names of the image channels, in their order.
        preprocessing: What was done to the images.
        geometry: Which of a header's two transforms was trusted.
        subjects: In the study's order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    study: str
    channels: list[str]
    preprocessing: Preprocessing
    geometry: Geometry = None
    subjects: list[PackedSubject]
