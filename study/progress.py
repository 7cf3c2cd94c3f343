"""What a person sees while a study runs: a live table in a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.definition import Objective
from study.trial import TrialState

if TYPE_CHECKING:  # what these import takes seconds to load, and a table needs their names only
    from study.search.advisor import Outcome
    from study.tuning.ledger import TrialProgress
    from study.tuning.preparation import PreparedStudy

STATE_STYLES = {
    TrialState.RUNNING: "cyan",
    TrialState.COMPLETE: "green",
    TrialState.PRUNED: "yellow",
    TrialState.FAIL: "bold red",
    TrialState.INTERRUPTED: "magenta",
}
COLUMN_WIDTHS = {"trial": 5, "state": 11, "epoch": 7, "last": 6, "best": 6}
LINES_AROUND_THE_TABLE = 9
PACKING_LINE_INTERVAL_S = 5.0


class StudyClock:
    """Counts a study's trials as they end: how far it is, what is best, how long it may take.

    The time left is the mean time a trial took so far, times the trials left: pruned ones make it fall as the search learns.
    """

    def __init__(self) -> None:
        self._started_s = time.monotonic()
        self._num_trials = 0
        self._num_before = 0
        self._states: Counter[TrialState] = Counter()
        self._objective = Objective()
        self.best: tuple[float, int] | None = None

    def start(self, prepared: PreparedStudy, earlier: Sequence[Outcome]) -> None:
        """Trials are about to run; `earlier` ended in an earlier launch."""
        self._started_s = time.monotonic()
        self._num_trials = prepared.definition.num_trials
        self._num_before = len(earlier)
        self._states.clear()  # the repetitions of the best recipes come after a search, as a study of their own
        self.best = None
        self._objective = prepared.definition.objective
        for outcome in earlier:
            self._states[outcome.state] += 1
            self._compare(outcome.state, outcome.value, outcome.number)

    def count(self, trial: TrialProgress) -> None:
        """A trial ended."""
        self._states[trial.state] += 1
        self._compare(trial.state, trial.best.metrics[self._objective.key] if trial.best else None, trial.number)

    def value_of(self, trial: TrialProgress) -> str:
        """The objective at the trial's last epoch."""
        return f"{trial.measurements[-1].metrics[self._objective.key]:.3f}" if trial.measurements else ""

    def best_of(self, trial: TrialProgress) -> str:
        """The objective at the trial's best epoch."""
        return f"{trial.best.metrics[self._objective.key]:.3f}" if trial.best else ""

    @property
    def share_done(self) -> float:
        """Share of the study's trials that have ended, in [0, 1]."""
        return self._num_done / self._num_trials if self._num_trials else 0.0

    def __str__(self) -> str:
        elapsed_s = time.monotonic() - self._started_s
        num_ended = self._num_done - self._num_before
        parts = [f"{self._num_done}/{self._num_trials} trials"]
        parts += [f"{count} {state.value}" for state, count in sorted(self._states.items())]
        if self.best is not None:
            parts.append(f"best {self._objective.key} {self.best[0]:.3f} (trial {self.best[1]})")
        parts.append(f"{duration(elapsed_s)} elapsed")
        if num_ended:
            parts.append(f"about {duration(elapsed_s / num_ended * (self._num_trials - self._num_done))} left")
        return " · ".join(parts)

    @property
    def _num_done(self) -> int:
        return self._states.total() - self._states[TrialState.INTERRUPTED]

    def _compare(self, state: TrialState, value: float | None, number: int) -> None:
        if state is not TrialState.COMPLETE or value is None:
            return
        if self.best is None or self._objective.is_better(value, self.best[0]):
            self.best = (value, number)


class PackingClock:
    """Tells how packing goes: photos, photos a second, time left."""

    def __init__(self) -> None:
        self._started_s: float | None = None
        self._num_first = 0

    def line(self, num_done: int, num_photos: int) -> str:
        """The present state in one line. Photos that an earlier, killed run had packed do not count for the rate."""
        now_s = time.monotonic()
        if self._started_s is None:
            self._started_s, self._num_first = now_s, num_done
        text = f"packing photos: {num_done:,}/{num_photos:,}"
        num_new = num_done - self._num_first
        if num_new <= 0 or now_s <= self._started_s:
            return text
        rate = num_new / (now_s - self._started_s)
        return f"{text} · {rate:,.0f} photos/s · {duration((num_photos - num_done) / rate)} left"


class PlainLines:
    """A line for each trial that ends: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clock = StudyClock()
        self._packing = PackingClock()
        self._said_s = 0.0

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to close."""

    def packing(self, num_done: int, num_photos: int) -> None:
        """A line every few seconds."""
        if num_done == num_photos or time.monotonic() - self._said_s > PACKING_LINE_INTERVAL_S:
            self._said_s = time.monotonic()
            self._say(self._packing.line(num_done, num_photos))

    def study_began(self, prepared: PreparedStudy, earlier: Sequence[Outcome], num_concurrent: int) -> None:
        """The first line."""
        self._clock.start(prepared, earlier)
        self._say(began_line(prepared, len(earlier), num_concurrent))

    def trial_began(self, trial: TrialProgress) -> None:
        """Nothing: a trial has its line when it ends."""

    def trial_measured(self, trial: TrialProgress) -> None:
        """Nothing: a trial has its line when it ends."""

    def trial_ended(self, trial: TrialProgress) -> None:
        """The trial's line."""
        self._clock.count(trial)
        reason = f" · {trial.failure.reason}" if trial.failure else ""
        what = f"epoch {trial.last_epoch}/{trial.config.epochs} best {self._clock.best_of(trial) or '-':5s}"
        if trial.repeats is not None:
            what = f"as trial {trial.repeats}, which had the same recipe"
        self._say(f"trial {trial.number:3d} {trial.state.value:8s} {what} · {recipe(trial.searched)}{reason}")
        self._say(f"  {self._clock}")

    def notice(self, message: str) -> None:
        """A line of its own."""
        self._say(message)

    def study_ending(self) -> None:
        """A line, because rebuilding and registering takes seconds."""
        self._say("registering the best model")

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False, emoji=False)


class LiveTable:
    """A table that changes in place: running trials first, then the latest that ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clock = StudyClock()
        self._packing = PackingClock()
        self._running: dict[int, TrialProgress] = {}
        self._ended: tuple[tuple[RenderableType, ...], ...] = ()  # cells of the rows that fit the screen, the latest first
        self._title = "preparing"
        self._status = ""
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leaves the last state of the table on the screen."""
        self._live.stop()

    def packing(self, num_done: int, num_photos: int) -> None:
        """In the line under the table."""
        self._status = self._packing.line(num_done, num_photos)

    def study_began(self, prepared: PreparedStudy, earlier: Sequence[Outcome], num_concurrent: int) -> None:
        """The title; the repetitions of the best recipes begin with an empty table, and with number 0 again."""
        self._running.clear()
        self._ended = ()
        self._clock.start(prepared, earlier)
        self._title = began_line(prepared, len(earlier), num_concurrent)
        self._status = ""

    def trial_began(self, trial: TrialProgress) -> None:
        """A new row."""
        self._running[trial.number] = trial

    def trial_measured(self, trial: TrialProgress) -> None:
        """The row is drawn from the trial itself."""

    def trial_ended(self, trial: TrialProgress) -> None:
        """The row stays, in its final state; it moves up as the latest of the ended."""
        self._clock.count(trial)
        self._running.pop(trial.number, None)
        # Its cells, not itself: 1,000 trials with all their measurements of 100 classes would be 1 GB.
        self._ended = (self._cells(trial), *self._ended)[: self._num_rows]

    def notice(self, message: str) -> None:
        """In the line under the table."""
        self._status = message

    def study_ending(self) -> None:
        """In the line under the table."""
        self._status = "registering the best model"

    def _render(self) -> Group:
        parts: list[Any] = [Text(self._title, style="bold")]
        if self._running or self._ended:
            bar = Table.grid()  # a row of its own: a bar alone ends without a line break
            bar.add_row(ProgressBar(total=1.0, completed=self._clock.share_done, width=min(60, self._console.width)))
            parts += [self._table(), bar, Text(str(self._clock))]
        return Group(*parts, Text(self._status, style="dim"))

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold dim")
        table.expand = True  # over the whole width, of which the recipe gets what the figures leave
        for name, width in COLUMN_WIDTHS.items():
            table.add_column(name, justify="left" if name == "state" else "right", width=width)
        table.add_column("recipe", overflow="ellipsis", no_wrap=True, ratio=1)
        running = list(self._running.values())  # at once: trials begin and end while another thread draws
        for cells in [*map(self._cells, running), *self._ended][: self._num_rows]:
            table.add_row(*cells)
        return table

    def _cells(self, trial: TrialProgress) -> tuple[RenderableType, ...]:
        return (
            str(trial.number),
            Text(trial.state.value, style=STATE_STYLES[trial.state]),
            f"{trial.last_epoch}/{trial.config.epochs}",
            self._clock.value_of(trial),
            self._clock.best_of(trial),
            Text(trial.failure.reason if trial.failure else recipe(trial.searched)),  # as it is: no markup, no emoji
        )

    @property
    def _num_rows(self) -> int:
        """As many as fit the screen."""
        return max(3, self._console.height - LINES_AROUND_THE_TABLE)


def began_line(prepared: PreparedStudy, num_finished: int, num_concurrent: int) -> str:
    """What is about to run, in one line."""
    definition, data = prepared.definition, prepared.data
    left = f"{definition.num_trials - num_finished} of {definition.num_trials}" if num_finished else str(definition.num_trials)
    return (
        f"study {definition.name}: {left} trials, {num_concurrent} at once, up to {definition.trial.epochs} epochs · "
        f"{len(data.splits.train):,} training and {len(data.splits.val):,} validation photos, {data.num_classes} classes"
    )


def recipe(searched: Mapping[str, Any]) -> str:
    """The searched values on one line, numbers short: "resnet18 replace global depth 0.5 adam lr 0.00123"."""
    words = []
    for key, value in searched.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            words.append(str(value))
        else:
            words.append(f"{key.rpartition('.')[2]} {value:.3g}")
    return " · ".join(words)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: "0:01:23"."""
    minutes, whole_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole_seconds:02d}"
