"""What MLflow runs when it loads a registered model: this file is copied into the model as it is, nothing is pickled.

    model = mlflow.pyfunc.load_model("models:/clothing@champion")
    model.predict("photo.jpg")            # or bytes, an array [height, width, 3] of uint8, or a list of these
    model.predict(pandas.DataFrame({"image": [...]}))

One row a photo: `class`, `probability` (that class's), and `probability.<class>` for each class.

`mlflow models serve` takes tables as JSON, photos as base64:

    {"dataframe_split": {"columns": ["image"], "data": [["/9j/4AAQ..."]]}}
"""

import base64
import binascii
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from study.errors import DataError
from study.models.exported import ExportedModel, load_exported

IMAGE_COLUMN = "image"


class PackagedModel(PythonModel):
    """An exported model behind MLflow's interface."""

    model: ExportedModel

    def load_context(self, context: Any) -> None:
        """Loads the exported model that lies among the registered model's files."""
        self.model = load_exported(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Class and probabilities, one row a photo.

        Args:
            model_input: see the module's docstring. MLflow reads the hint: this one lets everything through as it is, where
                `Any` or a union makes it warn at every load.
            params: none are known; MLflow's interface has them.
        Raises:
            DataError: naming what is no photo.
        """
        probabilities = self.model.predict([_photo(item) for item in _items(model_input)])
        classes = np.array(self.model.classes)
        columns = {"class": classes[probabilities.argmax(axis=1)], "probability": probabilities.max(axis=1)}
        columns |= {f"probability.{name}": probabilities[:, index] for index, name in enumerate(classes)}
        return pd.DataFrame(columns)


def _items(model_input: Any) -> list[Any]:
    """The photos one by one, whatever they came in."""
    if isinstance(model_input, pd.DataFrame):
        if IMAGE_COLUMN not in model_input:
            raise DataError(
                f"a table of photos must have a column `{IMAGE_COLUMN}` (paths, bytes or base64), "
                f"but has {list(model_input.columns)}. Rename one."
            )
        return list(model_input[IMAGE_COLUMN])
    if isinstance(model_input, np.ndarray):
        is_one_photo = model_input.ndim in (2, 3)
        return [model_input] if is_one_photo else list(model_input)
    return list(model_input) if isinstance(model_input, list | tuple | pd.Series) else [model_input]


def _photo(item: Any) -> Any:
    """A text is a path if there is such a file, else a photo in base64."""
    if not isinstance(item, str) or os.path.isfile(item):
        return item
    try:
        return base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError):
        raise DataError(
            f"a text must be the path of a photo or a photo in base64, but {item[:60]!r} is neither. Check the path."
        ) from None


set_model(PackagedModel())
