"""The answer as the text that stands at the head of a study's page in MLflow."""

from collections import Counter
from collections.abc import Sequence

from study.analysis.evidence import StudyEvidence
from study.analysis.findings import Comparison, ConfirmedRecipe, Estimate
from study.tracking.records import STOP_TAG
from study.trial import TrialState

MAX_ROWS = 12  # of each table: MLflow keeps 8,000 characters


def note_of(study: StudyEvidence, comparison: Comparison) -> str:
    """Markdown: the question, the answer in sentences, a line a factor, what was confirmed, what limits it."""
    counts = Counter(trial.state.value for trial in study.trials)
    states = ", ".join(f"{counts[state]} {state}" for state in TrialState if counts[state])
    parts = [
        f"**{_plain(study.definition.question)}**" if study.definition.question else "",
        "\n".join(f"- {_plain(sentence)}" for sentence in comparison.answer),
        _stop(study),
        _model(study),
        _effects(comparison),
        _confirmed(comparison.confirmed),
        "\n".join(f"- {_plain(warning)}" for warning in comparison.warnings),
        f"{states}. {_plain(comparison.method)} The whole report is among the artifacts: `report/report.html`.",
    ]
    return "\n\n".join(part for part in parts if part)


def _stop(study: StudyEvidence) -> str:
    reason = study.tags.get(STOP_TAG)
    return f"Stopped before all its trials: {_plain(reason)}." if reason else ""


def _model(study: StudyEvidence) -> str:
    is_registered = any(trial.state is TrialState.COMPLETE for trial in study.trials)
    return f"Model: `models:/{study.name}@champion`." if is_registered else ""


def _effects(comparison: Comparison) -> str:
    if not comparison.effects:
        return ""
    title = "effect (exploratory)" if any(effect.is_exploratory for effect in comparison.effects) else "effect"
    rows = [
        f"| `{effect.factor}` | {'' if effect.importance is None else f'{effect.importance:.2f}'} | {_plain(effect.sentence)} |"
        for effect in comparison.effects[:MAX_ROWS]
    ]
    return "\n".join([f"| factor | importance | {title} |", "|---|---|---|", *rows])


def _confirmed(recipes: Sequence[ConfirmedRecipe]) -> str:
    rows = [f"| {one.trial} | {one.role} | {_interval(one.val)} | {_interval(one.test)} |" for one in recipes[:MAX_ROWS]]
    return "\n".join(["| trial | role | validation | test |", "|---|---|---|---|", *rows]) if rows else ""


def _interval(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value:.3g} ({estimate.low:.3g} to {estimate.high:.3g}, n = {estimate.n})"


def _plain(text: str) -> str:
    """Text that no Markdown is read out of."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in " ".join(text.split()))
