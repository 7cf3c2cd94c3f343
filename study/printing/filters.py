"""Which studies and trials a listing shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from study.errors import DefinitionError, nearest
from study.tracking.records import StudyRecord, TrialRecord


@dataclass(frozen=True)
class StudyFilter:
    """Launches to list.

    Attributes:
        states: any of these; none given means all.
        experiment: of this MLflow experiment only.
        limit: at most so many, the newest.
    """

    states: Sequence[str] = ()
    experiment: str | None = None
    limit: int | None = None

    def apply(self, records: Sequence[StudyRecord]) -> list[StudyRecord]:
        """The records that are listed, in their order.

        Raises:
            DefinitionError: for an experiment that has no study.
        """
        if self.experiment is not None:
            _require_known(self.experiment, {record.experiment for record in records}, "an experiment with studies")
        kept = [
            record
            for record in records
            if (not self.states or record.state in self.states) and self.experiment in (None, record.experiment)
        ]
        return kept[: self.limit]


@dataclass(frozen=True)
class TrialFilter:
    """Trials to show.

    Attributes:
        states: any of these; none given means all.
        params: each as `optimizer.name=adam`; all must hold. `1e-3` and `0.001` are one number.
        limit: at most so many, the best.
    """

    states: Sequence[str] = ()
    params: Sequence[str] = ()
    limit: int | None = None

    def apply(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """The records that are shown, in their order.

        Raises:
            DefinitionError: for a condition that is none, or names no param.
        """
        known = {key for record in records for key in record.params}
        conditions = [_condition(text, known) for text in self.params]
        kept = [
            record
            for record in records
            if (not self.states or record.state in self.states) and all(holds(record.params) for holds in conditions)
        ]
        return kept[: self.limit]


def _condition(text: str, known: set[str]) -> Callable[[Mapping[str, str]], bool]:
    key, equals, value = text.partition("=")
    if not equals:
        raise DefinitionError(f"a condition must read KEY=VALUE, but is {text!r}. For instance: --where backbone=resnet18")
    if known:
        _require_known(key.strip(), known, "a param of these trials")
    return lambda params: _is_same(params.get(key.strip()), value.strip())


def _require_known(name: str, known: set[str], what: str) -> None:
    if name not in known:
        raise DefinitionError(f"a filter must name what there is ({what}), but {name!r} is none. {nearest(name, known)}")


def _is_same(recorded: str | None, wanted: str) -> bool:
    if recorded is None:
        return wanted == ""
    try:
        return float(recorded) == float(wanted)
    except ValueError:
        return recorded == wanted
