"""Reads what trials and drivers said of themselves: the logs in a study's folder."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from study.errors import SearchError, nearest
from study.settings import Settings
from study.tuning.driver import is_driven
from study.tuning.log_file import DRIVER_LOG, ENDED_MARK, LOG_FOLDER, REPETITIONS_SUFFIX, driver_log_file, trial_log_file
from study.tuning.shared_files import SharedFiles

LOOK_INTERVAL_S = 0.5
ENDED = re.compile(rf"^\S+ \S+ {ENDED_MARK}")
TRIAL_LOG = re.compile(r"trial_(\d+)\.log")


def find_log(name: str, trial: int | None, settings: Settings) -> Path:
    """The log of a study's trial, or of its driver.

    Raises:
        SearchError: if the study or the trial left none, as one that repeats another, or it is still on a node that shares no
            folder.
        DefinitionError: if it lies under an address that cannot be read.
    """
    folder = settings.study_folder(name)
    if not (folder / LOG_FOLDER).is_dir():
        known = sorted(path.parent.name for path in settings.output_folder.glob(f"*/{LOG_FOLDER}") if path.is_dir())
        hint = nearest(name, known) if known else "There is no study here; STUDY_OUTPUT or --address may name another place."
        raise SearchError(f"a study's logs are in its folder, but {folder} has none. {hint}")
    file = driver_log_file(folder) if trial is None else trial_log_file(folder, trial)
    if trial is not None and settings.shared_address:
        SharedFiles(settings.shared_address, name).fetch(file)
    if not file.exists():
        if trial is not None:
            _require_trained(name, trial, settings)
            _require_sent(name, trial, settings)
        what = "the driver" if trial is None else f"trial {trial}"
        raise SearchError(f"what has begun has a log, but there is none of {what} in {folder / LOG_FOLDER}. {_known(folder)}")
    return file


def _require_trained(name: str, trial: int, settings: Settings) -> None:
    repeated = _repeated(name, trial, settings)
    if repeated is not None:
        raise SearchError(
            f"a trial that was trained has a log, but trial {trial} of {name} was told the result of trial {repeated}, which "
            f"had the same recipe. See that one's: study logs {name} {repeated}"
        )


def _repeated(name: str, trial: int, settings: Settings) -> int | None:
    """Whose result a trial was told; None for one that was trained, or where Optuna's storage cannot be asked now."""
    # Here, because Optuna takes 0.3 s to be imported, and a log that is there needs none of it.
    from study.search.storages import is_fresh, open_storage
    from study.search.stored_trials import read_stored_study, repeated_by

    if is_fresh(settings.storage):
        return None
    try:
        return repeated_by(trial, read_stored_study(name, open_storage(settings.storage)).trials)
    except SearchError:
        return None


def _require_sent(name: str, trial: int, settings: Settings) -> None:
    if settings.shared_address:
        there = trial_log_file(settings.node_folder(name), trial)
        raise SearchError(
            f"with STUDY_SHARED a trial's log comes from its node when the trial ends, but trial {trial} of {name} sent none"
            f": it runs, its process died, or it never began. On its node it is {there}; `study logs {name}` says which."
        )


def read_lines(file: Path) -> Iterator[str]:
    """The log as it is now."""
    with file.open(encoding="utf-8", errors="replace") as opened:
        yield from (line.rstrip("\n") for line in opened)


def follow_lines(file: Path, has_ended: Callable[[str], bool]) -> Iterator[str]:
    """The log, and what is added to it, until its last line is the end of what it tells.

    Args:
        has_ended: of the last line, asked when nothing new has come.
    """
    last, unfinished = "", ""
    with file.open(encoding="utf-8", errors="replace") as opened:
        while True:
            text = opened.read()
            *lines, unfinished = (unfinished + text).split("\n")
            yield from lines
            last = lines[-1] if lines else last
            if not text:
                if has_ended(last):
                    return
                time.sleep(LOOK_INTERVAL_S)


def end_of(name: str, trial: int | None, settings: Settings) -> Callable[[str], bool]:
    """Says of a log's last line whether nothing more will follow: the trial has ended, or nobody drives the study."""
    folder = settings.study_folder(name.removesuffix(REPETITIONS_SUFFIX))

    def has_ended(last: str) -> bool:
        is_over = trial is not None and ENDED.search(last) is not None
        return is_over or not (is_driven(folder) or is_driven(settings.study_folder(name)))

    return has_ended


def _known(folder: Path) -> str:
    names = [path.name for path in (folder / LOG_FOLDER).iterdir()]
    numbers = sorted(int(found[1]) for name in names if (found := TRIAL_LOG.fullmatch(name)))
    trials = f"trials {numbers[0]} to {numbers[-1]}" if numbers else "no trial yet"
    return f"Known: {trials}{', and the driver' if DRIVER_LOG in names else ''}."
