"""An ONNX graph answers as the model does, for any number of examples."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from study.errors import ModelError
from study.models.colour_modes import without_colour
from study.models.contract import TargetScale
from study.models.exported import load_exported, save_exported
from study.models.normalization import Normalizer
from study.models.onnx_export import INPUT, ONNX_FILE, export_onnx
from tests.unit.models.test_exported import export

onnxruntime = pytest.importorskip("onnxruntime")


def answers(file: Path, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {INPUT: pixels})[0])


def pixels_of(num_examples: int, num_views: int = 1) -> np.ndarray:
    return np.random.default_rng(num_examples).integers(0, 256, (num_examples, num_views, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("backbone", "views", "target", "normalization", "temperature"),
    [
        ("squeezenet1_1", (), None, None, 1.7),
        ("resnet18", (), None, Normalizer(kind="local"), 1.0),
        ("squeezenet1_1", ("front", "back"), TargetScale(mean=3.0, std=0.5, is_log=True), None, 1.0),
    ],
    ids=["classes", "local normalisation", "numbers of two views"],
)
def test_the_graph_answers_as_the_model_for_any_number_of_examples(
    backbone: str,
    views: tuple[str, ...],
    target: TargetScale | None,
    normalization: Normalizer | None,
    temperature: float,
    tmp_path: Path,
) -> None:
    model, contract = export(tmp_path, backbone, views=views, target=target)
    changed = {"temperature": temperature, "normalization": normalization or contract.normalization}
    save_exported(tmp_path, model, contract.model_copy(update=changed))
    exported = load_exported(tmp_path)
    file = export_onnx(exported, tmp_path / ONNX_FILE)
    for num_examples in (1, 3, 8):
        pixels = pixels_of(num_examples, contract.num_views)
        expected = exported.predict_pixels(pixels.reshape(-1, 32, 32, 3))
        np.testing.assert_allclose(answers(file, pixels).reshape(expected.shape), expected, atol=1e-4, rtol=1e-4)


def test_the_graph_takes_the_colour_from_photos_where_the_model_does(tmp_path: Path) -> None:
    model, contract = export(tmp_path)
    save_exported(tmp_path, model, contract.model_copy(update={"colour_mode": "greyscale"}))
    exported = load_exported(tmp_path)
    file = export_onnx(exported, tmp_path / ONNX_FILE)
    in_colour = pixels_of(3)
    grey = without_colour(torch.from_numpy(in_colour[:, 0])).numpy()[:, None]
    found = answers(file, in_colour)
    np.testing.assert_array_equal(found, answers(file, grey))
    np.testing.assert_allclose(found, exported.predict_pixels(in_colour[:, 0]), atol=1e-4, rtol=1e-4)


def test_the_graph_carries_its_contract(tmp_path: Path) -> None:
    export(tmp_path)
    session = onnxruntime.InferenceSession(
        str(export_onnx(load_exported(tmp_path), tmp_path / ONNX_FILE)), providers=["CPUExecutionProvider"]
    )
    contract = json.loads(session.get_modelmeta().custom_metadata_map["contract"])
    assert contract["classes"] == ["cello", "viola", "violin"]


def test_a_machine_without_the_extra_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ModelError, match=r"pip install study\[onnx\]"):
        export_onnx(load_exported(tmp_path), tmp_path / ONNX_FILE)
