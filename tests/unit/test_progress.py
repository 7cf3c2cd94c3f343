"""What a person sees while a study runs."""

import io
from types import SimpleNamespace
from typing import Any
from weakref import ReferenceType, ref

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from study.definition import Objective
from study.progress import LINES_AROUND_THE_TABLE, LiveTable, PackingClock, PlainLines, StudyClock, duration, recipe
from study.search.advisor import Outcome
from study.trial import Failure, Measurement, TrialConfig, TrialState
from study.tuning.ledger import TrialProgress

SPLITS = SimpleNamespace(train=np.arange(1200), val=np.arange(300))
PREPARED: Any = SimpleNamespace(
    definition=SimpleNamespace(name="pets", num_trials=4, objective=Objective(), trial=TrialConfig(epochs=3)),
    data=SimpleNamespace(splits=SPLITS, num_classes=3),
)


def trial(number: int, state: TrialState, *values: float, failure: Failure | None = None) -> TrialProgress:
    measurements = [
        Measurement(
            epoch=epoch,
            metrics={"val_balanced_accuracy": value},
            timestamp_ms=0,
        )
        for epoch, value in enumerate(values, start=1)
    ]
    best = max(measurements, key=lambda measured: measured.metrics["val_balanced_accuracy"], default=None)
    searched = {"backbone": "resnet18", "optimizer.lr": 0.00123456}
    return TrialProgress(
        number, TrialConfig(epochs=3), searched, "run", 0.0, state=state, measurements=measurements, best=best, failure=failure
    )


def lines_of(*trials: TrialProgress) -> str:
    output = io.StringIO()
    lines = PlainLines(Console(file=output, width=60))
    lines.study_began(PREPARED, [], num_concurrent=2)
    for ended in trials:
        lines.trial_ended(ended)
    return output.getvalue()


def test_a_pipe_gets_a_line_for_each_trial_that_ends_however_narrow_it_is() -> None:
    shown = lines_of(trial(0, TrialState.COMPLETE, 0.5, 0.8, 0.7), trial(1, TrialState.PRUNED, 0.4))
    assert "study pets: 4 trials, 2 at once, up to 3 epochs · 1,200 training and 300 validation photos, 3 classes\n" in shown
    assert "trial   0 COMPLETE epoch 3/3 best 0.800 · resnet18 · lr 0.00123\n" in shown
    assert "trial   1 PRUNED   epoch 1/3 best 0.400" in shown
    assert "2/4 trials · 1 COMPLETE · 1 PRUNED · best val_balanced_accuracy 0.800 (trial 0)" in shown


def test_a_failed_trial_says_why() -> None:
    shown = lines_of(trial(2, TrialState.FAIL, failure=Failure(reason="NonFiniteLossError: the loss became nan")))
    assert "trial   2 FAIL     epoch 0/3 best -     · resnet18 · lr 0.00123 · NonFiniteLossError: the loss became nan" in shown


def test_a_resumed_study_counts_what_ended_before() -> None:
    clock = StudyClock()
    clock.start(PREPARED, [Outcome(0, TrialState.COMPLETE, TrialConfig(), {}, 0.9, 3, "run")])
    clock.count(trial(1, TrialState.COMPLETE, 0.5))
    assert clock.best == (0.9, 0)
    assert clock.share_done == 0.5
    assert str(clock).startswith("2/4 trials · 2 COMPLETE")


def test_an_interrupted_trial_is_not_done() -> None:
    clock = StudyClock()
    clock.start(PREPARED, [])
    clock.count(trial(1, TrialState.INTERRUPTED, 0.5))
    assert clock.share_done == 0
    assert clock.best is None


@pytest.mark.parametrize("width", [80, 160])
def test_the_live_table_shows_running_trials_first_and_fits_the_screen(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, height=14, force_terminal=True)
    table = LiveTable(console)
    table.study_began(PREPARED, [], num_concurrent=2)
    for number in range(20):
        table.trial_ended(trial(number, TrialState.COMPLETE, 0.5))
    table.trial_began(trial(20, TrialState.RUNNING))
    with console.capture() as captured:
        console.print(table._render())
    lines = captured.get().splitlines()
    assert len(lines) <= 14
    assert max(len(Text.from_ansi(line)) for line in lines) <= width
    shown = [line for line in lines if "RUNNING" in line or "COMPLETE " in line]
    assert "RUNNING" in shown[0]
    assert all(name in captured.get() for name in ("trial", "state", "epoch", "last", "best", "recipe"))


def test_packing_tells_photos_a_second_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 10.0])
    monkeypatch.setattr("study.progress.time.monotonic", lambda: next(seconds))
    clock = PackingClock()
    assert clock.line(100, 1000) == "packing photos: 100/1,000"  # packed by a run that was killed
    assert clock.line(400, 1000) == "packing photos: 400/1,000 · 30 photos/s · 0:00:20 left"


def test_numbers_in_a_recipe_are_short_and_named() -> None:
    assert recipe({"head": "append", "optimizer.lr": 0.00123456, "freeze_depth": 0.5, "nesterov": True}) == (
        "append · lr 0.00123 · freeze_depth 0.5 · True"
    )


def test_a_duration_is_hours_minutes_seconds() -> None:
    assert [duration(seconds) for seconds in (0.4, 61, 3723)] == ["0:00:00", "0:01:01", "1:02:03"]


def test_the_live_table_lets_go_of_trials_that_ended() -> None:
    """1,000 trials with their measurements of 100 classes are 1 GB."""
    console = Console(file=io.StringIO(), width=120, height=14, force_terminal=True)
    table = LiveTable(console)
    table.study_began(PREPARED, [], num_concurrent=2)
    ended = list[ReferenceType[TrialProgress]]()
    for number in range(1000):
        one = trial(number, TrialState.RUNNING, 0.5)
        ended.append(ref(one))
        table.trial_began(one)
        one.state = TrialState.COMPLETE
        table.trial_ended(one)
    del one
    assert sum(reference() is not None for reference in ended) == 0
    with console.capture() as captured:
        console.print(table._render())
    rows = [line.split()[0] for line in captured.get().splitlines() if "COMPLETE  " in line]
    assert rows[0].endswith("999")
    assert len(rows) == 14 - LINES_AROUND_THE_TABLE


def test_the_repetitions_after_a_search_begin_with_an_empty_table() -> None:
    console = Console(file=io.StringIO(), width=120, height=14, force_terminal=True)
    table = LiveTable(console)
    table.study_began(PREPARED, [], num_concurrent=2)
    table.trial_ended(trial(0, TrialState.PRUNED, 0.5))
    table.study_began(PREPARED, [], num_concurrent=2)
    table.trial_ended(trial(0, TrialState.COMPLETE, 0.5))
    with console.capture() as captured:
        console.print(table._render())
    assert "PRUNED" not in captured.get()


def test_what_a_library_said_of_a_failure_is_shown_as_it_said_it() -> None:
    said = "ValueError: no key [/x] in [weights] :cat:"
    failed = trial(0, TrialState.FAIL, failure=Failure(reason=said))
    assert said in lines_of(failed)
    console = Console(file=io.StringIO(), width=160, height=14, force_terminal=True)
    table = LiveTable(console)
    table.study_began(PREPARED, [], num_concurrent=2)
    table.trial_ended(failed)
    with console.capture() as captured:
        console.print(table._render())
    assert said in Text.from_ansi(captured.get()).plain
