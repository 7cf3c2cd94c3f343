"""Commands that run a study: check, data, run, resume, reconcile."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from study.commands.on_cluster import ClusterCommand
from study.commands.shared import (
    FAILED,
    as_json,
    definition_file,
    finish,
    in_process,
    make_listener,
    print_result,
    ray_address,
    verbose,
)

if TYPE_CHECKING:
    from study.settings import Settings
    from study.tuning.runner import Options


@click.command()
@definition_file
@as_json
def check(file: Path, is_json: bool) -> None:
    """Check a definition, its photos and weights; print the plan."""
    from study.definition import load_definition
    from study.printing.plan import plan_of, print_plan
    from study.settings import settings_from
    from study.tuning.runner import check_study

    with make_listener(is_json) as listener:
        prepared = check_study(load_definition(file), settings_from(), listener)
    print_result(plan_of(prepared), print_plan, is_json)


@click.command()
@definition_file
@click.option("--full-check", is_flag=True, help="Read every photo again, not only its size and times.")
@as_json
def data(file: Path, full_check: bool, is_json: bool) -> None:
    """Pack a definition's photos; say what was kept, left out and why; draw a contact sheet."""
    from study.definition import load_definition
    from study.printing.data import print_report, report_of
    from study.settings import settings_from
    from study.tuning.data_card import describe_data

    with make_listener(is_json) as listener:
        card = describe_data(load_definition(file), settings_from(), listener.packing, full_check=full_check)
    print_result(report_of(card), print_report, is_json)


@click.command(cls=ClusterCommand, can_detach=True)
@definition_file
@click.option("--subfolders", is_flag=True, help="Of a folder: the definitions in folders below it as well.")
@in_process
@ray_address
@verbose
@as_json
def run(file: Path, subfolders: bool, in_process: bool, address: str | None, verbose: bool, is_json: bool) -> None:
    """Run a study: live progress, then the leaderboard, MLflow's address and the registered model.

    FILE: a definition, or a folder of them, which are run one after the other, with one report over all; those that are
    complete are taken as they are, interrupted ones gone on with.
    """
    from study.definition import load_definition
    from study.settings import settings_from
    from study.tuning.runner import Options, run_study

    settings = settings_from().on_cluster(address)
    options = Options(in_process, verbose)
    if file.is_dir():
        _run_folder(file, settings, options, subfolders=subfolders, is_json=is_json)
        return
    if subfolders:
        raise click.UsageError(f"--subfolders is for a folder, but {file} is none. Remove it, or name the folder.")
    definition = load_definition(file)
    with make_listener(is_json) as listener:
        outcome = run_study(definition, settings, listener, options)
    finish(outcome, settings, is_json)


def _run_folder(folder: Path, settings: "Settings", options: "Options", *, subfolders: bool, is_json: bool) -> None:
    """Runs a folder of definitions; fails where one of them did."""
    from study.printing.suite import print_suite, suite_of
    from study.suites import run_suite

    finished = run_suite(folder, settings, lambda: make_listener(is_json), options, with_subfolders=subfolders)
    print_result(suite_of(finished.suite, finished.report), print_suite, is_json)
    if not finished.suite.is_complete:
        sys.exit(FAILED)


@click.command(cls=ClusterCommand, can_detach=True)
@click.argument("name")
@in_process
@ray_address
@verbose
@as_json
def resume(name: str, in_process: bool, address: str | None, verbose: bool, is_json: bool) -> None:
    """Go on with a study after a crash or Ctrl-C."""
    from study.settings import settings_from
    from study.tuning.runner import Options, resume_study

    settings = settings_from().on_cluster(address)
    with make_listener(is_json) as listener:
        outcome = resume_study(name, settings, listener, Options(in_process, verbose))
    finish(outcome, settings, is_json)


@click.command(cls=ClusterCommand)
@click.argument("name")
@as_json
def reconcile(name: str, is_json: bool) -> None:
    """Compare what Optuna, MLflow and the disk say of a study that nobody is running; repair what differs."""
    from dataclasses import asdict

    from study.settings import settings_from
    from study.tuning.runner import reconcile_study

    with make_listener(is_json) as listener:
        findings = reconcile_study(name, settings_from(), listener)
    print_result([asdict(finding) for finding in findings], _print_findings, is_json)
    if any(not finding.is_repaired for finding in findings):
        sys.exit(FAILED)


def _print_findings(findings: list[dict[str, Any]]) -> None:
    for finding in findings:
        where = "study" if finding["trial"] is None else f"trial {finding['trial']}"
        click.echo(
            f"{finding['study']}, {where}: {finding['what']} ({'repaired' if finding['is_repaired'] else 'left to you'})"
        )
    if not findings:
        click.echo("Optuna, MLflow and the study's folder agree.")
