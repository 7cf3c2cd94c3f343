"""Ends a running study in good order: its driver marks what runs as interrupted, and `study resume` goes on."""

import os
import shlex
import signal
import socket
import time
from pathlib import Path

from study.errors import SearchError, nearest
from study.search.storages import is_fresh, open_storage, study_names
from study.search.study_note import StudyNote
from study.settings import Settings
from study.tuning.claim import CLAIM_NOTE, claim_elsewhere, this_machine
from study.tuning.driver import DRIVER_FILE, DriverRecord, End, is_driven, read_driver

LOOK_INTERVAL_S = 0.2


def ask_to_stop(name: str, settings: Settings) -> DriverRecord:
    """Asks the study's driver to end, as Ctrl-C does; the driver.

    SIGTERM, not SIGINT: Ray blocks that one in the processes of its jobs, and shells have it ignored in what runs behind them.

    Raises:
        SearchError: if nobody drives the study, or its driver is out of reach.
    """
    folder = settings.study_folder(name)
    driver = read_driver(folder)
    # A lock held by another, or not given back yet, is no driver: its process may do something else since its word of its end.
    if is_driven(folder) is False or driver is None or driver.end is not None:
        _require_not_elsewhere(name, settings)
        raise SearchError(f"a study must run to be stopped, but nobody is running {name!r}. {_hint(folder, settings)}")
    if not driver.is_here:
        raise SearchError(
            f"a study is stopped on the machine of its driver, but that of {name!r} is {driver}, and this is "
            f"{socket.gethostname()}. Run `study stop {name}` there, or name the cluster: --address http://HEAD:8265"
        )
    try:
        os.kill(driver.pid, signal.SIGTERM)
    except PermissionError:
        raise SearchError(
            f"a driver is stopped by the user who started it, but that of {name!r} ({driver}) is another's. Ask them."
        ) from None
    return driver


def _require_not_elsewhere(name: str, settings: Settings) -> None:
    """Where another shell or machine has other files for the same storage, its driver is told of there."""
    if is_fresh(settings.storage) or name not in study_names(storage := open_storage(settings.storage)):
        return
    claim = claim_elsewhere(StudyNote(name, storage, CLAIM_NOTE), settings.study_folder(name))
    if claim is None:
        return
    where = "" if claim.machine == this_machine() else f" on {claim.driver.host}"
    raise SearchError(
        f"a study is stopped where its driver has its files, but that of {name!r} ({claim.driver}) has them in {claim.folder}. "
        f"Run{where} `STUDY_OUTPUT={shlex.quote(str(Path(claim.folder).parent))} study stop {name}`."
    )


def wait_until_stopped(name: str, driver: DriverRecord, settings: Settings) -> End | None:
    """Returns how the driver left its study, once it has; None for a new one that it had not begun to record.

    Raises:
        SearchError: if Optuna's storage cannot be asked.
    """
    folder = settings.study_folder(name)
    while driver.is_here and is_driven(folder) is not False:
        time.sleep(LOOK_INTERVAL_S)
    if is_fresh(settings.storage) or name not in study_names(open_storage(settings.storage)):
        return None
    left = read_driver(folder)
    return End.INTERRUPTED if left is None or left.end is None else left.end


def _hint(folder: Path, settings: Settings) -> str:
    if folder.is_dir():
        return f"See `study status {folder.name}`."
    known = [path.parent.name for path in settings.output_folder.glob(f"*/{DRIVER_FILE}")]
    return nearest(folder.name, known) if known else f"There is no study in {settings.output_folder}."
