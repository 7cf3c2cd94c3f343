"""Every error that the platform raises on purpose, and the exit code that each ends a command with.

StudyError                    one line: rule, what was given, where, the fix
├── DefinitionError           the definition file, or a name given on the command line
├── DataError                 photos, labels, splits
├── ModelError                backbones, weights, exported models
├── SearchError               Optuna's storage, or a study in it
│   └── AnotherDriverError    its trials are another process's now: left alone (study/search/failures.py)
├── TrackingError             the MLflow server or database
│   ├── RegistryError         a registered model
│   ├── StoreAwayError        no answer: waited for (study/tracking/failures.py)
│   └── RecordRefusedError    an answer: it will never take this (likewise)
└── TrialError                one training went wrong; recorded on its run, the study goes on
    └── NonFiniteLossError    the loss became NaN or infinite
"""

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class StudyError(Exception):
    """A failure whose message tells the reader what to do next.

    Attributes:
        exit_code: what a command that ends with this error returns: 2 for what the user can mend, 1 for a failed run.
    """

    exit_code = 2


class DefinitionError(StudyError):
    """The definition file, or a name on the command line, breaks a rule."""


class DataError(StudyError):
    """The photos, their labels or their split cannot be used as asked."""


class ModelError(StudyError):
    """A backbone, its weights or an exported model cannot be used as asked."""


class SearchError(StudyError):
    """Optuna's storage cannot be reached, or holds no such study."""


class TrackingError(StudyError):
    """MLflow cannot be reached or refused a record: a run that did not record is no result."""


class RegistryError(TrackingError):
    """A registered model cannot be read or written."""


class TrialError(StudyError):
    """One training failed; its cause is recorded on its run."""

    exit_code = 1


class NonFiniteLossError(TrialError):
    """The loss became NaN or infinite."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt `name`: " Did you mean `x`?" where one of `known` is close, else the list of them."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"Known: {', '.join(known)}."


def in_one_line(error: StudyError | OSError) -> str:
    """An error for people: ours as it is; of a disk, of permissions or of a network, the file, the reason and the fix."""
    if isinstance(error, StudyError):
        return str(error)
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    told = reason if error.filename is None else f"{error.filename}: {reason}"
    return f"a command must be able to read and write its files, but got {told}. {_fix_of(error)}"


def _fix_of(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):  # a write that found no room does not say where
        return "Free some space where STUDY_OUTPUT, STUDY_CACHE and what the command was to write are."
    if error.filename is not None:
        return "Check the path and its permissions."
    return "Check the disk and the network, and try again."
