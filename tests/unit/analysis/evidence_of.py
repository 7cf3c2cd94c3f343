"""Evidence by hand: a study of given trials."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.definition import StudyDefinition, parse_definition
from study.trial import TrialState

SPACE = """
head = { choices = ["replace", "append"] }
"optimizer.name" = { choices = ["adam", "sgd"] }
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
"optimizer.momentum" = { low = 0.8, high = 0.9, when = { "optimizer.name" = ["sgd"] } }
"""
EPOCHS = 4


def definition(space: str = SPACE, top: str = "", name: str = "known", search: str = 'sampler = "random"') -> StudyDefinition:
    text = f"""
name = "{name}"
data.generated = "instruments"
trial.epochs = {EPOCHS}
{top}
[space]
{space}
[search]
{search}
"""
    return parse_definition(text, Path("/somewhere/known.toml"))


def trial(
    number: int,
    value: float | None,
    searched: Mapping[str, Any],
    state: TrialState = TrialState.COMPLETE,
    curve: Sequence[float] | None = None,
    **others: Any,
) -> TrialEvidence:
    """A trial that reached `value` at its last epoch, or stopped after two."""
    num_epochs = {TrialState.COMPLETE: EPOCHS, TrialState.PRUNED: 2}.get(state, 0)
    steps = [] if value is None else [value * (epoch + 1) / num_epochs for epoch in range(num_epochs)]
    fields = {"study": "known", "run_id": f"run-{number}", "recipe": {"epochs": EPOCHS, "fold": 0, **searched}} | others
    return TrialEvidence(
        number=number, state=state, searched=searched, value=value, curve=steps if curve is None else curve, **fields
    )


def evidence(
    trials: Sequence[TrialEvidence], study: StudyDefinition | None = None, repetitions: Sequence[TrialEvidence] = ()
) -> StudyEvidence:
    study = study or definition()
    return StudyEvidence(study.name, "parent", study, trials, repetitions)
