"""Trials' files in a bucket: what one machine sends, another finds. The file system is a local one, and S3's where moto is."""

import os
import pickle
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from study.data.dataset import prepare_data
from study.data.study_data import StudyData
from study.definition import Objective, parse_definition
from study.errors import DefinitionError, StudyError
from study.models.weights import ResolvedWeights
from study.search.outcomes import Outcome
from study.settings import settings_from
from study.trial import Measurement, TrialConfig, TrialState
from study.tuning import worker
from study.tuning.kept_weights import KeptWeights
from study.tuning.ledger import TrialProgress
from study.tuning.node_probe import probe
from study.tuning.preparation import prepare
from study.tuning.shared_files import SharedFiles
from study.tuning.trial_files import state_file, weights_file
from study.tuning.trial_task import TrialTask
from study.tuning.worker import TrialSession, WarmProcess, begin_training, run_trial

TEXT = """
name = "shared"
data = { generated = "instruments", target = "view", num_photos = 60, image_size = 32 }
"""
SPACE = '[space]\n"optimizer.lr" = { low = 1e-4, high = 1e-2, log = true }\n'
NO_MOTO = "no S3 server here: put moto's moto_server (pip install 'moto[s3,server]') on the PATH"


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """Address of a bucket on moto's server, which speaks S3 over HTTP."""
    command = shutil.which("moto_server")
    if command is None:
        pytest.skip(NO_MOTO)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([command, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 60
    while True:
        try:
            urlopen(Request(f"http://127.0.0.1:{port}/studies", method="PUT")).close()
            break
        except (URLError, OSError):
            assert time.monotonic() < deadline_s, "the S3 server did not start"
            time.sleep(0.2)
    yield f"s3://studies/team?region=us-east-1&scheme=http&endpoint_override=127.0.0.1:{port}&allow_delayed_open=true"
    server.terminate()
    server.wait()


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.long)])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where two machines share files."""
    if request.param == "folder":
        return f"file://{tmp_path}/bucket"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
    found: str = request.getfixturevalue("s3_server")
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    return prepare_data(parse_definition(TEXT, Path("/somewhere/shared.toml")), tmp_path_factory.mktemp("cache"))


def task(data: StudyData, machine: Path, address: str) -> TrialTask:
    recipe = {"backbone": "squeezenet1_0", "epochs": 4, "batch_size": 16, "freeze_depth": 0.5, "seed": 3}
    return TrialTask(
        number=7,
        run_id="run",
        config=TrialConfig.model_validate(recipe),
        weights=ResolvedWeights(None, "random"),
        objective=Objective(),
        data_folder=str(data.folder),
        activations_folder=str(machine / "activations"),
        output_folder=str(machine / "trials" / "shared"),
        tracking_uri=f"sqlite:///{machine}/mlflow.db",
        num_threads=1,
        uses_gpu=False,
        shared_address=address,
    )


def test_what_one_machine_sends_another_finds_and_nothing_stays_behind(address: str, tmp_path: Path) -> None:
    here, there = SharedFiles(address, "pets"), pickle.loads(pickle.dumps(SharedFiles(address, "pets")))
    file, copy = tmp_path / "here" / "00007.safetensors", tmp_path / "there" / "00007.safetensors"
    file.parent.mkdir()
    file.write_bytes(os.urandom(10_000))
    content = file.read_bytes()
    assert not there.has(copy)
    there.fetch(copy)
    assert not copy.exists()
    here.send(file)
    assert not file.exists()
    assert there.has(copy)
    there.fetch(copy)
    assert copy.read_bytes() == content
    assert list(copy.parent.iterdir()) == [copy]
    assert not SharedFiles(address, "other").has(tmp_path / "nowhere" / copy.name)
    there.forget(copy)
    assert not here.has(file)
    here.forget(file)  # as after a kill between the two


def test_a_trial_goes_on_from_its_last_saved_epoch_on_a_machine_that_shares_a_bucket_only(
    address: str, data: StudyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SAVE_INTERVAL_S", 0.0)
    monkeypatch.setattr(worker, "SAVE_SHARE", float("inf"))
    first, second = (task(data, tmp_path / name, address) for name in ("first", "second"))
    folder = Path(first.output_folder)
    trained = run_trial(begin_training(first, data, WarmProcess.of(first)), folder, 7, first.shared)
    before = [next(trained), next(trained)]
    next(trained)  # the second epoch is saved when the third is asked for
    trained.close()
    assert not list(folder.rglob("*.safetensors"))
    training = begin_training(second, data, WarmProcess.of(second))
    again = list(run_trial(training, Path(second.output_folder), 7, second.shared))
    assert again[:2] == before
    assert [measured.epoch for measured in again] == [1, 2, 3, 4]
    driver = tmp_path / "driver" / "shared"
    shared = SharedFiles(address, "shared")
    assert not shared.has(state_file(driver, 7))
    shared.fetch(weights_file(driver, 7))
    assert weights_file(driver, 7).stat().st_size > 100_000


def test_a_node_that_can_write_to_the_bucket_is_seen_to_do_so(address: str) -> None:
    shared = SharedFiles(address, "pets")
    with shared.token() as name:
        assert probe(shared.folder_address, name, [], [], "node-id")["problem"] == ""
        assert shared.has_answer(name, "node-id")
        assert not shared.has_answer(name, "another")
    assert not shared.has_answer(name, "node-id")


def test_a_node_that_does_not_see_the_bucket_says_why(tmp_path: Path) -> None:
    problem = probe(f"file://{tmp_path}/elsewhere", "token", [], [], "node-id")["problem"]
    assert "elsewhere/token" in problem
    assert "\n" not in problem


@pytest.mark.parametrize("wrong", ["file:///proc/studies", "nothing://studies/team"])
def test_an_address_that_cannot_be_written_is_refused_in_one_line(wrong: str) -> None:
    with pytest.raises(DefinitionError, match="STUDY_SHARED must be an address that this machine can write to") as raised:
        SharedFiles(wrong, "pets").token().__enter__()
    assert "\n" not in str(raised.value)


def test_the_names_of_a_study_s_files_are_those_here_and_those_there(address: str, tmp_path: Path) -> None:
    shared = SharedFiles(address, "pets")
    here = tmp_path / "trials"
    assert shared.names(here) == frozenset()  # no folder yet, on neither side
    here.mkdir()
    for name in ("00001.safetensors", "00002.safetensors"):
        (here / name).write_bytes(b"weights")
    shared.send(here / "00001.safetensors")
    assert shared.names(here) == {"00001.safetensors", "00002.safetensors"}
    assert SharedFiles().names(here) == {"00002.safetensors"}
    shared.forget(here / "00001.safetensors")


def outcomes(num_trials: int) -> list[Outcome]:
    return [
        Outcome(number, TrialState.COMPLETE, TrialConfig(), {"optimizer.lr": 1e-4 * (1 + number)}, 0.5, 1, f"run-{number}")
        for number in range(num_trials)
    ]


def test_a_resumed_study_asks_a_bucket_once_for_a_thousand_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, requests = SharedFiles(f"file://{tmp_path}/bucket", "pets"), list[str]()
    opened = SharedFiles._open

    def counted(self: SharedFiles) -> object:
        requests.append("one")
        return opened(self)

    monkeypatch.setattr(SharedFiles, "_open", counted)
    KeptWeights(tmp_path, parse_definition(TEXT + SPACE, tmp_path / "shared.toml"), 3, outcomes(1000), shared)
    assert len(requests) == 1


def test_a_bucket_that_does_not_answer_refuses_no_resume_and_nothing_of_earlier_trials_is_deleted(
    away: SharedFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = [weights_file(tmp_path, number) for number in range(5)]
    left[0].parent.mkdir(parents=True)
    for file in left:
        file.touch()
    kept = KeptWeights(tmp_path, parse_definition(TEXT + SPACE, tmp_path / "shared.toml"), 1, outcomes(5), away)
    kept.settle()
    assert all(file.exists() for file in left)
    assert "weights of earlier trials stay where they are" in caplog.text
    assert "SLOW_DOWN" in caplog.text


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedFiles:
    """An address that no longer answers."""
    lose_bucket(monkeypatch)
    return SharedFiles(f"file://{tmp_path}/bucket?use_mmap=false", "pets")


def lose_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: SharedFiles) -> None:
        raise OSError("AWS Error SLOW_DOWN during HeadObject\nretries: 3")

    monkeypatch.setattr(SharedFiles, "_open", refused)


def test_what_cannot_be_deleted_costs_a_warning_and_no_trial(
    away: SharedFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = KeptWeights(tmp_path, parse_definition(TEXT + SPACE, tmp_path / "shared.toml"), 0, [], away)
    for number, value in ((7, 0.5), (8, 0.6)):
        best = Measurement(epoch=1, metrics={"val_balanced_accuracy": value}, timestamp_ms=0, is_last=True)
        kept.trial_ended(TrialProgress(number, TrialConfig(), {}, "run", 0.0, state=TrialState.COMPLETE, best=best))
    assert "00007.safetensors could not be deleted: AWS Error SLOW_DOWN" in caplog.text


def test_a_folder_that_does_not_let_a_file_go_costs_a_warning_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "00007.safetensors").mkdir()
    assert not SharedFiles().forget(tmp_path / "00007.safetensors")
    assert "00007.safetensors could not be deleted" in caplog.text


def test_a_trial_whose_weights_were_sent_is_whole_though_its_saved_training_cannot_be_deleted(
    address: str, data: StudyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = task(data, tmp_path, address)
    session = TrialSession(sent, data, WarmProcess.of(sent))
    send = SharedFiles.send

    def send_and_lose(self: SharedFiles, file: Path) -> None:
        send(self, file)
        lose_bucket(monkeypatch)

    monkeypatch.setattr(SharedFiles, "send", send_and_lose)
    while not (report := session.step()).is_last:
        pass
    assert report.failure is None


@pytest.mark.parametrize("asks", [SharedFiles.has, SharedFiles.fetch, SharedFiles.names])
def test_a_bucket_that_cannot_be_read_is_one_line_for_the_driver(
    asks: Callable[[SharedFiles, Path], object], away: SharedFiles, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match="STUDY_SHARED must be an address that this machine can read, but") as raised:
        asks(away, tmp_path / "00007.safetensors")
    assert "SLOW_DOWN" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "use_mmap" not in str(raised.value)


def test_a_bucket_that_goes_away_while_nodes_are_checked_raises_nothing_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shared = SharedFiles(f"file://{tmp_path}/bucket", "pets")
    with shared.token() as name:
        lose_bucket(monkeypatch)
        with pytest.raises(StudyError, match="can read"):
            shared.has_answer(name, "node-id")
    assert "could not be deleted" in caplog.text


@pytest.mark.parametrize("option", ["client_secret", "sas_token", "Account_Key", "PASSWORD", "credential_kind"])
def test_a_secret_among_an_address_s_options_is_refused_without_telling_it(option: str, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=f"must hold no secret, but has the option {option}") as raised:
        settings_from({"STUDY_SHARED": f"abfss://studies/x?tenant_id=1&{option}=hunter2"}, tmp_path)
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_address_s_own_options_are_kept(tmp_path: Path) -> None:
    given = "s3://studies/x?region=eu-central-1&endpoint_override=minio:9000&scheme=http"
    assert settings_from({"STUDY_SHARED": given}, tmp_path).shared_address == given


@pytest.mark.parametrize(
    ("given", "why"), [("/mnt/studies", "such as s3://"), ("s3://key:secret@bucket/x", "without a password")]
)
def test_what_is_no_address_or_holds_a_password_is_refused_without_telling_it(given: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=why) as raised:
        settings_from({"STUDY_SHARED": given}, tmp_path)
    assert "secret" not in str(raised.value)


def test_an_address_that_cannot_be_written_is_news_before_photos_are_packed(tmp_path: Path) -> None:
    definition = parse_definition(TEXT.replace("data = {", "search.trials = 2\ndata = {") + SPACE, tmp_path / "shared.toml")
    settings = settings_from({"STUDY_SHARED": "file:///proc/studies", "STUDY_CACHE": str(tmp_path / "cache")}, tmp_path)
    with pytest.raises(DefinitionError, match="STUDY_SHARED must be an address"):
        prepare(definition, settings)
    assert not (tmp_path / "cache").exists()
