"""The command that moves the champion: promote."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from study.commands.on_cluster import ClusterCommand
from study.commands.shared import FAILED, as_json, print_result
from study.errors import DefinitionError

if TYPE_CHECKING:
    from study.analysis.evidence import StudyEvidence
    from study.analysis.promotion import Decision
    from study.analysis.standings import Standing
    from study.search.storages import Storage
    from study.settings import Settings
    from study.tracking.registry import ModelVersion, Registry
    from study.tracking.tracker import Tracker

MLFLOW_PATIENCE_S = 600.0  # as long as a study waits for it


@click.command(cls=ClusterCommand)
@click.argument("name")
@click.option("--model", help="The registered model whose champion is challenged; default: the study's own.")
@click.option("--force", is_flag=True, help="Move the champion though the evidence does not say so; needs --reason.")
@click.option("--reason", help="Why; kept with the version.")
@click.option("--rollback", is_flag=True, help="Put the champion before the present one back.")
@as_json
def promote(name: str, model: str | None, force: bool, reason: str | None, rollback: bool, is_json: bool) -> None:
    """Make a study's confirmed winner the champion, if the evidence says so.

    It must have repetitions on the test split ([confirm]), on the same test photos as the champion, and be better beyond the
    95 % interval, or equal and cheaper. The champion before it becomes `previous`; who is refused becomes `challenger`.
    """
    if force and not (reason or "").strip():
        raise DefinitionError("a forced promotion needs its reason, but --reason is missing. Add --reason 'why'.")
    if force and rollback:
        raise DefinitionError("a rollback asks for no evidence, but --force is given too. Leave one out.")
    registry, settings = _open()
    result = (
        _rolled_back(registry, model or name, reason) if rollback else _promoted(registry, settings, name, model, reason, force)
    )
    print_result(result, _print_result, is_json)
    if not result["is_promoted"]:
        sys.exit(FAILED)


def _open() -> "tuple[Registry, Settings]":
    """The registry, which must answer now, and is waited for once it has."""
    from study.settings import settings_from
    from study.tracking.patience import Patience
    from study.tracking.registry import Registry

    settings = settings_from()
    registry = Registry(settings.tracking_uri, Patience(MLFLOW_PATIENCE_S, _announce))
    registry.connection.check()
    return registry, settings


def _promoted(
    registry: "Registry", settings: "Settings", name: str, model: str | None, reason: str | None, is_forced: bool
) -> dict[str, Any]:
    from study.analysis.comparison import compare
    from study.analysis.promotion import Rule, decide, forced
    from study.analysis.reading import read_study
    from study.analysis.standings import confirmation_tags
    from study.search.storages import open_storage
    from study.tracking.champions import challenge, champion_of, crown
    from study.tracking.mlflow_tracker import MlflowTracker
    from study.tracking.registration import copy_version
    from study.tracking.smoke_prediction import smoke_predict
    from study.tuning.candidates import version_of_trial

    tracker, storage = MlflowTracker(settings.tracking_uri), open_storage(settings.storage)
    evidence = read_study(name, tracker, storage)
    comparison = compare([evidence])
    trial = comparison.recommended if comparison.recommended is not None else _best_trial(registry, name)
    candidate = version_of_trial(name, trial, settings, registry, _announce)
    if model not in (None, name):
        candidate = registry.version_at(f"models:/{model}/{copy_version(registry, candidate, str(model))}")
    champion = champion_of(registry, candidate.name)

    rivals = [version for version in (candidate, champion) if version is not None]
    standings = {version.version: _standing(version, _study_of(version, evidence, tracker, storage)) for version in rivals}
    decision = decide(
        standings[candidate.version], standings[champion.version] if champion is not None else None, comparison.pairs
    )
    if is_forced and not decision.is_granted:
        decision = forced(decision, str(reason).strip())
    for version in rivals:
        registry.annotate(version, confirmation_tags(standings[version.version]))
    if decision.is_granted:
        if champion is None or champion.version != candidate.version:
            smoke_predict(registry, candidate)
        _record(registry, candidate, decision, reason if decision.rule is Rule.FORCED else None)
        crown(registry, candidate)
    else:
        _record(registry, candidate, decision, None)
        challenge(registry, candidate)
    return _result(candidate, decision, champion)


def _study_of(version: "ModelVersion", own: "StudyEvidence", tracker: "Tracker", storage: "Storage") -> "StudyEvidence | None":
    """The study that trained a version, where Optuna's storage has that very one; else its tags say what is known."""
    from study.analysis.reading import read_study
    from study.analysis.standings import has_trained
    from study.search.storages import study_names

    name = version.tags.get("study.name", version.name)
    if name != own.name and name not in study_names(storage):
        return None
    study = own if name == own.name else read_study(name, tracker, storage)
    return study if has_trained(study, version.run_id) else None


def _standing(version: "ModelVersion", study: "StudyEvidence | None") -> "Standing":
    """What is known of a version: by its tags, and newer, by the repetitions of its recipe."""
    from study.analysis.standings import standing_of

    name, number = version.tags.get("study.name", version.name), int(version.tags.get("study.trial_number", -1))
    return standing_of(f"version {version.version} (trial {number} of {name})", {"study.name": name, **version.tags}, study)


def _best_trial(registry: "Registry", name: str) -> int:
    """Without repetitions: the trial whose model was registered last."""
    own = [version for version in registry.versions(name) if version.tags.get("study.name", name) == name]
    return int(own[0].tags.get("study.trial_number", -1)) if own else -1


def _record(registry: "Registry", version: "ModelVersion", decision: "Decision", forced_reason: str | None) -> None:
    """What was decided, and on which figures: tags and the card of the version."""
    from study.tracking.model_card import promoted_card

    tags = {"study.promotion": " ".join(decision.sentences)}
    if forced_reason is not None:
        tags["study.forced_reason"] = forced_reason
    registry.annotate(version, tags, promoted_card(version.description, decision.sentences))


def _rolled_back(registry: "Registry", name: str, reason: str | None) -> dict[str, Any]:
    from study.tracking.champions import rivals_of, roll_back
    from study.tracking.smoke_prediction import smoke_predict

    _, previous = rivals_of(registry, name)
    smoke_predict(registry, previous)
    restored, deposed = roll_back(registry, name, {"study.rollback_reason": reason} if reason else {})
    return {
        "model": name,
        "version": restored.version,
        "is_promoted": True,
        "rule": "rollback",
        "sentences": [f"Version {restored.version} is champion again; version {deposed.version} is now challenger."],
        "difference": None,
        "champion": restored.version,
        "previous": None,
    }


def _result(candidate: "ModelVersion", decision: "Decision", champion: "ModelVersion | None") -> dict[str, Any]:
    before = champion.version if champion is not None else None
    is_moved = decision.is_granted and before != candidate.version
    return {
        "model": candidate.name,
        "version": candidate.version,
        "is_promoted": decision.is_granted,
        "rule": decision.rule.value,
        "sentences": list(decision.sentences),
        "difference": asdict(decision.difference) if decision.difference is not None else None,
        "champion": candidate.version if decision.is_granted else before,
        "previous": before if is_moved else None,
    }


def _print_result(result: dict[str, Any]) -> None:
    for sentence in result["sentences"]:
        click.echo(sentence)
    if result["is_promoted"]:
        before = f"; version {result['previous']} is `previous`" if result["previous"] else ""
        click.echo(f"champion of {result['model']}: version {result['champion']}{before}")
        return
    click.echo(f"not promoted: a champion {result['rule']}. Version {result['version']} of {result['model']} is `challenger`.")
    click.echo("--force --reason TEXT overrules this, and keeps the reason with the version.")


def _announce(message: str) -> None:
    click.echo(message, err=True)
