"""What a trial and a driver leave in their logs, and how they are read."""

import logging
import threading
import time
import warnings
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from study.definition import parse_definition
from study.errors import SearchError
from study.progress import PlainLines
from study.search.advisor import Advisor
from study.search.storages import open_storage
from study.settings import Settings, settings_from
from study.trial import Failure, Measurement, TrialState
from study.tuning.driver import driving
from study.tuning.driver_log import logged
from study.tuning.log_file import LogFile, driver_log_file, trial_log_file
from study.tuning.logs import end_of, find_log, follow_lines, read_lines
from study.tuning.shared_files import SharedFiles
from study.tuning.trial_log import TrialLog

CPU = torch.device("cpu")
FAILURE = Failure(reason="ValueError: no", traceback="Traceback (most recent call last):\n  File x\nValueError: no")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_from({"STUDY_OUTPUT": str(tmp_path / "studies")}, tmp_path)


def measured(epoch: int, *, is_last: bool = False) -> Measurement:
    metrics = {"train_loss": 0.51234, "val_loss": 0.4, "val_accuracy": 0.75, "val_macro_f1": 0.1, "train_images_per_s": 812.4}
    return Measurement(epoch=epoch, metrics=metrics, timestamp_ms=1, is_last=is_last)


def said(log: TrialLog) -> list[str]:
    """The lines without their times."""
    return [line if line.startswith(" ") else line.split(" ", 2)[2] for line in read_lines(log.path)]


def test_a_trial_s_log_tells_its_beginning_its_epochs_and_its_end(tmp_path: Path) -> None:
    log = TrialLog(tmp_path, 12)
    log.begin(CPU, "head=append")
    log.measured(measured(1), 2, "val_accuracy")
    log.measured(measured(2, is_last=True), 2, "val_accuracy")
    log.completed()
    log.left()  # by whoever tidies up
    assert log.path == tmp_path / "logs" / "trial_00012.log"
    begin, *rest = said(log)
    assert begin.startswith("trial 12 begins on ")
    assert begin.endswith(", cpu: head=append")
    epoch = "train_loss 0.5123, val_loss 0.4, val_accuracy 0.75, 812 images/s"
    assert rest == [f"epoch 1/2: {epoch}", f"epoch 2/2: {epoch}", "ended: all epochs done"]


def test_a_retry_goes_on_in_the_same_log_after_the_cause_of_the_first_end(tmp_path: Path) -> None:
    TrialLog(tmp_path, 3).begin(CPU, "")
    TrialLog(tmp_path, 3).died("The worker died: out of memory", is_retried=True)
    second = TrialLog(tmp_path, 3)
    second.begin(CPU, "")
    second.failed(FAILURE)
    lines = said(second)
    assert lines[1] == "the trial's process died: The worker died: out of memory"
    assert lines[2].startswith("trial 3 begins again on ")
    assert lines[3:] == [
        "failed: ValueError: no",
        "    Traceback (most recent call last):",
        "      File x",
        "    ValueError: no",
        "ended: failed",
    ]


def test_a_trial_that_dies_for_good_has_ended_in_its_log(tmp_path: Path) -> None:
    TrialLog(tmp_path, 3).died("killed", is_retried=False)
    assert said(TrialLog(tmp_path, 3)) == ["the trial's process died: killed", "ended: failed"]


def test_a_pruned_trial_says_that_the_driver_stopped_it(tmp_path: Path) -> None:
    log = TrialLog(tmp_path, 0)
    log.measured(measured(1), 9, "val_accuracy")
    log.left()
    log.left()
    assert [line.partition(":")[0] for line in said(log)] == ["epoch 1/9", "ended"]


def test_warnings_and_log_lines_are_captured_while_the_trial_runs_and_still_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = TrialLog(tmp_path, 0)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with log.capturing():
            warnings.warn("steps are long", UserWarning, stacklevel=1)
            logging.getLogger("study.training").warning("no room for %s", "activations")
            logging.getLogger("torch._dynamo").warning("graph break")
            logging.getLogger("somebody").warning("else")
        warnings.warn("afterwards", UserWarning, stacklevel=1)
        logging.getLogger("study.training").warning("afterwards")
    lines = said(log)
    assert lines[0].startswith("UserWarning: steps are long (")
    assert lines[1:] == ["WARNING study.training: no room for activations", "WARNING torch._dynamo: graph break"]
    assert [str(one.message) for one in shown] == ["steps are long", "afterwards"]
    assert "no room for activations" in caplog.text


def test_a_log_that_cannot_be_written_does_not_stop_the_trial(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    TrialLog(tmp_path, 0).begin(CPU, "")


def test_the_driver_s_log_says_how_the_driver_ended(tmp_path: Path) -> None:
    listener = PlainLines(Console(file=StringIO()))
    with logged(listener, tmp_path) as heard:
        heard.notice("MLflow is away")
    with pytest.raises(KeyboardInterrupt), logged(listener, tmp_path):
        raise KeyboardInterrupt
    with pytest.raises(SearchError), logged(listener, tmp_path):
        raise SearchError("STUDY_STORAGE is full.")
    lines = [line.split(" ", 2)[2] for line in read_lines(tmp_path / "logs" / "driver.log")]
    assert lines[1:3] == ["MLflow is away", "the driver ends"]
    assert lines[4] == "the driver ends: KeyboardInterrupt"
    assert lines[6] == "the driver ends: STUDY_STORAGE is full."


def test_a_log_is_found_by_study_and_trial(settings: Settings) -> None:
    LogFile(trial_log_file(settings.study_folder("pets"), 3)).say("here")
    assert find_log("pets", 3, settings).read_text().endswith("here\n")


@pytest.mark.parametrize(
    ("name", "trial", "message"),
    [
        ("pats", 0, "Did you mean `pets`?"),
        ("pets", 5, "Known: trials 1 to 3."),
        ("pets", None, "none of the driver in .* Known: trials 1 to 3."),
    ],
)
def test_a_log_that_is_not_there_is_one_line_with_what_is(
    name: str, trial: int | None, message: str, settings: Settings
) -> None:
    for number in (1, 3):
        LogFile(trial_log_file(settings.study_folder("pets"), number)).say("here")
    with pytest.raises(SearchError, match=message):
        find_log(name, trial, settings)


CHOICES = """
name = "pets"
data.generated = "instruments"
space.head = { choices = ["replace"] }
search = { sampler = "random", trials = 3 }
"""


def repeating(settings: Settings) -> Advisor:
    """A study whose trial 2 repeats trial 1, the first that was trained to its end; each that ran has its log."""
    advisor = Advisor.create(parse_definition(CHOICES, Path("/somewhere/pets.toml")), open_storage(settings.storage), {})
    for number in (0, 1):
        advisor.ask()
        LogFile(trial_log_file(settings.study_folder("pets"), number)).say("here")
        advisor.report(number, 1, 0.5)
        advisor.tell(number, TrialState.COMPLETE if number else TrialState.FAIL, 0.5 if number else None)
    repeated = advisor.ask()
    assert repeated is not None
    assert repeated.repeats == 1
    return advisor


def test_who_asks_for_the_log_of_a_trial_that_repeats_another_is_led_to_that_one(settings: Settings) -> None:
    repeating(settings).tell(2, TrialState.COMPLETE, 0.5)
    with pytest.raises(SearchError, match="trial 2 of pets was told the result of trial 1, .* study logs pets 1$") as raised:
        find_log("pets", 2, settings)
    assert "\n" not in str(raised.value)


def test_a_trial_that_runs_and_has_no_log_yet_repeats_none(settings: Settings) -> None:
    repeating(settings)
    with pytest.raises(SearchError, match="none of trial 2 in .* Known: trials 0 to 1."):
        find_log("pets", 2, settings)


def test_with_a_shared_address_a_trial_that_repeats_another_is_not_looked_for_on_a_node(nodes_apart: Settings) -> None:
    repeating(nodes_apart).tell(2, TrialState.COMPLETE, 0.5)
    with pytest.raises(SearchError, match="study logs pets 1$"):
        find_log("pets", 2, nodes_apart)


def test_a_log_is_followed_to_its_end(settings: Settings) -> None:
    folder = settings.study_folder("pets")
    log = TrialLog(folder, 0)
    log.begin(CPU, "")

    def go_on() -> None:
        time.sleep(0.2)
        log.measured(measured(1, is_last=True), 1, "val_accuracy")
        log.completed()

    with driving("pets", folder):
        writer = threading.Thread(target=go_on)
        writer.start()
        lines = list(follow_lines(log.path, end_of("pets", 0, settings)))
        writer.join()
    assert lines == list(read_lines(log.path))
    assert lines[-1].endswith("ended: all epochs done")


def test_a_log_is_not_followed_past_its_driver_s_death(settings: Settings) -> None:
    log = TrialLog(settings.study_folder("pets"), 0)
    log.begin(CPU, "")
    assert len(list(follow_lines(log.path, end_of("pets", 0, settings)))) == 1


@pytest.fixture
def nodes_apart(tmp_path: Path) -> Settings:
    """A driver's, who shares an address with its nodes and no folder; its own log is there."""
    places = {"STUDY_OUTPUT": str(tmp_path / "studies"), "STUDY_SHARED": f"file://{tmp_path}/bucket"}
    settings = settings_from(places | {"STUDY_CACHE": str(tmp_path / "cache")}, tmp_path)
    LogFile(driver_log_file(settings.study_folder("pets"))).say("the driver begins")
    return settings


def on_a_node(settings: Settings, folder: Path) -> TrialLog:
    return TrialLog(folder / "pets", 3, SharedFiles(settings.shared_address, "pets"))


def test_a_log_of_a_node_that_shares_an_address_only_is_found_when_its_trial_has_ended(
    nodes_apart: Settings, tmp_path: Path
) -> None:
    log = on_a_node(nodes_apart, tmp_path / "node")
    log.begin(CPU, "")
    with pytest.raises(SearchError, match="comes from its node when the trial ends, but trial 3 of pets") as raised:
        find_log("pets", 3, nodes_apart)
    assert str(tmp_path / "cache" / "trials" / "pets" / "logs" / "trial_00003.log") in str(raised.value)
    assert "\n" not in str(raised.value)
    log.left()
    found = find_log("pets", 3, nodes_apart)
    assert found == trial_log_file(nodes_apart.study_folder("pets"), 3)
    assert found.read_text() == log.path.read_text()
    assert find_log("pets", None, nodes_apart).name == "driver.log"


def test_a_log_that_cannot_be_sent_fails_no_trial(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = TrialLog(tmp_path, 3, SharedFiles("file:///proc/nowhere", "pets"))
    log.begin(CPU, "")
    log.completed()
    assert said(log)[-1] == "ended: all epochs done"
    assert "trial_00003.log could not be sent" in caplog.text
