"""What is known of one registered version, its repetitions and what it costs: from its study, else from its tags."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from study.analysis.confirmed import Repeated, confirmed_recipes, ratio_of, repeated_recipes
from study.analysis.evidence import StudyEvidence
from study.analysis.factors import BLOCKS
from study.analysis.findings import Estimate
from study.intervals import Place

CONFIRMATION_TAG = "study.confirmation"  # a Standing's figures as JSON
EVIDENCE_TAG = "study.evidence"
SEARCH_ONLY, CONFIRMED = "search only", "confirmed"
MAX_TAG_CHARS = 4500  # of 5000 that MLflow takes: some 110 repetitions; of more, the mean and its interval are kept


@dataclass(frozen=True)
class Standing:
    """What is known of one registered version.

    Attributes:
        label: how sentences call it: "version 3 (trial 7 of pets)".
        study_run: parent run of the study that trained it, "" where that cannot be read: a study begun anew may have the name,
            and its trials the numbers, of one that is gone.
        data_digest: of the photos and their split: equal digests mean the same test photos.
        metric: of `test`: test_balanced_accuracy …
        test: mean over the repetitions with its interval; None where there are none.
        cost: quantities by name with the unit in it.
        repetitions: what each came to on the test split, by fold and seed; empty where only the mean is known.
        ratio: photos held out a fold as a share of those trained on (`held_out_ratio`).
        is_confirming: more repetitions of its study are to come.
    """

    label: str
    study: str
    trial: int
    data_digest: str
    metric: str
    is_maximized: bool
    test: Estimate | None = None
    cost: Mapping[str, float] | None = None
    repetitions: Mapping[Place, float] = field(default_factory=dict)
    ratio: float = 0.0
    study_run: str = ""
    is_confirming: bool = False

    def is_same_trial(self, other: "Standing") -> bool:
        """Whether both are of one trial of one study."""
        return (self.study, self.study_run, self.trial) == (other.study, other.study_run, other.trial)


def has_trained(study: StudyEvidence, run_id: str) -> bool:
    """Whether a version is of this study, and not of one that had its name before.

    Args:
        run_id: of the trial that the version is of; "", where it tells none, is of no study: its tags say what is known.
    """
    return any(trial.run_id == run_id for trial in study.trials)


def standing_of(label: str, tags: Mapping[str, str], study: StudyEvidence | None = None) -> Standing:
    """A version's standing by its tags; figures of its study's repetitions are newer and come first.

    Args:
        tags: of the version (`study.name`, `study.trial_number`, `study.data_digest`, and `CONFIRMATION_TAG` if confirmed).
        study: that trained it (see `has_trained`); None where it cannot be read. On other photos one of the same name is
            another study.
    """
    own = {**_recorded(tags), **(_repeated(tags, study) if study is not None else {})}
    return Standing(
        label=label,
        study=tags.get("study.name", ""),
        trial=int(tags.get("study.trial_number", -1)),
        data_digest=tags.get("study.data_digest", ""),
        study_run="" if study is None else study.run_id,
        is_confirming=study is not None and study.is_confirming,
        **own,
    )


def confirmation_tags(standing: Standing) -> dict[str, str]:
    """Tags that `standing_of` reads back; for people, the figures in words too."""
    if standing.test is None:
        return {}
    figures = {
        "metric": standing.metric,
        "is_maximized": standing.is_maximized,
        "test": asdict(standing.test),
        "cost": dict(standing.cost or {}),
    }
    repetitions = {
        "ratio": standing.ratio,
        "repetitions": [[fold, seed, value] for (fold, seed), value in standing.repetitions.items()],
    }
    whole = json.dumps(figures | repetitions, sort_keys=True)
    return {
        EVIDENCE_TAG: CONFIRMED,
        CONFIRMATION_TAG: whole if len(whole) <= MAX_TAG_CHARS else json.dumps(figures, sort_keys=True),
        f"study.{standing.metric}": interval_text(standing.test),
    }


def interval_text(estimate: Estimate) -> str:
    """As "0.713 (0.690 to 0.736, n = 5)"."""
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f}, n = {estimate.n})"


def _recorded(tags: Mapping[str, str]) -> dict[str, Any]:
    """What the tags have of a standing, by the names of its attributes."""
    recorded = json.loads(tags.get(CONFIRMATION_TAG, "{}"))
    return {
        "metric": recorded.get("metric", ""),
        "is_maximized": recorded.get("is_maximized", True),
        "test": Estimate(**recorded["test"]) if recorded.get("test") else None,
        "cost": {**recorded.get("cost", {}), **json.loads(tags.get("study.cost", "{}"))},
        "repetitions": {(fold, seed): value for fold, seed, value in recorded.get("repetitions", ())},
        "ratio": recorded.get("ratio", 0.0),
    }


def _repeated(tags: Mapping[str, str], study: StudyEvidence) -> dict[str, Any]:
    """What the study's repetitions have of it; nothing where they are of another recipe."""
    own = _repeated_recipe(int(tags.get("study.trial_number", -1)), study)
    if study.name != tags.get("study.name") or study.data_digest != tags.get("study.data_digest", "") or own is None:
        return {}
    summary = next(one for one in confirmed_recipes(study) if one.trial == own.trial)
    if summary.test is None:
        return {}
    objective = study.definition.objective
    return {
        "metric": f"test_{objective.metric}",
        "is_maximized": objective.is_maximized,
        "test": summary.test,
        "cost": {**_recorded(tags)["cost"], **own.cost},
        "repetitions": dict(own.test),
        "ratio": ratio_of(study),
    }


def _repeated_recipe(number: int, study: StudyEvidence) -> Repeated | None:
    """The repetitions of a trial's recipe, whichever trial with this recipe was the one to be confirmed."""
    trial = next((one for one in study.trials if one.number == number), None)
    if trial is None:
        return None
    recipe = {key: value for key, value in trial.searched.items() if key not in BLOCKS}
    return next((one for one in repeated_recipes(study) if one.recipe == recipe), None)
