"""Three stores, one truth: Optuna's trials, MLflow's runs and the study's folder are compared, and set right where they differ.

Optuna's storage is believed: the ledger writes it last, and what had not reached MLflow by then waits in the outbox.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.errors import DefinitionError
from study.search.advisor import Advisor, Standing
from study.tracking.records import STATUS, TrialRun
from study.tracking.tracker import Tracker
from study.trial import TrialState
from study.tuning.kept_weights import NO_ANSWER
from study.tuning.shared_files import NOT_SHARED, SharedFiles
from study.tuning.trial_files import state_file, weights_file


@dataclass(frozen=True)
class Finding:
    """One difference between the stores.

    Attributes:
        what: in words.
        trial: its number; None for what concerns the whole study.
        is_repaired: False for what only a person can mend.
        study: the name of the study that differs: the search, or its repetitions.
    """

    trial: int | None
    what: str
    is_repaired: bool
    study: str = ""


def reconcile(
    advisor: Advisor, tracker: Tracker, parent_run_id: str, output_folder: Path, shared: SharedFiles = NOT_SHARED
) -> list[Finding]:
    """Compares and repairs; the differences that there were, by trial. No driver may be running the study.

    Args:
        shared: where trials' files are, if not in the folder.
    Raises:
        TrackingError: if MLflow cannot be read or written.
    """
    runs = [run for run in tracker.trial_runs(parent_run_id) if run.duplicate_of is None]
    standings = {standing.number: standing for standing in advisor.standings()}
    findings = [finding for standing in standings.values() for finding in _of_trial(standing, runs, tracker)]
    findings += _strangers(runs, standings, tracker)
    findings += _leftovers(standings.values(), output_folder, shared)
    findings += _of_study(advisor, tracker, parent_run_id)
    return sorted(findings, key=lambda finding: (finding.trial is None, finding.trial or 0))


def _of_trial(standing: Standing, runs: Sequence[TrialRun], tracker: Tracker) -> list[Finding]:
    own = next((run for run in runs if run.run_id == standing.run_id), None)
    number = standing.number
    if own is None:
        if standing.run_id is None and standing.state is TrialState.INTERRUPTED:
            return []  # `study resume` makes its run, or finds the one that was made for it
        if standing.state is TrialState.INTERRUPTED:
            what = f"its run {standing.run_id} is not in MLflow: `study resume` goes on in a new one, or restore it first"
            return [Finding(number, what, False)]
        return [Finding(number, f"{standing.state} in Optuna, but its run {standing.run_id} is not in MLflow", False)]
    if own.state is standing.state and own.status == STATUS[standing.state]:
        return []
    tracker.end_trial(own.run_id, standing.state, [], {}, {})
    return [Finding(number, f"{own.state or own.status} in MLflow, {standing.state} in Optuna", True)]


def _strangers(runs: Sequence[TrialRun], standings: Mapping[int, Standing], tracker: Tracker) -> list[Finding]:
    """Runs below the study's that are no trial's, or a trial's second one."""
    known = {standing.run_id for standing in standings.values()}
    findings = []
    for run in runs:
        if run.run_id in known:
            continue
        standing = None if run.number is None else standings.get(run.number)
        if standing is None:
            findings.append(Finding(run.number, f"run {run.run_id} belongs to no trial in Optuna", False))
        elif standing.run_id is not None:
            tracker.mark_duplicate(run.run_id, standing.run_id)
            findings.append(Finding(run.number, f"run {run.run_id} was a second one: marked as a duplicate", True))
    return findings


def _of_study(advisor: Advisor, tracker: Tracker, parent_run_id: str) -> list[Finding]:
    """The parent run of a study whose driver is gone."""
    study = next((study for study in tracker.studies() if study.run_id == parent_run_id), None)
    if study is None:
        return [Finding(None, f"its run {parent_run_id} is not in MLflow: restore it, then `study resume` goes on", False)]
    if study.state is not TrialState.RUNNING:
        return []
    tracker.end_study(parent_run_id, TrialState.INTERRUPTED, {}, {})
    left = "trials are left" if not advisor.is_over else "all trials have ended, the winner is not registered"
    return [Finding(None, f"RUNNING in MLflow without a driver ({left}): INTERRUPTED; `study resume` goes on", True)]


def _leftovers(standings: Iterable[Standing], output_folder: Path, shared: SharedFiles) -> Iterator[Finding]:
    """What nobody wants any more: saved trainings of trials that have ended, weights of those that are no answer."""
    try:
        present = shared.names(state_file(output_folder, 0).parent)
    except DefinitionError as error:  # they cost room, and no result
        yield Finding(None, f"files that trials left behind could not be looked for: {error}", False)
        return
    for standing in standings:
        unwanted = [] if standing.state is TrialState.INTERRUPTED else [("saved training was", state_file)]
        unwanted += [("weights were", weights_file)] if standing.state in NO_ANSWER else []
        for words, file_of in unwanted:
            file = file_of(output_folder, standing.number)
            if file.name in present:
                yield _left(standing, words, file, shared)


def _left(standing: Standing, words: str, file: Path, shared: SharedFiles) -> Finding:
    is_gone = shared.forget(file)
    what = "deleted" if is_gone else f"{file.name} could not be deleted"
    return Finding(standing.number, f"its {words} left behind: {what}", is_gone)
