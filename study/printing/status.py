"""What runs now: the result of `study status`."""

import time
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from study.printing.console import Result, make_console
from study.progress import duration
from study.tuning.status import StudyState, StudyStatus

STYLES = {
    StudyState.RUNNING: "cyan",
    StudyState.PREPARING: "cyan",
    StudyState.INTERRUPTED: "magenta",
    StudyState.COMPLETE: "green",
    StudyState.FAILED: "bold red",
    StudyState.UNKNOWN: "dim",
}


def statuses_of(found: Sequence[StudyStatus]) -> list[Result]:
    """Each study's status as plain data; times in seconds since 1970."""
    return [_status_of(one) for one in found]


def print_statuses(result: Sequence[Result]) -> None:
    """A row a study, then what to do about those that wait."""
    console = make_console()
    if not result:
        console.print("Nothing runs, and nothing was interrupted. What there is: study list")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("study", "state", "trials", "best", "latest news", "driver"):
        table.add_column(name, justify="right" if name == "latest news" else "left", no_wrap=name in ("study", "state"))
    for row in result:
        state = Text(row["state"], style=STYLES[StudyState(row["state"])])
        table.add_row(Text(row["study"]), state, Text(_trials(row)), Text(_best(row)), _ago(row["news_s"]), Text(_driver(row)))
    console.print(table)
    for row in result:
        if row["reason"] is not None:
            console.print(f"{row['study']} cannot be read: {row['reason']}", markup=False)
        if row["next"] is not None:
            console.print(f"{row['study']} waits for: {row['next']}", markup=False)


def _status_of(one: StudyStatus) -> Result:
    return {
        "study": one.name,
        "state": one.state.value,
        "trials": {state.value: count for state, count in one.counts.items()},
        "repetitions": {state.value: count for state, count in one.repetitions.items()},
        "num_trials": one.num_trials,
        "objective": one.objective,
        "best": None if one.best is None else {"trial": one.best[0], "value": one.best[1]},
        "driver": None
        if one.driver is None
        else one.driver.model_dump(mode="json", include={"host", "pid", "began_s", "doing"}),
        "news_s": one.news_s,
        "reason": one.reason,
        "next": one.next_command,
    }


def _trials(row: Result) -> str:
    """ "4 of 6: 2 COMPLETE, 1 PRUNED, 1 RUNNING; repetitions: 3 COMPLETE"."""
    if row["num_trials"] is None and not row["trials"]:
        return "-"
    planned = "" if row["num_trials"] is None else f" of {row['num_trials']}"
    words = f"{sum(row['trials'].values())}{planned}: {_counted(row['trials'])}"
    return f"{words}; repetitions: {_counted(row['repetitions'])}" if row["repetitions"] else words


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "none yet"


def _best(row: Result) -> str:
    if row["best"] is None:
        return "-"
    best = f"{row['best']['value']:.3f} (trial {row['best']['trial']})"
    return best if row["objective"] is None else f"{row['objective']} {best}"


def _ago(news_s: float | None) -> str:
    return "-" if news_s is None else f"{duration(max(0.0, time.time() - news_s))} ago"


def _driver(row: Result) -> str:
    driver = row["driver"]
    if driver is None or row["state"] not in (StudyState.RUNNING, StudyState.PREPARING):
        return "-"
    doing = "" if driver["doing"] in (None, row["state"]) else f": {driver['doing']}"
    return f"pid {driver['pid']} on {driver['host']}, for {duration(max(0.0, time.time() - driver['began_s']))}{doing}"
