"""A run's vocabulary: the names of its tags, what its params and metrics are called, and what is read back of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.errors import TrackingError, nearest
from study.trial import TrialConfig, TrialState, flatten

STATE_TAG = "study.trial_state"
NUMBER_TAG = "study.trial_number"
KIND_TAG = "study.kind"  # "study" | "trial"
OBJECTIVE_TAG = "study.objective"  # a metric of each epoch: val_balanced_accuracy …
DEFAULT_OBJECTIVE = "val_balanced_accuracy"
SEARCHED_TAG = "study.searched"  # of a parent run: the searched keys, by commas
KEY_TAG = "study.run_key"  # made by who asks for the run: by it a run is found whose creation was never answered
DUPLICATE_TAG = "study.duplicate_of"  # run id of the one that counts
NAME_TAG = "study.name"  # the run's own name may be changed in MLflow's pages; this stays
ERROR_TAG = "study.error"
TRACEBACK_TAG = "study.traceback"
STOP_TAG = "study.stop_reason"  # of a parent run: why its search ended before all its trials
DEFINITION_FILE = "definition.toml"

STATUS = {  # what MLflow's pages show; its vocabulary has no word for "pruned", which is why there is a tag
    TrialState.RUNNING: "RUNNING",
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.FAIL: "FAILED",
    TrialState.INTERRUPTED: "KILLED",
}

MAX_TAG = 8000  # characters; MLflow's limit (mlflow.utils.validation.MAX_TAG_VAL_LENGTH)
MAX_ERROR = 5000  # characters: the first line of an error, short enough to be shown in a column
MAX_NAME = 250  # characters; MLflow's limit of a metric's name


@dataclass(frozen=True)
class TrialRecord:
    """One trial as it stands recorded; `metrics` are the last values and, once ended, the summary."""

    number: int
    run_id: str
    state: TrialState
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class TrialRun:
    """A run below a study's as MLflow shows it, right or wrong: what `study reconcile` compares.

    Attributes:
        number: of its trial; None where the tag is missing or no number.
        state: as its tag says; None where the tag is missing or no state.
        status: MLflow's own: RUNNING, FINISHED, FAILED, KILLED, SCHEDULED.
        last_epoch: the last one recorded; 0 before the first.
        key: what it was asked for with (`trial_key`); None for a run of somebody else's.
        duplicate_of: run id of the one that counts, where this one was marked.
    """

    run_id: str
    number: int | None
    state: TrialState | None
    status: str
    last_epoch: int
    key: str | None
    duplicate_of: str | None
    started_ms: int


@dataclass(frozen=True)
class StudyRecord:
    """One launch of a study as it stands recorded."""

    name: str
    run_id: str
    state: TrialState
    started_ms: int
    experiment: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def trial_key(parent_run_id: str, number: int) -> str:
    """The key that a trial's run is asked for with: the same for every driver that asks, so one trial is one run."""
    return f"{parent_run_id}/{number}"


def trial_run(run_id: str, status: str, last_epoch: int, tags: Mapping[str, str], started_ms: int) -> TrialRun:
    """A run by what its tags say."""
    number, state = tags.get(NUMBER_TAG, ""), tags.get(STATE_TAG, "")
    return TrialRun(
        run_id=run_id,
        number=int(number) if number.isdecimal() else None,
        state=TrialState(state) if state in TrialState.__members__ else None,
        status=status,
        last_epoch=last_epoch,
        key=tags.get(KEY_TAG),
        duplicate_of=tags.get(DUPLICATE_TAG),
        started_ms=started_ms,
    )


def trial_name(number: int, config: TrialConfig) -> str:
    """How a trial's run is called: "trial 007 resnet18"."""
    return f"trial {number:03d} {config.backbone}"


def params_of(config: TrialConfig) -> dict[str, str]:
    """A recipe as params: dotted names, values as text; what is unset is left out."""
    return {key: str(value) for key, value in flatten(config.model_dump()).items() if value is not None}


def recorded_name(name: str) -> str:
    """A metric's name as MLflow accepts it: `val_recall.salt & pepper` becomes `val_recall.salt _ pepper`."""
    return re.sub(r"[^\w.\- :]", "_", name)[:MAX_NAME]


def recorded(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics by the names that MLflow accepts.

    Raises:
        TrackingError: if two names become one, which would mix two curves.
    """
    names: dict[str, str] = {}
    for name in metrics:
        accepted = recorded_name(name)
        if accepted in names:
            raise TrackingError(
                f"metric names must differ in letters, digits and `_.-: ` within {MAX_NAME} characters, "
                f"but {names[accepted]!r} and {name!r} do not. Rename one of the classes."
            )
        names[accepted] = name
    return {accepted: metrics[name] for accepted, name in names.items()}


def shortened(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags within MLflow's limits: of an error its first line, of a traceback its end, of anything else its beginning."""
    short = {key: value[:MAX_TAG] for key, value in tags.items()}
    if ERROR_TAG in tags:
        short[ERROR_TAG] = tags[ERROR_TAG].strip().partition("\n")[0][:MAX_ERROR]
    if TRACEBACK_TAG in tags:
        short[TRACEBACK_TAG] = tags[TRACEBACK_TAG][-MAX_TAG:]
    return short


def newest(name: str, studies: Sequence[StudyRecord]) -> str | None:
    """Run id of the first of `studies` (newest first) called `name`."""
    return next((study.run_id for study in studies if study.name == name), None)


def require_study(name: str | None, studies: Sequence[StudyRecord]) -> StudyRecord:
    """The newest launch of the study `name`; of any study for None.

    Raises:
        TrackingError: if there is none.
    """
    found = next((study for study in studies if name in (None, study.name)), None)
    if found is not None:
        return found
    hint = (
        nearest(name or "", {study.name for study in studies}) if studies else "None is there yet: start one, study run FILE."
    )
    raise TrackingError(f"a study must exist to be shown, but there is {f'no {name!r}' if name else 'none'} in MLflow. {hint}")
