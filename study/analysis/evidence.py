"""What a study left behind, as plain data: what every analysis starts from, wherever it was read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from study.definition import StudyDefinition
from study.trial import TrialState


@dataclass(frozen=True)
class TrialEvidence:
    """One trial as it ended.

    Attributes:
        study: name of its study.
        number: within its study.
        run_id: its run in MLflow; None where there is none.
        recipe: the whole recipe by dotted key, what was not searched included.
        searched: the part that the sampler chose.
        value: the objective: the best epoch's for COMPLETE, the last epoch's for PRUNED, None for FAIL.
        curve: the objective after each epoch, from the first.
        metrics: last values and summary by their names in MLflow (`test_accuracy`, `best_val_loss` …), where they were read.
        costs: quantities of the model, as `parameters_m`.
        seconds: that it took; None where nobody said.
        repeats: number of the trial whose result it was told instead of training again.
    """

    study: str
    number: int
    state: TrialState
    run_id: str | None
    recipe: Mapping[str, Any]
    searched: Mapping[str, Any]
    value: float | None
    curve: Sequence[float] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    repeats: int | None = None


@dataclass(frozen=True)
class StudyEvidence:
    """One study: its question, its trials, and the repetitions of its best recipes.

    Attributes:
        run_id: of its parent run.
        trials: by number.
        repetitions: the trials of `NAME.confirm`: recipes again with other seeds and folds, read on the test split.
        data_digest: of the photos and their split.
        tags: of its parent run.
        is_confirming: more repetitions are to come, so a recipe with fewer of them than another is not beaten by that.
    """

    name: str
    run_id: str
    definition: StudyDefinition
    trials: Sequence[TrialEvidence]
    repetitions: Sequence[TrialEvidence] = ()
    data_digest: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    is_confirming: bool = False


def by_photos(studies: Sequence[StudyEvidence]) -> list[list[StudyEvidence]]:
    """Studies on the same photos, split alike, together: the values of others do not compare."""
    groups: dict[str, list[StudyEvidence]] = {}
    for study in studies:
        groups.setdefault(study.data_digest, []).append(study)
    return list(groups.values())
