"""Using the winner: a registered or pulled model that tells the class of photos, or a number."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from study.data.images import Photo
from study.errors import DataError, RegistryError
from study.models.exported import ExportedModel, load_exported
from study.tracking.registry import download_model


@dataclass(frozen=True)
class Prediction:
    """What the model says of one example: a photo, or the photos of its views.

    Attributes:
        name: the photo's path, or its place in the request; of several views, all of them.
        probabilities: by class; they sum to 1. Empty where the model gives a number.
        value: the number, in the target's unit; None where the model tells classes.
        images: by view, where an example has several.
    """

    name: str
    probabilities: dict[str, float] = field(default_factory=dict)
    value: float | None = None
    images: Mapping[str, str] = field(default_factory=dict)

    @property
    def best_class(self) -> str:
        """The likeliest class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def probability(self) -> float:
        """Of the likeliest class."""
        return self.probabilities[self.best_class]

    def as_dict(self) -> dict[str, object]:
        """As JSON has it: `image` (and `images` by view, where there are several), then `value`, or the classes."""
        named: dict[str, object] = {"image": self.name, **({"images": dict(self.images)} if self.images else {})}
        if self.value is not None:
            return {**named, "value": self.value}
        return {
            **named,
            "class": self.best_class,
            "probability": self.probability,
            "probabilities": self.probabilities,
        }


class Predictor:
    """A model that takes raw photos; its preprocessing is inside."""

    def __init__(self, model: ExportedModel) -> None:
        self._model = model

    @classmethod
    def load(cls, model: str, tracking_uri: str) -> Self:
        """The model at a registry's URI (`models:/name@champion`, `models:/name/3`) or in a folder from `study pull`.

        Raises:
            RegistryError: if there is none.
            ModelError: if its files are not whole or not as they were exported.
        """
        if model.startswith("models:/"):
            with tempfile.TemporaryDirectory() as folder:
                return cls(load_exported(download_model(tracking_uri, model, Path(folder) / "model")))
        if not Path(model).is_dir():
            raise RegistryError(
                f"a model must be models:/NAME@champion or a folder, but there is no folder {model!r}. "
                f"Check the path; `study list` shows the names."
            )
        return cls(load_exported(Path(model)))

    def predict(self, photos: Sequence[Photo]) -> list[Prediction]:
        """One prediction an example, in the order given.

        Args:
            photos: of a model of several views, the views of an example one after the other.
        Raises:
            DataError: naming the photo that cannot be read; if the number of photos is no multiple of the number of views.
        """
        names = [str(photo) if isinstance(photo, str | Path) else str(index) for index, photo in enumerate(photos)]
        views = self._model.example_views
        if not views:
            return self._told(self._model.predict(photos), names, [{}] * len(names))
        if len(photos) % len(views):
            raise DataError(
                f"this model takes {len(views)} photos an example ({', '.join(views)}), but {len(photos)} were given. "
                f"Give a multiple of {len(views)}, the views of each example in this order."
            )
        starts = range(0, len(photos), len(views))
        outputs = self._model.predict([tuple(photos[start : start + len(views)]) for start in starts])
        images = [dict(zip(views, names[start : start + len(views)], strict=True)) for start in starts]
        return self._told(outputs, [", ".join(shown.values()) for shown in images], images)

    def _told(
        self, outputs: npt.NDArray[np.float32], names: Sequence[str], images: Sequence[Mapping[str, str]]
    ) -> list[Prediction]:
        classes = self._model.classes
        if not classes:
            return [
                Prediction(name, value=float(value), images=shown)
                for name, value, shown in zip(names, outputs, images, strict=True)
            ]
        return [
            Prediction(name, dict(zip(classes, map(float, row), strict=True)), images=shown)
            for name, row, shown in zip(names, outputs, images, strict=True)
        ]
