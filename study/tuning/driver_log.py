"""What a study's driver says, kept in the study's folder: for who looks later, or from elsewhere."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from study.errors import StudyError
from study.search.advisor import Outcome
from study.tuning.launch import StudyListener
from study.tuning.ledger import TrialProgress
from study.tuning.log_file import LogFile, driver_log_file
from study.tuning.preparation import PreparedStudy


@dataclass(frozen=True)
class LoggedListener:
    """Tells a listener everything, and the driver's log what will be asked for later."""

    listener: StudyListener
    log: LogFile

    def packing(self, num_done: int, num_photos: int) -> None:
        """Photos are being packed."""
        self.listener.packing(num_done, num_photos)

    def study_began(self, prepared: PreparedStudy, earlier: Sequence[Outcome], num_concurrent: int) -> None:
        """Trials are about to run."""
        definition = prepared.definition
        ended = f", {len(earlier)} of them ended earlier" if earlier else ""
        self.log.say(f"study {definition.name}: {definition.num_trials} trials{ended}, {num_concurrent} at once")
        self.listener.study_began(prepared, earlier, num_concurrent)

    def trial_began(self, trial: TrialProgress) -> None:
        """A trial was handed to a worker."""
        self.log.say(f"trial {trial.number} begins")
        self.listener.trial_began(trial)

    def trial_measured(self, trial: TrialProgress) -> None:
        """An epoch was recorded: the trial's own log has it."""
        self.listener.trial_measured(trial)

    def trial_ended(self, trial: TrialProgress) -> None:
        """A trial reached its final state."""
        reason = f": {trial.failure.reason}" if trial.failure else ""
        self.log.say(f"trial {trial.number} {trial.state} after epoch {trial.last_epoch}/{trial.config.epochs}{reason}")
        self.listener.trial_ended(trial)

    def notice(self, message: str) -> None:
        """Something that people should know."""
        self.log.say(message)
        self.listener.notice(message)

    def study_ending(self) -> None:
        """All trials have ended."""
        self.log.say("registering the best model")
        self.listener.study_ending()


@contextmanager
def logged(listener: StudyListener, study_folder: Path) -> Iterator[LoggedListener]:
    """A listener who also writes the driver's log, from its first line to its last, whatever ends the driver in between."""
    log = LogFile(driver_log_file(study_folder))
    log.say(f"the driver begins on {socket.gethostname()}, pid {os.getpid()}")
    with log.capturing():
        try:
            yield LoggedListener(listener, log)
        except StudyError as error:
            log.say(f"the driver ends: {error}")
            raise
        except BaseException as error:
            log.say(f"the driver ends: {type(error).__name__}: {error}".rstrip(": "))
            raise
    log.say("the driver ends")
