"""The command that says what studies found: compare."""

import click

from study.commands.on_cluster import ClusterCommand
from study.commands.shared import as_json, print_result


@click.command(cls=ClusterCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@as_json
def compare(names: tuple[str, ...], is_json: bool) -> None:
    """Tell which factor mattered, by how much, how sure; write the report.

    NAME: a study, or an MLflow experiment for all studies in it. The report is one HTML page, on the disk and on the studies'
    runs in MLflow.
    """
    from study.answering import answer
    from study.printing.comparison import comparison_of, print_comparison
    from study.settings import settings_from

    answered = answer(names, settings_from())
    print_result(comparison_of(answered.comparison, answered.report), print_comparison, is_json)
