"""A folder of studies of which one goes wrong: the others run all the same, unless a person ended it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from study import suites
from study.analysis.suite import SuiteState, SuiteStudy
from study.definition import StudyDefinition
from study.progress import PlainLines
from study.settings import Settings, settings_from
from study.suites import run_suite
from study.tuning.launch import StudyListener, StudyOutcome
from study.tuning.runner import Options

STUDY = """
name = "NAME"
[data]
generated = "instruments"
[space]
head = { choices = ["replace", "append"] }
"""
COMPLETE = StudyOutcome(cast(Any, None), [], cast(Any, "a winner"), "", 1.0, is_interrupted=False)
HOPELESS = replace(COMPLETE, winner=None, is_interrupted=True, stop_reason="the first 4 trials failed alike: no memory")
UNCONFIRMED = replace(HOPELESS, winner=COMPLETE.winner)
ENDED_BY_A_PERSON = replace(COMPLETE, is_interrupted=True)
FULL = OSError(28, "No space left on device")
TAKEN = FileExistsError(17, "File exists", "/s/first/report")

Run = Callable[..., list[SuiteStudy]]


@contextmanager
def watching() -> Iterator[StudyListener]:
    with PlainLines(Console(stderr=True, quiet=True)) as listener:
        yield listener


@pytest.fixture
def run(tmp_path: Path, sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs two studies: the first ends, and is answered, as a test says; the second comes to its end."""

    def run_two(first: StudyOutcome | OSError, answer: OSError | None = None) -> list[SuiteStudy]:
        def run_study(definition: StudyDefinition, *anything: object) -> StudyOutcome:
            return COMPLETE if definition.name == "second" else outcome_or_raised(first)

        def answer_it(names: list[str], settings: Settings) -> Any:
            if answer is not None and names == ["first"]:
                raise answer
            return SimpleNamespace(comparison=SimpleNamespace(answer=["append wins"]), report=tmp_path / "report.html")

        monkeypatch.setattr(suites, "run_study", run_study)
        monkeypatch.setattr(suites, "answer", answer_it)
        for name in ("first", "second"):
            (tmp_path / f"{name}.toml").write_text(STUDY.replace("NAME", name), encoding="utf-8")
        settings = replace(settings_from({}, tmp_path), tracking_uri=sqlite_uri)
        return list(run_suite(tmp_path, settings, watching, Options(in_process=True)).suite.studies)

    return run_two


def outcome_or_raised(first: StudyOutcome | OSError) -> StudyOutcome:
    if isinstance(first, OSError):
        raise first
    return first


@pytest.mark.parametrize("outcome", [HOPELESS, UNCONFIRMED], ids=["of the search", "of the repetitions"])
def test_a_study_whose_first_trials_all_fail_alike_has_failed_and_the_others_run(outcome: StudyOutcome, run: Run) -> None:
    first, second = run(outcome)
    assert (first.state, first.reason) == (SuiteState.FAILED, HOPELESS.stop_reason)
    assert (second.state, second.answer) == (SuiteState.COMPLETE, ["append wins"])


def test_what_a_person_ended_ends_the_suite(run: Run) -> None:
    assert [study.state for study in run(ENDED_BY_A_PERSON)] == [SuiteState.INTERRUPTED, SuiteState.NOT_BEGUN]


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ({"first": FULL}, "No space left on device. Free some space"),
        ({"first": COMPLETE, "answer": TAKEN}, "/s/first/report: File exists. Check the path"),
    ],
    ids=["on the way", "when its report is written"],
)
def test_a_disk_that_fails_a_study_does_not_stop_the_others(ending: dict[str, Any], told: str, run: Run) -> None:
    first, second = run(**ending)
    assert first.state is SuiteState.FAILED
    assert told in first.reason
    assert second.state is SuiteState.COMPLETE
