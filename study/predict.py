"""Using the winner: a registered or pulled model that tells the class of photos."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from study.data.images import Photo
from study.errors import RegistryError
from study.models.exported import ExportedModel, load_exported
from study.tracking.registry import download_model


@dataclass(frozen=True)
class Prediction:
    """What the model says of one photo.

    Attributes:
        name: the photo's path, or its place in the request.
        probabilities: by class; they sum to 1.
    """

    name: str
    probabilities: dict[str, float]

    @property
    def best_class(self) -> str:
        """The likeliest class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def probability(self) -> float:
        """Of the likeliest class."""
        return self.probabilities[self.best_class]

    def as_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "image": self.name,
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
        """One prediction a photo, in the order given.

        Raises:
            DataError: naming the photo that cannot be read.
        """
        probabilities = self._model.predict(photos)
        names = [str(photo) if isinstance(photo, str | Path) else str(index) for index, photo in enumerate(photos)]
        return [
            Prediction(name, dict(zip(self._model.classes, map(float, row), strict=True)))
            for name, row in zip(names, probabilities, strict=True)
        ]
