"""Using the winner: a registered or pulled model that tells the class of photos, or a number."""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from study.data.file_kinds import is_photo, photo_endings, why_unknown, why_unreadable
from study.data.folder_walk import NO_REGULAR_FILE, files_below, in_utf8
from study.data.images import Photo, UnreadablePhotoError
from study.errors import DataError, RegistryError
from study.models.exported import ExportedModel, load_exported
from study.models.trainable import TrainableModel
from study.tracking.registry import download_model

AT_ONCE = 32  # examples: read, then sent through the network together
MOST_NAMED = 3  # files that were left out, in a line


@dataclass(frozen=True)
class Prediction:
    """What the model says of one example: a photo, or the photos of its views.

    Attributes:
        name: the photo's path, bytes that are no UTF-8 spelt out, or its place in the request; of several views, all of them.
        probabilities: by class; they sum to 1. Empty where the model gives a number.
        value: the number, in the target's unit; None where the model tells classes.
        images: by view, where an example has several.
        is_abstained: the likeliest class is less likely than was asked for; None where nothing was asked for.
        error: why a photo could not be read; then there is no answer.
    """

    name: str
    probabilities: dict[str, float] = field(default_factory=dict)
    value: float | None = None
    images: Mapping[str, str] = field(default_factory=dict)
    is_abstained: bool | None = None
    error: str | None = None

    @property
    def best_class(self) -> str:
        """The likeliest class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def probability(self) -> float:
        """Of the likeliest class."""
        return self.probabilities[self.best_class]

    def as_dict(self) -> dict[str, object]:
        """As JSON has it: `image` (and `images` by view, where there are several), then `value`, or the classes, or `error`.

        Where an answer was to be sure, `abstained` says whether it is not; then `class` is null.
        """
        named: dict[str, object] = {"image": self.name, **({"images": dict(self.images)} if self.images else {})}
        if self.error is not None:
            return {**named, "error": self.error}
        if self.value is not None:
            return {**named, "value": self.value}
        told = {"abstained": self.is_abstained} if self.is_abstained is not None else {}
        return {
            **named,
            "class": None if self.is_abstained else self.best_class,
            "probability": self.probability,
            "probabilities": self.probabilities,
            **told,
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
        return cls(open_exported(model, tracking_uri))

    @property
    def classes(self) -> tuple[str, ...]:
        """What the model tells apart; none where it gives numbers."""
        return self._model.classes

    @property
    def example_views(self) -> tuple[str, ...]:
        """The photos that make an example, in order; none: every photo is an example."""
        return self._model.example_views

    def predict_files(self, files: Sequence[Path], abstain_below: float = 0.0) -> Iterator[Prediction]:
        """One prediction an example, in the order given; what cannot be read gets its reason instead of an answer.

        Args:
            files: of a model of several views, the views of an example one after the other.
            abstain_below: an answer that is less likely is none, in [0, 1]; 0 asks for nothing.
        Raises:
            DataError: for a probability that is none, or of a model of numbers; as `predict` for the number of files.
        """
        if not 0 <= abstain_below <= 1 or (abstain_below and not self.classes):
            what = "in [0, 1]" if self.classes else "left out for a model of numbers, which has no probabilities"
            raise DataError(f"the least probability of an answer must be {what}, but is {abstain_below}. Correct it.")
        num_views = max(1, len(self.example_views))
        self._require_whole_examples(len(files))
        for start in range(0, len(files), AT_ONCE * num_views):
            for prediction in self._some(files[start : start + AT_ONCE * num_views], num_views):
                is_told = abstain_below > 0 and prediction.error is None
                yield replace(prediction, is_abstained=prediction.probability < abstain_below) if is_told else prediction

    def _some(self, files: Sequence[Path], num_views: int) -> list[Prediction]:
        """All at once; where one cannot be read, example by example."""
        try:
            return self.predict(files)
        except UnreadablePhotoError as error:
            if len(files) == num_views:
                return [self._unread(files, error.reason)]
        starts = range(0, len(files), num_views)
        return [one for start in starts for one in self._some(files[start : start + num_views], num_views)]

    def _unread(self, files: Sequence[Path], reason: str) -> Prediction:
        names = [in_utf8(str(file)) for file in files]
        images = dict(zip(self.example_views, names, strict=True)) if self.example_views else {}
        return Prediction(", ".join(names), images=images, error=reason)

    def predict(self, photos: Sequence[Photo]) -> list[Prediction]:
        """One prediction an example, in the order given.

        Args:
            photos: of a model of several views, the views of an example one after the other.
        Raises:
            DataError: naming the photo that cannot be read; if the number of photos is no multiple of the number of views.
        """
        names = [in_utf8(str(photo)) if isinstance(photo, str | Path) else str(index) for index, photo in enumerate(photos)]
        views = self._model.example_views
        if not views:
            return self._told(self._model.predict(photos), names, [{}] * len(names))
        self._require_whole_examples(len(photos))
        starts = range(0, len(photos), len(views))
        outputs = self._model.predict([tuple(photos[start : start + len(views)]) for start in starts])
        images = [dict(zip(views, names[start : start + len(views)], strict=True)) for start in starts]
        return self._told(outputs, [", ".join(shown.values()) for shown in images], images)

    def _require_whole_examples(self, num_photos: int) -> None:
        views = self.example_views
        if views and num_photos % len(views):
            raise DataError(
                f"this model takes {len(views)} photos an example ({', '.join(views)}), but {num_photos} were given. "
                f"Give a multiple of {len(views)}, the views of each example in this order."
            )

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


def load_model(model: str | Path, freeze_depth: float | None = None, *, tracking_uri: str | None = None) -> TrainableModel:
    """A registered or pulled model as a module to train further: `study.load_model("models:/pets@champion")`.

    Args:
        model: `models:/name@champion`, `models:/name/3`, or a folder from `study pull`.
        freeze_depth: share of the stages that stay as they are, from the input; default: as the model was trained. 0: none.
        tracking_uri: of MLflow; default: as the commands have it (`MLFLOW_TRACKING_URI`).
    Raises:
        RegistryError: if there is no such model.
        ModelError: if its files are not whole or not as they were exported.
    """
    from study.settings import settings_from

    uri = tracking_uri or settings_from().tracking_uri
    return TrainableModel(open_exported(str(model), uri, freeze_depth))


class LeftOutFile(NamedTuple):
    """A file below a folder that is a photo, or may be, and is not read."""

    path: Path
    reason: str


@dataclass(frozen=True)
class FoundPhotos:
    """The photos that were named or lie below a folder, and what was left out there."""

    photos: tuple[Path, ...]
    left_out: tuple[LeftOutFile, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """What was left out, a line a reason, with the first files by name."""
        files_of: dict[str, list[str]] = defaultdict(list)
        for path, reason in self.left_out:
            files_of[reason].append(in_utf8(str(path)))
        return [f"left out: {len(files):,} ({_first(files)}): {reason}" for reason, files in files_of.items()]


def find_photos(paths: Sequence[Path]) -> FoundPhotos:
    """Photos as they are named; of a folder all below it, sorted. Hidden files, and what is plainly no photo, are passed over.

    Raises:
        DataError: for a folder without photos, or one that cannot be read.
    """
    photos: list[Path] = []
    left_out: list[LeftOutFile] = []
    for path in paths:
        found = _photos_below(path) if path.is_dir() else FoundPhotos((path,))
        if not found.photos:
            told = f" ({'; '.join(found.warnings)})" if found.left_out else ""
            raise DataError(
                f"a folder must hold photos ({photo_endings()}), but {path} and the folders below it hold none{told}. "
                f"Check the path."
            )
        photos += found.photos
        left_out += found.left_out
    return FoundPhotos(tuple(photos), tuple(left_out))


def _photos_below(folder: Path) -> FoundPhotos:
    photos: list[Path] = []
    left_out: list[LeftOutFile] = []
    for file in files_below(folder):
        if is_photo(file.path) and file.is_regular:
            photos.append(folder / file.path)
        elif reason := _why_left_out(file.path):
            left_out.append(LeftOutFile(folder / file.path, reason))
    return FoundPhotos(tuple(sorted(photos)), tuple(sorted(left_out)))


def _why_left_out(path: str) -> str:
    """The reason of a file that is not taken; "" where it is plainly no photo."""
    return NO_REGULAR_FILE if is_photo(path) else why_unreadable(path) or why_unknown(path)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else "")


def open_exported(model: str, tracking_uri: str, freeze_depth: float | None = None) -> ExportedModel:
    """The model at a registry's URI or in a folder from `study pull`.

    Raises:
        RegistryError: if there is none.
        ModelError: if its files are not whole or not as they were exported.
    """
    if model.startswith("models:/"):
        with tempfile.TemporaryDirectory() as folder:
            return load_exported(download_model(tracking_uri, model, Path(folder) / "model"), freeze_depth)
    if not Path(model).is_dir():
        raise RegistryError(
            f"a model must be models:/NAME@champion or a folder, but there is no folder {model!r}. "
            f"Check the path; `study list` shows the names."
        )
    return load_exported(Path(model), freeze_depth)
