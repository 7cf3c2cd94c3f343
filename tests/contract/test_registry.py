"""Registered models on every store: into MLflow, out again as plain files, and loaded where there is no `study`."""

import base64
import json
import pickle
import subprocess
import sys
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from study.errors import DataError, RegistryError
from study.models.classifier import build_classifier
from study.models.exported import ModelContract, load_exported, save_exported
from study.models.normalization import Normalizer
from study.models.weights import resolve_weights
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.registry import download_model, model_versions, register_model, set_alias
from study.trial import TrialConfig

CLASSES = ("cello", "viola", "violin")
CONFIG = TrialConfig(backbone="squeezenet1_1", weights="none")
COLUMNS = ["class", "probability", "probability.cello", "probability.viola", "probability.violin"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trial") / "7 winner#1"
    weights = resolve_weights(CONFIG.backbone, CONFIG.weights, folder)
    contract = ModelContract(
        classes=CLASSES,
        image_size=64,
        normalization=Normalizer(kind="local"),
        backbone=CONFIG.backbone,
        head=CONFIG.head,
        freeze_depth=CONFIG.freeze_depth,
        data_digest="d",
        study="instruments",
        trial_number=7,
    )
    save_exported(folder, build_classifier(CONFIG, len(CLASSES), weights, seed=0, image_size=64), contract)
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    file = tmp_path_factory.mktemp("photos") / "violin.png"
    Image.fromarray(pixels).save(file)
    return file


@pytest.fixture(params=["sqlite", "server"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_uri"))


@pytest.fixture
def name() -> str:
    return f"instruments-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def run_id(store: str, name: str) -> str:
    tracker = MlflowTracker(store)
    return tracker.begin_trial(tracker.begin_study(name, name, {}, "", ""), 7, CONFIG, {})


@pytest.fixture
def version(store: str, name: str, exported: Path, run_id: str) -> str:
    made = register_model(store, name, exported, run_id, {"study.name": name}, "the winner of a test")
    set_alias(store, name, "champion", made)
    return made


def load_as_a_user(store: str, uri: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a user's own script does: MLflow's global address, `load_model`. MLflow warns at its import."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

        return mlflow.pyfunc.load_model(uri)


def test_a_downloaded_model_answers_as_the_exported_one(
    store: str, name: str, version: str, exported: Path, photo: Path, tmp_path: Path
) -> None:
    expected = load_exported(exported).predict([photo])
    for address in ("@champion", f"/{version}", "/latest"):
        folder = download_model(store, f"models:/{name}{address}", tmp_path / "models" / address.strip("@/"))
        assert sorted(path.name for path in folder.iterdir()) == ["contract.json", "weights.safetensors"]
        np.testing.assert_array_equal(load_exported(folder).predict([photo]), expected)
    assert not list((tmp_path / "models").glob(".download-*"))


@pytest.mark.usefixtures("version")
def test_mlflow_loads_a_model_that_answers_as_the_exported_one(
    store: str, name: str, exported: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_as_a_user(store, f"models:/{name}@champion", monkeypatch)
    expected = load_exported(exported).predict([photo])[0]
    pixels: npt.NDArray[np.uint8] = np.asarray(Image.open(photo))
    as_text = base64.b64encode(photo.read_bytes()).decode()
    for given, num_rows in (
        (str(photo), 1),
        (photo.read_bytes(), 1),
        (pixels, 1),
        ([str(photo), photo.read_bytes(), pixels, as_text], 4),
        (np.stack([pixels, pixels]), 2),
        (pd.DataFrame({"image": [str(photo), photo.read_bytes(), as_text]}), 3),
    ):
        answer = model.predict(given)
        assert list(answer.columns) == COLUMNS
        assert answer.shape[0] == num_rows
        np.testing.assert_allclose(answer[COLUMNS[2:]].to_numpy(), np.tile(expected, (num_rows, 1)), atol=1e-6)
        assert list(answer["class"]) == [CLASSES[int(expected.argmax())]] * num_rows
        np.testing.assert_allclose(answer["probability"], expected.max(), atol=1e-6)
    for wrong in ("no-such-photo.jpg", pd.DataFrame({"photo": [str(photo)]})):
        with pytest.raises(DataError):
            model.predict(wrong)


@pytest.mark.usefixtures("version")
def test_a_model_loads_where_there_is_no_study(store: str, name: str, photo: Path, tmp_path: Path) -> None:
    script = (
        "import sys; sys.path = [p for p in sys.path if 'site-packages' in p or 'lib/python' in p]\n"
        "import importlib.util; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        "assert importlib.util.find_spec('study') is None, importlib.util.find_spec('study')\n"
        f"import mlflow; answer = mlflow.pyfunc.load_model('models:/{name}@champion').predict({str(photo)!r})\n"
        "import study; assert 'code' in study.__file__, study.__file__\n"
        "print(answer.to_json(orient='records'))\n"
    )
    command = [sys.executable, "-I", "-W", "ignore", "-c", script]
    environment = {"MLFLOW_TRACKING_URI": store, "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": ""}
    finished = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert set(json.loads(finished.stdout)[0]) == set(COLUMNS)


def test_no_file_of_a_registered_model_is_a_pickle(store: str, name: str, version: str, tmp_path: Path) -> None:
    tracker = MlflowTracker(store)
    location = tracker.connection.client.get_model_version_download_uri(name, version)
    from mlflow.artifacts import download_artifacts

    folder = Path(download_artifacts(artifact_uri=location, dst_path=str(tmp_path / "all"), tracking_uri=store))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"MLmodel", "packaged_model.py", "requirements.txt", "weights.safetensors"} <= {path.name for path in files}
    for file in files:
        content = file.read_bytes()
        assert file.suffix not in {".pkl", ".pickle", ".pt", ".pth", ".pyc"}
        assert not content.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK")), file
    description = (folder / "MLmodel").read_text()
    assert "pickle" not in description
    assert str(Path.home()) not in description
    assert "uv.lock" not in {path.name for path in files}
    assert pickle.HIGHEST_PROTOCOL == 5  # a new protocol needs a new prefix above


def test_versions_tell_their_run_aliases_and_tags(store: str, name: str, version: str, exported: Path, run_id: str) -> None:
    second = register_model(store, name, exported, run_id, {}, "")
    set_alias(store, name, "challenger", second)
    set_alias(store, name, "champion", second)
    newest, first = model_versions(store, name)
    assert (first.version, first.run_id, first.aliases, first.tags) == (version, run_id, (), {"study.name": name})
    assert first.description == "the winner of a test"
    assert (newest.version, newest.aliases) == (second, ("challenger", "champion"))


def test_the_run_and_the_version_lead_to_the_model(store: str, name: str, version: str, run_id: str) -> None:
    client = MlflowTracker(store).connection.client
    outputs = client.get_run(run_id).outputs
    assert outputs is not None
    (output,) = outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (logged.status, logged.source_run_id) == ("READY", run_id)
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": name, "version": int(version)}]


@pytest.mark.usefixtures("version")
def test_an_unknown_address_is_refused_with_what_is_known(store: str, name: str, tmp_path: Path) -> None:
    for address, told in (
        (f"models:/{name}@champoin", "Did you mean `champion`?"),
        (f"models:/{name}/9", "Known: 1."),
        (f"models:/{name[:-1]}@champion", f"Did you mean `{name}`?"),
        (f"models:/{name}", "models:/name@alias"),
        ("runs:/abc/model", "models:/name@alias"),
    ):
        with pytest.raises(RegistryError) as raised:
            download_model(store, address, tmp_path / "new")
        assert told in str(raised.value)
        assert "\n" not in str(raised.value)
    with pytest.raises(RegistryError, match="has no version 9"):
        set_alias(store, name, "champion", "9")


@pytest.mark.usefixtures("version")
def test_a_download_overwrites_nothing(store: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(RegistryError, match="new or empty folder"):
        download_model(store, f"models:/{name}@champion", tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_an_empty_registry_says_so(sqlite_uri: str) -> None:
    with pytest.raises(RegistryError, match="None is registered there yet"):
        model_versions(sqlite_uri, "clothing")


def test_registering_prints_nothing(
    store: str, name: str, exported: Path, run_id: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    version = register_model(store, name, exported, run_id, {}, "")
    download_model(store, f"models:/{name}/{version}", tmp_path / "model")
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
