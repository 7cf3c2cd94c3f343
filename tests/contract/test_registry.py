"""Registered models on every store: into MLflow, out again as plain files, and loaded where there is no `study`."""

import base64
import json
import pickle
import subprocess
import sys
import threading
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
from study.tracking.patience import Patience
from study.tracking.registration import register_model
from study.tracking.registry import CONTENT_TAG, ModelVersion, Registry, download_model, model_versions
from study.tracking.smoke_prediction import smoke_predict
from study.trial import TrialConfig
from tests.planted import is_armed, plant_code
from tests.stores import faulty_network

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
    registry = Registry(store)
    made = register_model(registry, name, exported, run_id, {"study.name": name}, "the winner of a test")
    registry.set_alias(name, "champion", made)
    return made


def softened(exported: Path, folder: Path) -> Path:
    """The same model with another temperature: another model."""
    model = load_exported(exported)
    save_exported(folder, model.module, model.contract.model_copy(update={"temperature": 2.0}))
    return folder


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


def test_versions_tell_their_run_aliases_and_tags(
    store: str, name: str, version: str, exported: Path, run_id: str, tmp_path: Path
) -> None:
    registry = Registry(store)
    second = register_model(registry, name, softened(exported, tmp_path / "other"), run_id, {}, "")
    registry.set_alias(name, "challenger", second)
    registry.set_alias(name, "champion", second)
    newest, first = model_versions(store, name)
    assert (first.version, first.run_id, first.aliases, first.tags["study.name"]) == (version, run_id, (), name)
    assert first.tags[CONTENT_TAG] == load_exported(exported).contract.content_digest
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
        Registry(store).set_alias(name, "champion", "9")


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
    version = register_model(Registry(store), name, exported, run_id, {}, "a card")
    download_model(store, f"models:/{name}/{version}", tmp_path / "model")
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_the_same_model_is_registered_once(store: str, name: str, version: str, exported: Path, run_id: str) -> None:
    assert register_model(Registry(store), name, exported, run_id, {"study.name": "another"}, "") == version
    assert len(model_versions(store, name)) == 1


def test_an_equal_model_of_another_run_is_a_version_of_its_own(
    store: str, name: str, version: str, exported: Path, run_id: str
) -> None:
    """As of a study that was deleted and run again: what the new one finds is not told of the old one's version."""
    tracker = MlflowTracker(store)
    again = tracker.begin_trial(tracker.begin_study(f"{name}-again", name, {}, "", ""), 7, CONFIG, {})
    second = register_model(Registry(store), name, exported, again, {"study.name": name}, "")
    assert [(one.version, one.run_id) for one in model_versions(store, name)] == [(second, again), (version, run_id)]


def test_a_card_is_the_versions_description_and_a_file_of_the_model(
    store: str, name: str, exported: Path, run_id: str, tmp_path: Path
) -> None:
    registry = Registry(store)
    card = "# A card\n\n" + "Long words. " * 1000
    made = registry.version_at(f"models:/{name}/{register_model(registry, name, exported, run_id, {}, card)}")
    assert card.startswith(made.description)
    assert len(made.description) == 5000
    assert (registry.download_package(made, tmp_path) / "model_card.md").read_text() == card


def test_aliases_and_notes_are_changed_and_removed(store: str, name: str, version: str) -> None:
    registry = Registry(store)
    registry.set_alias(name, "challenger", version)
    registry.remove_alias(name, "challenger")
    registry.remove_alias(name, "challenger")
    registry.annotate(registry.version_at(f"models:/{name}/{version}"), {"study.evidence": "confirmed"}, "a new card")
    [found] = registry.versions(name)
    assert (found.aliases, found.tags["study.evidence"], found.description) == (("champion",), "confirmed", "a new card")
    assert found.uri == f"models:/{name}/{version}"
    assert Registry(store).known_versions(f"{name}-absent") == []


def package_in(store: str, version: ModelVersion) -> Path:
    """Where a store on this machine keeps the version's files."""
    location = MlflowTracker(store).connection.client.get_model_version_download_uri(version.name, version.version)
    return Path(location.removeprefix("file://"))


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)  # its files are on this machine
@pytest.mark.usefixtures("version")
def test_what_is_planted_in_a_registered_model_is_neither_read_nor_run(
    store: str, name: str, exported: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(store)
    champion = registry.version_at(f"models:/{name}@champion")
    proof, package = tmp_path / "executed", package_in(store, champion)
    plant_code(package / "artifacts" / "model", proof)
    plant_code(package, proof)
    assert is_armed(package, proof)
    answer = load_as_a_user(store, champion.uri, monkeypatch).predict(str(photo))
    np.testing.assert_allclose(answer[COLUMNS[2:]].to_numpy(), load_exported(exported).predict([photo]), atol=1e-6)
    pulled = registry.download(champion.uri, tmp_path / "pulled")
    assert sorted(path.name for path in pulled.iterdir()) == ["contract.json", "weights.safetensors"]
    assert not proof.exists()


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)  # its files are on this machine
@pytest.mark.usefixtures("version")
def test_files_that_were_changed_since_are_refused_before_anything_runs(store: str, name: str, tmp_path: Path) -> None:
    registry = Registry(store)
    champion = registry.version_at(f"models:/{name}@champion")
    proof, package = tmp_path / "executed", package_in(store, champion)
    (package / "code" / "numpy.py").write_text(f"open({str(proof)!r}, 'w').close()\n")  # would be imported instead of NumPy
    with pytest.raises(RegistryError, match="one was added or changed, and none was run"):
        smoke_predict(registry, champion)
    assert not proof.exists()
    contract = package / "artifacts" / "model" / "contract.json"
    contract.write_text(contract.read_text().replace('"cello"', '"banjo"'))
    with pytest.raises(RegistryError, match="they were changed since"):
        registry.download(champion.uri, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


@pytest.mark.usefixtures("version")
def test_a_registered_model_answers_a_drawn_photo_in_a_process_of_its_own(store: str, name: str) -> None:
    registry = Registry(store)
    answer = smoke_predict(registry, registry.version_at(f"models:/{name}@champion"))
    assert sum(answer[column] for column in COLUMNS[2:]) == pytest.approx(1, abs=1e-5)
    assert answer["class"] in CLASSES


def test_registering_waits_for_a_server_that_is_away_and_a_lost_reply_makes_no_second_version(
    server_uri: str, name: str, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with faulty_network(server_uri) as network:
        tracker = MlflowTracker(network.uri)
        trial = tracker.begin_trial(tracker.begin_study(name, name, {}, "", ""), 7, CONFIG, {})
        said: list[str] = []
        registry = Registry(network.uri, Patience(60.0, said.append))
        network.is_down = True
        timer = threading.Timer(1.5, lambda: setattr(network, "is_down", False))
        timer.start()
        network.lost_replies.append("model-versions/create")
        made = register_model(registry, name, exported, trial, {}, "")
        timer.join()
        assert [version.version for version in registry.versions(name)] == [made]
        assert network.seen.count("logged-models") == 1
        assert any("Trying again" in message for message in said)


def test_a_registry_that_stays_away_fails_with_one_line(
    server_uri: str, name: str, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with faulty_network(server_uri) as network:
        network.is_down = True
        with pytest.raises(RegistryError, match="must register a version of") as raised:
            register_model(Registry(network.uri, Patience(0.5)), name, exported, "0" * 32, {}, "")
    assert "\n" not in str(raised.value)
