"""Commands that look at running studies and end them: status, logs, stop; and how a cluster takes a line that was sent."""

import os
from collections.abc import Sequence
from typing import Any

import click

from study.commands.on_cluster import RECEIVE, ClusterCommand
from study.commands.results import known_names
from study.commands.shared import as_json, print_result


@click.command(cls=ClusterCommand, checks_version=False)
@click.argument("name", required=False, shell_complete=known_names)
@click.option("--all", "with_ended", is_flag=True, help="Also those that came to their end.")
@as_json
def status(name: str | None, with_ended: bool, is_json: bool) -> None:
    """Say what runs now: states, trials, drivers, best values."""
    from study.printing.status import print_statuses, statuses_of
    from study.settings import settings_from
    from study.tuning.status import status_of, statuses

    settings = settings_from()
    found = [status_of(name, settings)] if name else statuses(settings, with_ended=with_ended)
    print_result(statuses_of(found), print_statuses, is_json)


@click.command(cls=ClusterCommand, checks_version=False)
@click.argument("name", shell_complete=known_names)
@click.argument("trial", type=click.IntRange(min=0), required=False)
@click.option("--follow", "is_followed", is_flag=True, help="Go on until the trial, or the driver, ends.")
def logs(name: str, trial: int | None, is_followed: bool) -> None:
    """Print what a trial said, or a study's driver.

    NAME: a study. TRIAL: the number of one of its trials; without, the driver's log.
    """
    from study.settings import settings_from
    from study.tuning.logs import end_of, find_log, follow_lines, read_lines

    settings = settings_from()
    file = find_log(name, trial, settings)
    lines = follow_lines(file, end_of(name, trial, settings)) if is_followed else read_lines(file)
    for line in lines:
        click.echo(line)


@click.command(cls=ClusterCommand, checks_version=False)
@click.argument("name", shell_complete=known_names)
def stop(name: str) -> None:
    """End a running study in good order, as Ctrl-C does.

    Its trials are marked as interrupted; `study resume` goes on with them.
    """
    from study.settings import settings_from
    from study.tuning.driver import End
    from study.tuning.stopping import ask_to_stop, wait_until_stopped

    settings = settings_from()
    driver = ask_to_stop(name, settings)
    click.echo(f"asked {driver} to end {name}", err=True)
    end = wait_until_stopped(name, driver, settings)
    if end is None:
        click.echo(f"{name} has ended before anything was recorded; photos that are packed stay packed.")
        return
    click.echo(f"{name} has ended: {end}." + (f" Go on with: study resume {name}" if end is End.INTERRUPTED else ""))


@click.command(RECEIVE, hidden=True, context_settings={"ignore_unknown_options": True})
@click.option("--version", help="Of `study` where the line was given.")
@click.option("--study", "name", help="Whose files came along.")
@click.option("--files", "digest", help="Digest of those files.")
@click.argument("line", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def receive(context: click.Context, version: str | None, name: str | None, digest: str | None, line: Sequence[str]) -> Any:
    """Run a line of `study` that came to the cluster as a Ray job."""
    from study.settings import settings_from
    from study.tuning.job_lines import ACCEPTED, BEGIN, announced, mark_output, say_mark
    from study.tuning.received import keep_files, leave_job_environment, require_own_places, require_version

    say_mark(announced())
    say_mark(BEGIN)
    if version is not None:
        require_version(version)
    require_own_places()
    if name is not None and digest is not None:
        os.chdir(keep_files(name, digest, settings_from()))
    leave_job_environment()
    say_mark(ACCEPTED)
    mark_output()
    return context.find_root().command.main(list(line), prog_name="study")
