"""What commands share: options, how a result is printed, how a study's end is told."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from study.errors import StudyError, in_one_line

if TYPE_CHECKING:
    from study.answering import Answer
    from study.settings import Settings
    from study.tracking.mlflow_tracker import MlflowTracker
    from study.tuning.launch import StudyOutcome

FAILED = 1  # exit code

ADDRESS_HELP = (
    "A cluster: http://HEAD:8265 from anywhere, or HOST:PORT on its nodes; else RAY_ADDRESS; else one on this machine."
)

as_json = click.option("--json", "is_json", is_flag=True, help="Print the result as JSON on standard output.")
verbose = click.option("--verbose", is_flag=True, help="Let Ray and the workers print what they have to say.")
in_process = click.option("--in-process", is_flag=True, help="Run the trials one by one in this process, without Ray.")
ray_address = click.option("--address", help=ADDRESS_HELP)
definition_file = click.argument("file", type=click.Path(path_type=Path))


def open_tracker() -> "MlflowTracker":
    """MLflow's store as the environment names it; it must answer."""
    from study.settings import settings_from
    from study.tracking.mlflow_tracker import MlflowTracker

    tracker = MlflowTracker(settings_from().tracking_uri)
    tracker.check()
    return tracker


def make_listener(is_json: bool) -> "Any":
    """A live table where a person looks, else plain lines; beside JSON, the lines go to stderr."""
    from rich.console import Console

    from study.progress import LiveTable, PlainLines

    console = Console(stderr=is_json)
    return LiveTable(console) if console.is_terminal else PlainLines(console)


def print_result(result: Any, print_it: Callable[[Any], None], is_json: bool) -> None:
    """A result as a table or text for people, or as JSON."""
    if is_json:
        click.echo(json.dumps(result, indent=2))
    else:
        print_it(result)


def finish(outcome: "StudyOutcome", settings: "Settings", is_json: bool) -> None:
    """Answers the study, prints how it ended and what it showed, and exits accordingly."""
    from study.printing.outcome import outcome_of, print_outcome

    # Under `uv run` the command `study` is on nobody's path but uv's.
    command = "uv run study" if "UV" in os.environ else "study"
    answered = None if outcome.is_interrupted or not outcome.outcomes else _answer(outcome, settings)
    print_result(outcome_of(outcome, command, answered), print_outcome, is_json)
    if outcome.is_interrupted or outcome.winner is None:  # both, where the winner was not confirmed to the end
        sys.exit(FAILED)


def _answer(outcome: "StudyOutcome", settings: "Settings") -> "Answer | None":
    """What the study showed; None, and a line on stderr, where that cannot be told or written now: its trials are safe."""
    from study.answering import answer

    name = outcome.prepared.definition.name
    try:
        return answer([name], settings)
    except (StudyError, OSError) as error:
        click.echo(f"The report was not written: {in_one_line(error)} Then: study compare {name}", err=True)
        return None
