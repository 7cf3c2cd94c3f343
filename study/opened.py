"""A study for notebooks and scripts: `study.load("pets").trials` is a pandas table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import pandas as pd

from study.analysis.comparison import compare
from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.analysis.findings import Comparison
from study.analysis.reading import read_study
from study.search.storages import open_storage
from study.settings import settings_from
from study.tracking.mlflow_tracker import MlflowTracker

SHOWN_TRIALS = 10  # of a study that stands as the last line of a notebook's cell


@dataclass(frozen=True)
class OpenedStudy:
    """One study as it stands recorded; nothing in it changes when the study goes on: load it again."""

    evidence: StudyEvidence

    @property
    def name(self) -> str:
        """Of the study."""
        return self.evidence.name

    @property
    def question(self) -> str:
        """As its definition asks it."""
        return self.evidence.definition.question

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row a trial, by number: how it ended, its objective, what was searched, and what it cost."""
        return _table(self.evidence.trials)

    @cached_property
    def repetitions(self) -> pd.DataFrame:
        """The same of `[confirm]`'s trials, with what they reached on the test split; empty where there are none."""
        return _table(self.evidence.repetitions, metrics_with="test_")

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The objective after each epoch: columns `trial`, `epoch` (from 1), `value`."""
        rows = [
            (trial.number, epoch, value) for trial in self.evidence.trials for epoch, value in enumerate(trial.curve, start=1)
        ]
        return pd.DataFrame(rows, columns=["trial", "epoch", "value"])

    @cached_property
    def comparison(self) -> Comparison:
        """Which factor mattered, by how much, and how sure that is."""
        return compare([self.evidence])

    def _repr_html_(self) -> str:
        """What a notebook shows: the question, the answer, the best trials."""
        objective = self.evidence.definition.objective
        best = self.trials.sort_values("value", ascending=not objective.is_maximized, na_position="last").head(SHOWN_TRIALS)
        sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.comparison.answer)
        head = f"<h3>{escape(self.name)}</h3><p>{escape(self.question)}</p><ul>{sentences}</ul>"
        return f"{head}{best.to_html(float_format='{:.4g}'.format, na_rep='')}"


def load(name: str, *, tracking_uri: str | None = None, storage: str | None = None) -> OpenedStudy:
    """The study `name` with all its trials.

    Args:
        tracking_uri: MLflow's store; default: `MLFLOW_TRACKING_URI`, else `mlflow.db` in the present folder.
        storage: Optuna's; default: `STUDY_STORAGE`, else `study.journal` in the present folder.
    Raises:
        DefinitionError: if there is no such study.
        StudyError: if a store cannot be read.
    """
    settings = settings_from()
    tracker = MlflowTracker(tracking_uri or settings.tracking_uri)
    tracker.check()
    return OpenedStudy(read_study(name, tracker, open_storage(storage or settings.storage)))


def _table(trials: Sequence[TrialEvidence], metrics_with: str = "best_val_") -> pd.DataFrame:
    rows = [_row(trial, metrics_with) for trial in trials]
    numbers = pd.Index([trial.number for trial in trials], name="trial")
    return pd.DataFrame(rows, index=numbers, columns=None if rows else ["state", "value", "num_epochs", "seconds", "run_id"])


def _row(trial: TrialEvidence, metrics_with: str) -> Mapping[str, Any]:
    """Columns in the order in which people read: the end, the recipe, what it showed, what it cost."""
    shown = {name: value for name, value in trial.metrics.items() if name.startswith(metrics_with)}
    ended = {"state": trial.state.value, "value": trial.value, "num_epochs": len(trial.curve), "seconds": trial.seconds}
    return {**ended, **trial.searched, **shown, **trial.costs, "run_id": trial.run_id}
