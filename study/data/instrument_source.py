"""Stringed instruments, drawn on demand, as a source of labelled photos."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal

from study.data.images import Photo
from study.data.instruments.collection import RENDERER_VERSION, InstrumentPhoto, draw, plan_collection
from study.data.records import Records, SplitName
from study.data.views import drop_incomplete_rows
from study.data_definition import Views

Target = Literal["type", "country", "view"]


@dataclass(frozen=True)
class InstrumentSource:
    """A collection of stringed instruments, drawn on demand: all photos of one instrument are a group.

    A row holds an instrument's first front and first back, another its second ones; with `views = "pair"`, a photo without
    its other side is dropped.

    Args:
        num_photos: how many to draw.
        target: what is to be told apart: the instrument's type, the country of its maker, or the side seen.
        seed: which collection.
        image_size: longest side of a drawing in pixels: drawn at the size used, nothing is resized.
        views: each photo for itself, or front and back together.
    """

    num_photos: int
    target: Target
    seed: int
    image_size: int
    views: Views = "each"

    @cached_property
    def records(self) -> Records:
        """What is known of each photo."""
        plan = tuple(self._plan.values())
        labels = tuple(str(getattr(photo, self.target)) for photo in plan)
        no_split: SplitName = ""
        records = Records(
            photos=tuple(self._plan),
            labels=labels,
            groups=tuple(photo.instrument_id for photo in plan),
            splits=(no_split,) * len(plan),
            classes=tuple(sorted(set(labels))),
            origin=f"{self.num_photos} generated instruments (seed {self.seed}, target {self.target!r})",
            views=tuple(photo.view for photo in plan),
            rows=_rows_of(plan),
        )
        return records if self.views == "each" else drop_incomplete_rows(records, ("front", "back"))

    def fingerprint(self) -> str:
        """Hash of what the drawings depend on; the target is not part of it, so its three values share one packed array."""
        depends_on = ["instruments", RENDERER_VERSION, self.num_photos, self.seed, self.image_size, self.views]
        return _hash_of(depends_on)

    def read(self, photo: str) -> Photo:
        """The drawing."""
        return draw(self._plan[photo], size_px=self.image_size)

    def digest_of(self, photo: str) -> str:
        """Hash of what the drawing depends on: it says the same as its pixels, and is 1000 times quicker to find."""
        return _hash_of([RENDERER_VERSION, self.image_size, asdict(self._plan[photo])])

    @cached_property
    def _plan(self) -> dict[str, InstrumentPhoto]:
        return {photo.photo_id: photo for photo in plan_collection(self.num_photos, self.seed)}


def _rows_of(plan: tuple[InstrumentPhoto, ...]) -> tuple[int, ...]:
    """One number for each instrument's n-th photos of its sides, in the order of their appearance."""
    seen: Counter[tuple[str, str]] = Counter()
    number_of: dict[tuple[str, int], int] = {}
    rows = []
    for photo in plan:
        side = (photo.instrument_id, photo.view)
        rows.append(number_of.setdefault((photo.instrument_id, seen[side]), len(number_of)))
        seen[side] += 1
    return tuple(rows)


def _hash_of(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
