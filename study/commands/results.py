"""Commands that show what studies found: list, show, ui."""

import click

from study.commands.shared import as_json, open_tracker, print_result


@click.command("list")
@as_json
def list_studies(is_json: bool) -> None:
    """List the studies in MLflow, newest first."""
    from study.printing.listing import print_studies, studies_of

    print_result(studies_of(open_tracker().studies()), print_studies, is_json)


@click.command()
@click.argument("name")
@as_json
def show(name: str, is_json: bool) -> None:
    """Show one study's trials, best first."""
    from study.printing.listing import print_trials, trials_of

    print_result(trials_of(name, open_tracker()), print_trials, is_json)


@click.command()
@click.argument("name", required=False)
@click.option("--port", default=5000, show_default=True, help="Port on this machine.")
def ui(name: str | None, port: int) -> None:
    """Open MLflow's pages on a study (default: the newest)."""
    from study.tracking.pages import serve_pages

    serve_pages(open_tracker(), name, port, announce=click.echo)
