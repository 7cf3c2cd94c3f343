"""The command line: each command parses, calls one function, prints.

Rooms are imported inside the commands: `study --help` must answer at once, and torch alone takes two seconds.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from study import __version__
from study.errors import StudyError

if TYPE_CHECKING:
    from study.tracking.mlflow_tracker import MlflowTracker
    from study.tuning.launch import StudyOutcome

FAILED = 1


class StudyCommands(click.Group):
    """Turns our errors into one line on stderr and their exit code."""

    def invoke(self, context: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(context)
        except StudyError as error:
            click.echo(f"Error: {error}", err=True)
            context.exit(error.exit_code)


as_json = click.option("--json", "is_json", is_flag=True, help="Print the result as JSON on standard output.")
verbose = click.option("--verbose", is_flag=True, help="Let Ray and the workers print what they have to say.")
in_process = click.option("--in-process", is_flag=True, help="Run the trials one by one in this process, without Ray.")
ray_address = click.option("--address", help="A running Ray cluster, HOST:PORT; else RAY_ADDRESS; else one on this machine.")
definition_file = click.argument("file", type=click.Path(path_type=Path))


@click.group(cls=StudyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="study")
def main() -> None:
    """Which transfer-learning recipe is best for your photos, and how sure are we?

    A study is a TOML file. Ray Tune places its trials, Optuna proposes and prunes them, MLflow records every one, and the best
    model comes out of the registry. Start with: study run search_spaces/quickstart.toml
    """


@main.command()
@definition_file
@as_json
def check(file: Path, is_json: bool) -> None:
    """Check a definition, its photos and weights; print the plan."""
    from study.definition import load_definition
    from study.printing.plan import plan_of, print_plan
    from study.settings import settings_from
    from study.tuning.runner import check_study

    with _listener(is_json) as listener:
        prepared = check_study(load_definition(file), settings_from(), listener)
    _print(plan_of(prepared), print_plan, is_json)


@main.command()
@definition_file
@click.option("--full-check", is_flag=True, help="Read every photo again, not only its size and times.")
@as_json
def data(file: Path, full_check: bool, is_json: bool) -> None:
    """Pack a definition's photos; say what was kept, left out and why; draw a contact sheet."""
    from study.definition import load_definition
    from study.printing.data import print_report, report_of
    from study.settings import settings_from
    from study.tuning.data_card import describe_data

    with _listener(is_json) as listener:
        card = describe_data(load_definition(file), settings_from(), listener.packing, full_check=full_check)
    _print(report_of(card), print_report, is_json)


@main.command()
@definition_file
@in_process
@ray_address
@verbose
@as_json
def run(file: Path, in_process: bool, address: str | None, verbose: bool, is_json: bool) -> None:
    """Run a study: live progress, then the leaderboard, MLflow's address and the registered model."""
    from study.definition import load_definition
    from study.settings import settings_from
    from study.tuning.runner import Options, run_study

    definition = load_definition(file)
    with _listener(is_json) as listener:
        outcome = run_study(definition, settings_from().on_cluster(address), listener, Options(in_process, verbose))
    _finish(outcome, is_json)


@main.command()
@click.argument("name")
@in_process
@ray_address
@verbose
@as_json
def resume(name: str, in_process: bool, address: str | None, verbose: bool, is_json: bool) -> None:
    """Go on with a study after a crash or Ctrl-C."""
    from study.settings import settings_from
    from study.tuning.runner import Options, resume_study

    with _listener(is_json) as listener:
        outcome = resume_study(name, settings_from().on_cluster(address), listener, Options(in_process, verbose))
    _finish(outcome, is_json)


@main.command()
@click.argument("name")
@as_json
def reconcile(name: str, is_json: bool) -> None:
    """Compare what Optuna, MLflow and the disk say of a study that nobody is running; repair what differs."""
    from dataclasses import asdict

    from study.settings import settings_from
    from study.tuning.runner import reconcile_study

    with _listener(is_json) as listener:
        findings = reconcile_study(name, settings_from(), listener)
    _print([asdict(finding) for finding in findings], _print_findings, is_json)
    if any(not finding.is_repaired for finding in findings):
        sys.exit(FAILED)


@main.command("list")
@as_json
def list_studies(is_json: bool) -> None:
    """List the studies in MLflow, newest first."""
    from study.printing.listing import print_studies, studies_of

    _print(studies_of(_tracker().studies()), print_studies, is_json)


@main.command()
@click.argument("name")
@as_json
def show(name: str, is_json: bool) -> None:
    """Show one study's trials, best first."""
    from study.printing.listing import print_trials, trials_of

    _print(trials_of(name, _tracker()), print_trials, is_json)


@main.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@as_json
def predict(model: str, images: tuple[Path, ...], is_json: bool) -> None:
    """Tell the class of photos. MODEL: models:/NAME@champion, or a folder from `study pull`."""
    from study.predict import Predictor
    from study.printing.listing import print_predictions
    from study.settings import settings_from

    predictor = Predictor.load(model, settings_from().tracking_uri)
    _print([prediction.as_dict() for prediction in predictor.predict(images)], print_predictions, is_json)


@main.command()
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path))
def pull(model: str, folder: Path) -> None:
    """Copy a registered model to FOLDER as plain files: weights.safetensors and contract.json."""
    from study.settings import settings_from
    from study.tracking.registry import download_model

    click.echo(download_model(settings_from().tracking_uri, model, folder))


@main.command()
@click.argument("texts", nargs=-1, required=True)
@click.option("--online", is_flag=True, help="Ask OpenStreetMap's Nominatim for what is left, one text a second.")
@as_json
def locate(texts: tuple[str, ...], online: bool, is_json: bool) -> None:
    """Tell the country in which places lie today. TEXT…: free texts, or - for a text a line from standard input."""
    from dataclasses import asdict

    from study.data.locations import locate as locate_places
    from study.settings import settings_from

    given = sys.stdin.read().splitlines() if texts == ("-",) else list(texts)
    locations = locate_places(given, "online" if online else "offline", settings_from().cache_folder)
    _print([asdict(location) for location in locations], _print_locations, is_json)


@main.command()
@click.argument("name", required=False)
@click.option("--port", default=5000, show_default=True, help="Port on this machine.")
def ui(name: str | None, port: int) -> None:
    """Open MLflow's pages on a study (default: the newest)."""
    from study.tracking.pages import serve_pages

    serve_pages(_tracker(), name, port, announce=click.echo)


def _print_findings(findings: list[dict[str, Any]]) -> None:
    for finding in findings:
        where = "study" if finding["trial"] is None else f"trial {finding['trial']}"
        click.echo(f"{where}: {finding['what']} ({'repaired' if finding['is_repaired'] else 'left to you'})")
    if not findings:
        click.echo("Optuna, MLflow and the study's folder agree.")


def _print_locations(locations: list[dict[str, Any]]) -> None:
    """A line a text: tabs between, for `cut` and spreadsheets."""
    for location in locations:
        found = f"{location['iso_code']}\t{location['country']}" if location["iso_code"] else "?\t"
        click.echo(f"{location['text']}\t{found}\t{location['method']} {location['confidence']:.2f}\t{location['rule']}")


def _tracker() -> "MlflowTracker":
    from study.settings import settings_from
    from study.tracking.mlflow_tracker import MlflowTracker

    tracker = MlflowTracker(settings_from().tracking_uri)
    tracker.check()
    return tracker


def _listener(is_json: bool) -> "Any":
    """A live table where a person looks, else plain lines; beside JSON, the lines go to stderr."""
    from rich.console import Console

    from study.progress import LiveTable, PlainLines

    console = Console(stderr=is_json)
    return LiveTable(console) if console.is_terminal else PlainLines(console)


def _print(result: Any, print_it: Callable[[Any], None], is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps(result, indent=2))
    else:
        print_it(result)


def _finish(outcome: "StudyOutcome", is_json: bool) -> None:
    from study.printing.outcome import outcome_of, print_outcome

    # Under `uv run` the command `study` is on nobody's path but uv's.
    _print(outcome_of(outcome, command="uv run study" if "UV" in os.environ else "study"), print_outcome, is_json)
    if outcome.winner is None:
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
