"""A log in a study's folder: lines with their time, appended by whichever node has something to say."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

LOG_FOLDER = "logs"
DRIVER_LOG = "driver.log"
ENDED_MARK = "ended: "  # how a trial's last line begins, after its time
REPETITIONS_SUFFIX = ".confirm"  # of a study that repeats another's best recipes; one driver runs both
CAPTURED_LOGGERS = ("study", "torch")
CAPTURED_APART = ("torch._dynamo", "torch._inductor")  # where torch lets them keep their lines to themselves


def trial_log_file(study_folder: Path, number: int) -> Path:
    """Where the trial `number` says what it does."""
    return study_folder / LOG_FOLDER / f"trial_{number:05d}.log"


def log_tags(study_folder: Path, number: int) -> dict[str, str]:
    """What a trial's run is tagged with, for who finds it in MLflow."""
    return {"study.log": str(trial_log_file(study_folder, number))}


def driver_log_file(study_folder: Path) -> Path:
    """Where the study's drivers, one after the other, say what they do."""
    return study_folder / LOG_FOLDER / DRIVER_LOG


class LogFile:
    """Appends to one file. What cannot be written is let go: a full disk costs the log, not the trial.

    The file is opened for each line, and closed: on NFS another node sees it then. An epoch's line takes 50 to 120 µs on a
    local disk (measured, with `capturing`, on two busy cores).
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def say(self, text: str) -> None:
        """A line with the time in UTC; further lines of the text are indented."""
        time = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
        line = f"{time} {text}".rstrip().replace("\n", "\n    ") + "\n"
        with suppress(OSError):
            self._append(line)

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """While it lasts, what `study` and torch log and every warning of Python are said here as well."""
        loggers = [logging.getLogger(name) for name in CAPTURED_LOGGERS]
        loggers += [logger for name in CAPTURED_APART if not (logger := logging.getLogger(name)).propagate]
        is_shown = any(isinstance(handler, _Handler) for logger in loggers for handler in logger.handlers)
        handler = _Handler(self, shows=not is_shown)
        show = warnings.showwarning

        def show_and_say(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            self.say(f"{category.__name__}: {message} ({filename}:{lineno})")
            show(message, category, filename, lineno, file, line)

        for logger in loggers:
            logger.addHandler(handler)
        warnings.showwarning = show_and_say
        try:
            yield
        finally:
            if warnings.showwarning is show_and_say:
                warnings.showwarning = show
            for logger in loggers:
                logger.removeHandler(handler)

    def _append(self, line: str) -> None:
        try:
            opened = self.path.open("a", encoding="utf-8")
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            opened = self.path.open("a", encoding="utf-8")
        with opened:
            opened.write(line)


class _Handler(logging.Handler):
    """Says a record in a log file; the outermost of several still shows it where nobody else would."""

    def __init__(self, log: LogFile, *, shows: bool) -> None:
        super().__init__()
        self._log = log
        self._shows = shows

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`."""
        self._log.say(f"{record.levelname} {record.name}: {self.format(record)}")
        # `logging` prints what has no handler at all; this one must not make warnings disappear from a terminal.
        last = logging.lastResort
        if self._shows and not logging.getLogger().handlers and last is not None and record.levelno >= last.level:
            last.handle(record)
