"""What is printed when a study ends, where people's own words, paths and interruptions come in."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study import answering
from study.commands.shared import finish
from study.definition import parse_definition
from study.errors import StudyError, TrackingError
from study.printing.data import print_report, report_of
from study.printing.outcome import outcome_of, print_outcome
from study.printing.plan import plan_of, print_plan
from study.search.advisor import Outcome
from study.settings import Settings, settings_from
from study.trial import TrialConfig, TrialState
from study.tuning.data_card import DataCard
from study.tuning.launch import StudyOutcome
from study.tuning.preparation import PreparedStudy, prepare
from study.tuning.winner import Winner

CLASSES = ("cello [/x]", "violin [baroque]")  # in a console's markup: an error, and nothing
FOLDER = 'folder = "My Photos"'
GENERATED = 'generated = "instruments"\ntarget = "view"\nnum_photos = 60'
TEXT = f"""
name = "pets"
question = "Which [head] is best :cat:?"
[data]
{FOLDER}
image_size = 32
split = {{ validation = 0.3, test = 0.3 }}
[trial]
backbone = "squeezenet1_0"
weights = "none"
[space]
head = {{ choices = ["replace", "append"] }}
"""
WEIGHTS = "/home/me/[old]/w.pth"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two classes, in a folder whose name has a space."""
    folder = tmp_path_factory.mktemp("work")
    generator = np.random.default_rng(0)
    for number in range(len(CLASSES)):
        below = folder / "My Photos" / f"{number}"
        below.mkdir(parents=True)
        for index in range(8):
            Image.fromarray(generator.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(below / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def prepared(folder: Path) -> PreparedStudy:
    """A study of those photos, with classes that people have named."""
    settings = settings_from({"STUDY_CACHE": str(folder / "cache")}, folder)
    found = prepare(parse_definition(TEXT, folder / "pets.toml"), settings, lambda *_: None)
    report = found.data.report
    named = report.model_copy(update={"classes": dict(zip(CLASSES, report.classes.values(), strict=True))})
    return replace(found, data=replace(found.data, classes=CLASSES, report=named))


def ended(prepared: PreparedStudy, **changes: Any) -> StudyOutcome:
    """A study with one trial, which has won."""
    best = Outcome(0, TrialState.COMPLETE, TrialConfig(), {"weights": WEIGHTS}, 0.8, 3, "run")
    winner = Winner(best, {}, 0.5, prepared.settings.output_folder, "pets", "1", recipe_mean=0.8)
    whole = StudyOutcome(prepared, [best], winner, "study ui pets", elapsed_s=61.0, is_interrupted=False)
    return replace(whole, **changes)


def printed(outcome: StudyOutcome, capsys: pytest.CaptureFixture[str]) -> str:
    print_outcome(outcome_of(outcome, "study", None))
    return capsys.readouterr().out


def test_what_people_wrote_is_printed_as_they_wrote_it(prepared: PreparedStudy, capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(plan_of(prepared))
    plan = capsys.readouterr().out
    assert "pets Which [head] is best :cat:?" in plan
    print_report(report_of(DataCard(prepared.data, prepared.settings.output_folder)))
    report = capsys.readouterr().out
    for name in CLASSES:
        assert name in plan
        assert name in report
    assert WEIGHTS in printed(ended(prepared), capsys)


def test_the_line_to_try_the_model_is_one_that_a_shell_takes(
    prepared: PreparedStudy, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [line] = [line for line in printed(ended(prepared), capsys).splitlines() if line.startswith("try: ")]
    *command, photo = shlex.split(line.removeprefix("try: "))
    assert command == ["study", "predict", "models:/pets@champion"]
    assert Path(photo).is_relative_to(folder / "My Photos")
    assert Path(photo).is_file()


def test_an_example_that_cannot_be_written_costs_no_result(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "studies").write_text("a plain file")
    settings = settings_from({"STUDY_CACHE": str(folder / "cache"), "STUDY_OUTPUT": str(tmp_path / "studies")}, tmp_path)
    drawn = prepare(parse_definition(TEXT.replace(FOLDER, GENERATED), tmp_path / "pets.toml"), settings, lambda *_: None)
    shown = printed(ended(drawn), capsys)
    assert "best: trial 0" in shown
    assert "try: study predict models:/pets@champion PHOTO\n" in shown


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({}, None, "try: study predict"),
        ({"is_interrupted": True}, 1, "go on with: study resume pets"),
        ({"is_interrupted": True, "stop_reason": "of the repetitions, the first 4 failed"}, 1, "go on with: study resume pets"),
        ({"winner": None}, 1, "look at: study show pets"),
    ],
    ids=["complete", "interrupted while it was confirmed", "hopeless to confirm", "no winner"],
)
def test_the_exit_code_and_the_next_line_say_whether_a_study_came_to_its_end(
    changes: dict[str, Any],
    code: int | None,
    told: str,
    prepared: PreparedStudy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(answering, "answer", raising(TrackingError("MLflow is away.")))
    monkeypatch.delenv("UV", raising=False)
    outcome = ended(prepared, **changes)
    assert exit_code(lambda: finish(outcome, prepared.settings, is_json=False)) == code
    shown = capsys.readouterr().out
    assert told in shown
    assert ("interrupted: trials that were running wait to go on" in shown) == outcome.is_interrupted
    assert ("best: trial 0" in shown) == (outcome.winner is not None)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrackingError("MLflow must answer."), "MLflow must answer."),
        (
            FileExistsError(17, "File exists", "/s/pets/report"),
            "/s/pets/report: File exists. Check the path and its permissions.",
        ),
        (OSError(28, "No space left on device"), "No space left on device. Free some space where STUDY_OUTPUT, STUDY_CACHE"),
    ],
)
def test_a_report_that_cannot_be_written_costs_no_result(
    error: StudyError | OSError,
    reason: str,
    prepared: PreparedStudy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(answering, "answer", raising(error))
    finish(ended(prepared), prepared.settings, is_json=True)
    shown = capsys.readouterr()
    assert json.loads(shown.out)["winner"]["model"] == "models:/pets@champion"
    [line] = shown.err.splitlines()
    assert line.startswith("The report was not written: ")
    assert reason in line
    assert line.endswith("Then: study compare pets")


def raising(error: Exception) -> Callable[..., Any]:
    def fail(names: list[str], settings: Settings) -> None:
        raise error

    return fail


def exit_code(call: Callable[[], None]) -> int | str | None:
    try:
        call()
    except SystemExit as ending:
        return ending.code
    return None
