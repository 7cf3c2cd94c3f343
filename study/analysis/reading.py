"""Reads what a study left behind: its trials from Optuna's storage, their metrics from MLflow, and its repetitions."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.definition import StudyDefinition, parse_definition
from study.errors import DefinitionError, nearest
from study.search.advisor import derive_seed
from study.search.notes import is_begun, own_notes, search_notes
from study.search.storages import Storage, study_names
from study.search.stored_trials import StoredTrial, read_stored_study
from study.tracking.records import StudyRecord, TrialRecord
from study.tracking.tracker import Tracker
from study.trial import TrialState

CONFIRM_SUFFIX = ".confirm"  # as study/tuning/confirm.py names the study of the repetitions
REPEATS_TAG = "study.repeats_trial"  # as study/tuning/ledger.py marks a run that was told an earlier trial's result


def read_studies(names: Sequence[str], tracker: Tracker, storage: Storage) -> list[StudyEvidence]:
    """Every study that is named, once each; the name of an MLflow experiment stands for all studies in it.

    Raises:
        DefinitionError: for a name that is neither.
        StudyError: if a store cannot be read.
    """
    stored, records = study_names(storage), tracker.studies()
    expanded = dict.fromkeys(one for name in names for one in _studies_called(name, stored, records))
    return [_read(name, records, tracker, storage) for name in expanded]


def read_study(name: str, tracker: Tracker, storage: Storage) -> StudyEvidence:
    """One study with its repetitions.

    Raises:
        DefinitionError: if there is none of this name.
        StudyError: if a store cannot be read.
    """
    stored, records = study_names(storage), tracker.studies()
    if name not in stored:
        raise _unknown(name, stored, [])
    return _read(name, records, tracker, storage)


def _studies_called(name: str, stored: Sequence[str], records: Sequence[StudyRecord]) -> list[str]:
    """The study `name`, or the studies of the experiment `name`, the oldest first."""
    if name.endswith(CONFIRM_SUFFIX) and name.removesuffix(CONFIRM_SUFFIX) in stored:
        return [name.removesuffix(CONFIRM_SUFFIX)]
    if name in stored:
        return [name]
    searches = [record for record in reversed(records) if record.name in stored and not record.name.endswith(CONFIRM_SUFFIX)]
    found = [record.name for record in searches if record.experiment == name]
    if not found:
        raise _unknown(name, stored, [record.experiment for record in searches])
    return found


def _unknown(name: str, stored: Sequence[str], experiments: Sequence[str]) -> DefinitionError:
    known = {one for one in (*stored, *experiments) if not one.endswith(CONFIRM_SUFFIX)}
    hint = nearest(name, known) if known else "There is none yet: start one with `study run FILE`."
    return DefinitionError(
        f"a name must be a study in Optuna's storage or an MLflow experiment with such studies, but {name!r} is neither. {hint}"
    )


def _read(name: str, records: Sequence[StudyRecord], tracker: Tracker, storage: Storage) -> StudyEvidence:
    notes = search_notes(name, storage, "compare")
    stored = read_stored_study(name, storage)
    definition = parse_definition(notes["definition"], Path(notes["file"]))
    run_id = notes["run_id"]
    record = next((record for record in records if record.run_id == run_id), None)
    repetitions, is_confirming = _repetitions(name + CONFIRM_SUFFIX, definition, records, tracker, storage)
    return StudyEvidence(
        name=name,
        run_id=run_id,
        definition=definition,
        trials=tuple(_trials(name, definition, stored.trials, _records_of(run_id, record, tracker))),
        repetitions=repetitions,
        data_digest=notes.get("data_digest", ""),
        tags=dict(record.tags) if record is not None else {},
        is_confirming=is_confirming,
    )


def _repetitions(
    name: str, definition: StudyDefinition, records: Sequence[StudyRecord], tracker: Tracker, storage: Storage
) -> tuple[tuple[TrialEvidence, ...], bool]:
    """The repetitions, and whether more are to come."""
    if not is_begun(name, storage):
        return (), False
    stored = read_stored_study(name, storage)
    run_id = own_notes(name, storage)["run_id"]
    record = next((record for record in records if record.run_id == run_id), None)
    trials = tuple(_trials(name, definition, stored.trials, _records_of(run_id, record, tracker)))
    return trials, record is not None and record.state is not TrialState.COMPLETE


def _records_of(run_id: str, study: StudyRecord | None, tracker: Tracker) -> Mapping[str, TrialRecord]:
    """The trials' runs by their id; empty where the study's own run is not in MLflow any more."""
    return {} if study is None else {record.run_id: record for record in tracker.trials(run_id)}


def _trials(
    name: str, definition: StudyDefinition, trials: Sequence[StoredTrial], runs: Mapping[str, TrialRecord]
) -> Iterator[TrialEvidence]:
    first_with: dict[frozenset[tuple[str, Any]], int] = {}
    for trial in trials:
        run = runs.get(trial.run_id or "")
        seen = first_with.setdefault(frozenset(trial.searched.items()), trial.number)
        yield TrialEvidence(
            study=name,
            number=trial.number,
            state=trial.state,
            run_id=trial.run_id,
            recipe=_recipe(definition, trial),
            searched=dict(trial.searched),
            value=trial.value,
            curve=tuple(trial.curve),
            metrics=dict(run.metrics) if run is not None else {},
            costs=dict(trial.costs),
            seconds=trial.seconds,
            repeats=_repeated(trial, run, seen),
        )


def _recipe(definition: StudyDefinition, trial: StoredTrial) -> dict[str, Any]:
    """All values of the trial; its seed as the advisor derives it, where the definition leaves it open."""
    recipe = {**definition.fixed_values, **trial.searched}
    if recipe["seed"] is None:
        recipe["seed"] = derive_seed(definition.search.seed, trial.number)
    return recipe


def _repeated(trial: StoredTrial, run: TrialRecord | None, first: int) -> int | None:
    """The trial whose result was told again: as the run says; without one, a completed trial that measured nothing."""
    if run is not None and REPEATS_TAG in run.tags:
        return int(run.tags[REPEATS_TAG])
    is_untrained = trial.state is TrialState.COMPLETE and not trial.curve
    return first if is_untrained and first != trial.number else None
