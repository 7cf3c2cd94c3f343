"""What needs no MLflow store: the requirements of a packaged model. (The rest: tests/contract/test_registry.py.)"""

import base64
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from study.errors import DataError
from study.tracking.model_package import REQUIREMENTS, requirements
from study.tracking.registry import MODEL_URI


def test_requirements_are_pinned_to_versions_that_a_public_index_has() -> None:
    pinned = dict(line.split("==") for line in requirements("alexnet"))
    assert set(pinned) == set(REQUIREMENTS)
    assert not any("+" in version for version in pinned.values())


def test_a_models_address_names_an_alias_or_a_version() -> None:
    for uri in ("models:/clothing@champion", "models:/clothing/3", "models:/clothing/latest"):
        assert MODEL_URI.fullmatch(uri)
    for uri in ("models:/clothing", "models:/m-123", "models:/clothing/Production", "clothing@champion", "runs:/abc/model"):
        assert not MODEL_URI.fullmatch(uri)


class ModelOf:
    """What `PackagedModel` asks of an exported model."""

    def __init__(self, classes: tuple[str, ...], example_views: tuple[str, ...]) -> None:
        self.classes, self.example_views = classes, example_views
        self.asked: list[Any] = []

    def predict(self, examples: list[Any]) -> npt.NDArray[np.float32]:
        self.asked = examples
        if self.classes:
            return np.tile(np.array([0.25, 0.75], dtype=np.float32), (len(examples), 1))
        return np.arange(len(examples), dtype=np.float32)


def packaged(classes: tuple[str, ...] = (), views: tuple[str, ...] = ()) -> tuple[Any, ModelOf]:
    """The module runs `set_model` at its import, and MLflow warns there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from study.tracking.packaged_model import PackagedModel

        made, inner = PackagedModel(), ModelOf(classes, views)
    made.model = inner  # type: ignore[assignment]
    return made, inner


PIXELS = np.zeros((4, 4, 3), dtype=np.uint8)


def test_a_model_of_numbers_answers_with_a_column_of_values() -> None:
    made, _ = packaged()
    answer = made.predict(None, [PIXELS, PIXELS])
    assert list(answer.columns) == ["value"]
    assert answer["value"].tolist() == [0.0, 1.0]


def test_a_model_of_classes_answers_with_the_likeliest_and_all_probabilities() -> None:
    made, _ = packaged(("cello", "violin"))
    answer = made.predict(None, pd.DataFrame({"image": [PIXELS]}))
    assert answer.to_dict("records") == [
        {"class": "violin", "probability": 0.75, "probability.cello": 0.25, "probability.violin": 0.75}
    ]


def test_a_model_of_views_takes_a_table_with_a_column_for_each_or_tuples() -> None:
    made, inner = packaged(views=("front", "back"))
    photo = b"bytes of a photo"
    as_text = base64.b64encode(photo).decode()
    for given, num_rows in (
        (pd.DataFrame({"back": [b"b", b"d"], "front": [b"a", b"c"]}), 2),
        ([(b"a", b"b"), (b"c", b"d")], 2),
        ((b"a", b"b"), 1),
        (np.stack([np.stack([PIXELS, PIXELS])] * 3), 3),
        (np.stack([PIXELS, PIXELS]), 1),
    ):
        assert len(made.predict(None, given)) == num_rows
        assert all(isinstance(example, tuple) and len(example) == 2 for example in inner.asked)
    made.predict(None, pd.DataFrame({"back": [as_text], "front": [photo]}))
    assert inner.asked == [(photo, photo)]
    made.predict(None, pd.DataFrame({"back": [b"b"], "front": [b"a"]}))
    assert inner.asked == [(b"a", b"b")]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (pd.DataFrame({"image": [b"a"]}), "must have columns `front`, `back`"),
        ([b"a", b"b"], "example 0 is no tuple of 2"),
        ([(b"a", b"b"), (b"a",)], "example 1 is no tuple of 2"),
    ],
)
def test_a_wrong_number_of_photos_is_told_with_the_views(given: Any, told: str) -> None:
    made, _ = packaged(views=("front", "back"))
    with pytest.raises(DataError, match=told):
        made.predict(None, given)


@pytest.mark.parametrize("item", [3, None, 2.5, {"image": "x"}])
def test_what_can_be_no_photo_is_refused_as_the_clients_mistake(item: Any) -> None:
    made, _ = packaged(("cello", "violin"))
    with pytest.raises(DataError, match="a photo must be a path, bytes, base64 or an array") as raised:
        made.predict(None, pd.DataFrame({"image": [item]}, dtype=object))
    assert raised.value.get_http_status_code() == 400  # type: ignore[attr-defined]


def test_behind_a_server_a_text_is_never_a_path_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"whatever")
    made, inner = packaged(("cello", "violin"))
    made.predict(None, str(secret))
    assert inner.asked == [str(secret)]
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    for path in (secret, tmp_path / "absent.png"):
        with pytest.raises(DataError, match="a text must be a photo in base64, but is not") as raised:
            made.predict(None, str(path))
        assert str(tmp_path) not in str(raised.value)
