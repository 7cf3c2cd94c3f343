"""Commands that run a study: check, data, run, resume, reconcile."""

import sys
from pathlib import Path
from typing import Any

import click

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


@click.command()
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
    with make_listener(is_json) as listener:
        outcome = run_study(definition, settings_from().on_cluster(address), listener, Options(in_process, verbose))
    finish(outcome, is_json)


@click.command()
@click.argument("name")
@in_process
@ray_address
@verbose
@as_json
def resume(name: str, in_process: bool, address: str | None, verbose: bool, is_json: bool) -> None:
    """Go on with a study after a crash or Ctrl-C."""
    from study.settings import settings_from
    from study.tuning.runner import Options, resume_study

    with make_listener(is_json) as listener:
        outcome = resume_study(name, settings_from().on_cluster(address), listener, Options(in_process, verbose))
    finish(outcome, is_json)


@click.command()
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
        click.echo(f"{where}: {finding['what']} ({'repaired' if finding['is_repaired'] else 'left to you'})")
    if not findings:
        click.echo("Optuna, MLflow and the study's folder agree.")
