"""What MLflow runs when it loads a registered model: this file is copied into the model as it is, nothing is pickled.

    model = mlflow.pyfunc.load_model("models:/clothing@champion")
    model.predict("photo.jpg")            # or bytes, an array [height, width, 3] of uint8, or a list of these
    model.predict(pandas.DataFrame({"image": [...]}))

One row a photo: `class`, `probability` (that class's), and `probability.<class>` for each class; or, of a model of numbers,
`value`. A model of several views takes a table with a column for each view, or tuples of photos in the order of the views,
and answers with a row for each:

    model.predict(pandas.DataFrame({"front": [...], "back": [...]}))
    model.predict([("front.jpg", "back.jpg"), ...])

`mlflow models serve` takes tables as JSON, photos as base64:

    {"dataframe_split": {"columns": ["image"], "data": [["/9j/4AAQ..."]]}}

What is no photo is answered with HTTP 400 and the reason. Who sends texts over the network never names files of the server's.
"""

import base64
import binascii
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel

from study.errors import DataError
from study.models.exported import ExportedModel, load_exported

IMAGE_COLUMN = "image"
SERVING = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"  # set by `mlflow models serve` (mlflow/pyfunc/scoring_server)


class RefusedInputError(DataError, MlflowException):
    """A `DataError` that MLflow's scoring server answers with 400 and its message; else it would keep the reason to itself."""

    def __init__(self, message: str) -> None:
        MlflowException.__init__(self, message, error_code=INVALID_PARAMETER_VALUE)


class PackagedModel(PythonModel):
    """An exported model behind MLflow's interface."""

    model: ExportedModel

    def load_context(self, context: Any) -> None:
        """Loads the exported model that lies among the registered model's files."""
        self.model = load_exported(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Class and probabilities, or the number, one row a photo or a tuple of views.

        Args:
            model_input: see the module's docstring. MLflow reads the hint: this one lets everything through as it is, where
                `Any` or a union makes it warn at every load.
            params: none are known; MLflow's interface has them.
        Raises:
            RefusedInputError: a `DataError`, naming what is no photo, or the example that has too many or too few.
        """
        try:
            return self._answer(model_input)
        except DataError as error:
            _refuse(error)

    def _answer(self, model_input: Any) -> pd.DataFrame:
        views = self.model.example_views
        items = _rows(model_input, views) if views else [_photo(item) for item in _items(model_input)]
        outputs = self.model.predict(items)
        if not self.model.classes:
            return pd.DataFrame({"value": outputs})
        classes = np.array(self.model.classes)
        columns = {"class": classes[outputs.argmax(axis=1)], "probability": outputs.max(axis=1)}
        columns |= {f"probability.{name}": outputs[:, index] for index, name in enumerate(classes)}
        return pd.DataFrame(columns)


def _items(model_input: Any) -> list[Any]:
    """The photos one by one, whatever they came in."""
    if isinstance(model_input, pd.DataFrame):
        return _columns(model_input, (IMAGE_COLUMN,))[0]
    if isinstance(model_input, np.ndarray):
        is_one_photo = model_input.ndim in (2, 3)
        return [model_input] if is_one_photo else list(model_input)
    return list(model_input) if isinstance(model_input, list | tuple | pd.Series) else [model_input]


def _rows(model_input: Any, views: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """The examples one by one, each a tuple of the photos of `views`."""
    if isinstance(model_input, pd.DataFrame):
        examples: list[Any] = list(zip(*_columns(model_input, views), strict=True))
    elif isinstance(model_input, np.ndarray):  # [num_views, height, width, 3], or many of these
        examples = [model_input] if model_input.ndim == 4 else list(model_input)
    else:
        examples = [model_input] if isinstance(model_input, tuple) else list(model_input)
    return [_views_of(place, example, views) for place, example in enumerate(examples)]


def _views_of(place: int, example: Any, views: tuple[str, ...]) -> tuple[Any, ...]:
    if not isinstance(example, list | tuple | np.ndarray) or len(example) != len(views):
        raise DataError(
            f"this model takes {len(views)} photos an example ({', '.join(views)}), but example {place} is no tuple of "
            f"{len(views)}. Give tuples, or a table with these columns."
        )
    return tuple(_photo(item) for item in example)


def _columns(table: pd.DataFrame, names: tuple[str, ...]) -> list[list[Any]]:
    missing = [name for name in names if name not in table]
    if missing:
        wanted = f"a column `{missing[0]}`" if len(names) == 1 else f"columns {', '.join(f'`{name}`' for name in names)}"
        raise DataError(
            f"a table of photos must have {wanted} (paths, bytes or base64), but has {list(table.columns)}. Rename one."
        )
    return [list(table[name]) for name in names]


def _photo(item: Any) -> Any:
    """A text is a path if there is such a file, else a photo in base64; behind a server, never a path."""
    if not isinstance(item, str | bytes | Path | np.ndarray):
        raise DataError(f"a photo must be a path, bytes, base64 or an array, but got {type(item).__name__}. Send its file.")
    is_served = os.environ.get(SERVING, "").lower() == "true"
    if not isinstance(item, str) or (not is_served and os.path.isfile(item)):
        return item
    try:
        return base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError):
        pass
    if is_served:
        raise DataError("a text must be a photo in base64, but is not. Send the photo's file, encoded.")
    raise DataError(f"a text must be the path of a photo or a photo in base64, but {item[:60]!r} is neither. Check the path.")


def _refuse(error: DataError) -> NoReturn:
    raise RefusedInputError(str(error)) from error


set_model(PackagedModel())
