"""Several studies that were run one after the other, as plain data: how each ended, and what it says of earlier claims."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from study.analysis.claims import Judgement, Verdict


class SuiteState(StrEnum):
    """How a study of a suite stands."""

    COMPLETE = "complete"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    NOT_BEGUN = "not begun"


class Begun(StrEnum):
    """What had to be done for it."""

    RUN = "run"
    RESUMED = "resumed"
    TAKEN = "taken as it was"
    NOTHING = ""


@dataclass(frozen=True)
class SuiteStudy:
    """One definition of the suite.

    Attributes:
        name: of the study; the file's name where the file could not be read.
        reason: why it failed; "" where it did not.
        answer: sentences of its own report.
        report: its own page; None where there is none.
        elapsed_s: of this run of the suite.
    """

    file: Path
    name: str
    question: str
    state: SuiteState
    begun: Begun = Begun.NOTHING
    reason: str = ""
    answer: Sequence[str] = ()
    judgements: Sequence[Judgement] = ()
    report: Path | None = None
    elapsed_s: float = 0.0


@dataclass(frozen=True)
class Suite:
    """The studies of one folder, in the order in which they ran."""

    name: str
    folder: Path
    studies: Sequence[SuiteStudy]

    @property
    def is_complete(self) -> bool:
        """Whether every study came to its end."""
        return all(study.state is SuiteState.COMPLETE for study in self.studies)

    @property
    def judgements(self) -> list[Judgement]:
        """Of all studies."""
        return [judgement for study in self.studies for judgement in study.judgements]

    @property
    def counts(self) -> dict[Verdict, int]:
        """Claims by verdict; those that none has are left out."""
        counted = Counter(judgement.verdict for judgement in self.judgements)
        return {verdict: counted[verdict] for verdict in Verdict if counted[verdict]}
