"""What runs now: each study's state, by its lock, its driver's word, and its trials in Optuna's storage."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from study.definition import StudyDefinition, parse_definition
from study.errors import DefinitionError, SearchError
from study.search.overview import Overview, overview_of
from study.search.storages import Storage, is_fresh, open_storage, study_names
from study.search.study_note import StudyNote
from study.settings import Settings
from study.trial import TrialState
from study.tuning.claim import CLAIM_NOTE, claim_elsewhere
from study.tuning.driver import DRIVER_FILE, DriverRecord, End, is_driven, read_driver
from study.tuning.log_file import LOG_FOLDER, REPETITIONS_SUFFIX

OPEN = (TrialState.RUNNING, TrialState.INTERRUPTED)


class StudyState(StrEnum):
    """How a study stands."""

    RUNNING = "running"
    PREPARING = "preparing"  # its driver packs photos, and no trial runs yet; a new one is in no store
    INTERRUPTED = "interrupted"
    COMPLETE = "complete"
    FAILED = "failed"
    UNKNOWN = "unknown"  # its folder, with the lock, is not here or may not be read, or its definition cannot be read


@dataclass(frozen=True)
class StudyStatus:
    """How a study stands, and who drives it.

    Attributes:
        counts: trials by state.
        repetitions: of `[confirm]`, by state; empty before they begin.
        num_trials: that the search will have at most; None where its definition cannot be read.
        objective: the metric's key; None as above.
        best: number and value of the best trial.
        driver: who drives it, or did last; None where nobody left word.
        news_s: when something was last heard of it, seconds since 1970.
        reason: why it cannot be read.
    """

    name: str
    state: StudyState
    counts: Mapping[TrialState, int]
    repetitions: Mapping[TrialState, int]
    num_trials: int | None
    objective: str | None
    best: tuple[int, float] | None
    driver: DriverRecord | None
    news_s: float | None
    reason: str | None = None

    @property
    def next_command(self) -> str | None:
        """What goes on with it."""
        return f"study resume {self.name}" if self.state is StudyState.INTERRUPTED and self.reason is None else None


def status_of(name: str, settings: Settings) -> StudyStatus:
    """One study's.

    Raises:
        SearchError: if there is no such study, or it is another program's.
    """
    known = () if is_fresh(settings.storage) else study_names(open_storage(settings.storage))
    if name not in known and (unrecorded := _unrecorded(name, settings)):
        return unrecorded
    storage = open_storage(settings.storage)
    overview = overview_of(name, storage)
    if not overview.is_ours:
        raise SearchError(
            f"`study status` knows what `study` began, but {name!r} in STUDY_STORAGE is another program's. "
            f"Look at it with that program, or see all of ours: study status --all"
        )
    return _status(name, overview, settings, storage, study_names(storage))


def statuses(settings: Settings, *, with_ended: bool) -> list[StudyStatus]:
    """Those of the studies that run, were interrupted or left no word; of all others too if asked for."""
    if is_fresh(settings.storage):
        return _all_unrecorded((), settings)
    storage = open_storage(settings.storage)
    names = study_names(storage)
    # A study of repetitions stands with the one that it repeats.
    asked = [
        name for name in names if not (name.endswith(REPETITIONS_SUFFIX) and name.removesuffix(REPETITIONS_SUFFIX) in names)
    ]
    if not with_ended:
        asked = [name for name in asked if not _has_ended(settings.study_folder(name))]
    overviews = {name: overview_of(name, storage) for name in asked}
    found = [_status(name, seen, settings, storage, names) for name, seen in overviews.items() if seen.is_ours]
    if not with_ended:
        found = [one for one in found if one.state not in (StudyState.COMPLETE, StudyState.FAILED)]
    found += _all_unrecorded(names, settings)
    order = list(StudyState)
    return sorted(found, key=lambda one: (order.index(one.state), one.name))


def _all_unrecorded(names: Sequence[str], settings: Settings) -> list[StudyStatus]:
    """Those that are prepared and are none of `names`."""
    folders = sorted(path.parent for path in settings.output_folder.glob(f"*/{DRIVER_FILE}"))
    found = [_unrecorded(folder.name, settings) for folder in folders if folder.name not in names]
    return [one for one in found if one is not None]


def _unrecorded(name: str, settings: Settings) -> StudyStatus | None:
    """A study that a driver prepares and no store knows; None where nobody drives it."""
    folder = settings.study_folder(name)
    driver = read_driver(folder)
    if driver is None or driver.end is not None or not is_driven(folder):
        return None
    with suppress(FileNotFoundError):  # it has just left
        news_s = (folder / DRIVER_FILE).stat().st_mtime
        return StudyStatus(
            name=name,
            state=StudyState.PREPARING,
            counts={},
            repetitions={},
            num_trials=None,
            objective=None,
            best=None,
            driver=driver,
            news_s=news_s,
        )
    return None


def _has_ended(folder: Path) -> bool:
    """Whether that can be told from the folder alone."""
    driver = read_driver(folder)
    return driver is not None and driver.end in (End.COMPLETE, End.FAILED) and not is_driven(folder)


def _status(name: str, overview: Overview, settings: Settings, storage: Storage, names: Sequence[str]) -> StudyStatus:
    if "confirms" in overview.notes and (repeats := str(overview.notes["confirms"])) in names:
        return _status(repeats, overview_of(repeats, storage), settings, storage, names)
    definition, reason = _definition_or_reason(overview)
    folder = settings.study_folder(name)
    repeated = overview_of(name + REPETITIONS_SUFFIX, storage) if name + REPETITIONS_SUFFIX in names else None
    driver = read_driver(folder)
    # With other files than its driver's, what the storage has is all that is known.
    elsewhere = None if folder.is_dir() else claim_elsewhere(StudyNote(name, storage, CLAIM_NOTE), folder)
    state = StudyState.RUNNING if elsewhere is not None else _state(folder, driver, overview, definition)
    return StudyStatus(
        name=name,
        state=state,
        counts=_counts(overview, state),
        repetitions={} if repeated is None else _counts(repeated, state),
        num_trials=definition.num_trials if definition else None,
        objective=definition.objective.key if definition else None,
        best=overview.best,
        driver=driver if elsewhere is None else elsewhere.driver,
        news_s=_news_s(folder, [overview, *([repeated] if repeated else [])]),
        reason=reason,
    )


def _definition_or_reason(overview: Overview) -> tuple[StudyDefinition | None, str | None]:
    """One study that cannot be read must not hide the others."""
    if "definition" not in overview.notes:
        return None, f"the study that it repeats must be in STUDY_STORAGE, but there is no {overview.notes.get('confirms')!r}"
    try:
        return parse_definition(overview.notes["definition"], Path(overview.notes["file"])), None
    except DefinitionError as error:
        return None, str(error)


def _state(folder: Path, driver: DriverRecord | None, overview: Overview, definition: StudyDefinition | None) -> StudyState:
    if not folder.is_dir():
        return StudyState.UNKNOWN
    is_running = is_driven(folder)
    if is_running is None:
        return StudyState.UNKNOWN
    if is_running:
        is_preparing = driver is not None and driver.doing is not None
        return StudyState.PREPARING if is_preparing else StudyState.RUNNING
    if driver is not None:  # one that left no word of its end died
        return StudyState.INTERRUPTED if driver.end is None else StudyState(driver.end)
    if definition is None:
        return StudyState.UNKNOWN
    is_open = any(overview.counts.get(state) for state in OPEN) or sum(overview.counts.values()) < definition.num_trials
    return StudyState.INTERRUPTED if is_open else StudyState.COMPLETE


def _counts(overview: Overview, state: StudyState) -> dict[TrialState, int]:
    """Trials by state; what a dead driver left running is interrupted."""
    counts = {one: overview.counts[one] for one in TrialState if overview.counts.get(one)}
    if state in (StudyState.RUNNING, StudyState.UNKNOWN):
        return counts
    left = counts.pop(TrialState.RUNNING, 0)
    return counts | ({TrialState.INTERRUPTED: counts.get(TrialState.INTERRUPTED, 0) + left} if left else {})


def _news_s(folder: Path, overviews: Sequence[Overview]) -> float | None:
    """The latest line in any log, or the latest word of Optuna's."""
    told = [one.news_s for one in overviews if one.news_s is not None]
    for logs in (folder / LOG_FOLDER, folder.with_name(folder.name + REPETITIONS_SUFFIX) / LOG_FOLDER):
        with suppress(FileNotFoundError, PermissionError):  # another user's folder may be closed
            told += [entry.stat().st_mtime for entry in os.scandir(logs)]
    return max(told, default=None)
