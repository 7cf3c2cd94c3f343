"""Commands that show what studies found: list, show, ui."""

import sys

import click

from study.commands.shared import as_json, open_tracker, print_result

# As study.trial.TrialState has them; that module would load pydantic for `study --help`.
STATES = ("RUNNING", "COMPLETE", "PRUNED", "FAIL", "INTERRUPTED")
MOST_ON_A_SCREEN = 40  # trials
in_state = click.option("--state", "states", multiple=True, type=click.Choice(STATES, case_sensitive=False), help="Only these.")


def known_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """What the shell may complete: studies that left a folder here, known without asking a server."""
    from study.settings import settings_from

    folder = settings_from().output_folder
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [name for name in names if name.startswith(incomplete)]


@click.command("list")
@in_state
@click.option("--experiment", help="Only studies of this MLflow experiment.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, the newest.")
@as_json
def list_studies(states: tuple[str, ...], experiment: str | None, limit: int | None, is_json: bool) -> None:
    """List the studies in MLflow, newest first."""
    from study.printing.filters import StudyFilter
    from study.printing.listing import print_studies, studies_of

    shown = StudyFilter(states, experiment, limit).apply(open_tracker().studies())
    print_result(studies_of(shown), print_studies, is_json)


@click.command()
@click.argument("name", shell_complete=known_names)
@in_state
@click.option("--where", "params", multiple=True, metavar="KEY=VALUE", help="Only trials with this param; may be repeated.")
@click.option("--limit", type=click.IntRange(min=1), help=f"At most so many, the best (on a screen: {MOST_ON_A_SCREEN}).")
@as_json
def show(name: str, states: tuple[str, ...], params: tuple[str, ...], limit: int | None, is_json: bool) -> None:
    """Show one study's trials, best first."""
    from study.printing.filters import TrialFilter
    from study.printing.listing import print_trials, trials_of

    # On a screen, a thousand lines would leave the worst trials to be seen.
    most = None if is_json or not sys.stdout.isatty() else MOST_ON_A_SCREEN
    print_result(trials_of(name, open_tracker(), TrialFilter(states, params, limit or most)), print_trials, is_json)


@click.command()
@click.argument("name", required=False)
@click.option("--port", default=5000, show_default=True, help="Port on this machine.")
def ui(name: str | None, port: int) -> None:
    """Open MLflow's pages on a study (default: the newest)."""
    from study.tracking.pages import serve_pages

    serve_pages(open_tracker(), name, port, announce=click.echo)
