"""One study against another on the same folds and seeds, against figures worked out otherwise."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student_t

from study.analysis.claims import Judgement, Verdict, judge
from study.analysis.evidence import StudyEvidence
from study.analysis.paired_studies import judged_in_pairs, paired_studies
from study.definition import parse_definition

from .evidence_of import definition, evidence, trial

FOLDS, SEEDS = 5, 2
FRONT = tuple(np.random.default_rng(0).normal(0.6, 0.05, FOLDS * SEEDS))
SPACE = "fold = { choices = [0, 1, 2, 3, 4] }"


def study_with(name: str, test: Sequence[float], metric: str = "balanced_accuracy") -> StudyEvidence:
    definition_ = definition(SPACE, top=f'objective.metric = "{metric}"\ndata.split.folds = {FOLDS}', name=name)
    places = [(fold, seed) for fold in range(FOLDS) for seed in range(SEEDS)]
    repetitions = [
        trial(number, 0.8, {"fold": fold, "seed": seed}, metrics={f"test_{metric}": value})
        for number, ((fold, seed), value) in enumerate(zip(places, test, strict=False))
    ]
    return evidence([trial(0, 0.8, {"fold": 0})], definition_, repetitions)


def shifted(by: float, noise: float = 0.01) -> list[float]:
    return list(np.array(FRONT) + by + np.random.default_rng(1).normal(0, noise, len(FRONT)))


def test_the_difference_is_paired_by_fold_and_seed_and_its_variance_raised_for_shared_photos() -> None:
    pair = shifted(0.03)
    found = paired_studies(study_with("pair", pair), study_with("front", FRONT))
    assert found is not None
    by_fold = (np.array(pair) - np.array(FRONT)).reshape(FOLDS, SEEDS).mean(axis=1)
    half = student_t.ppf(0.975, FOLDS - 1) * by_fold.std(ddof=1) * np.sqrt(1 / FOLDS + 1 / (FOLDS - 1))
    assert found.difference.value == pytest.approx(by_fold.mean())
    assert found.difference.high - found.difference.value == pytest.approx(half)
    assert found.difference.n == FOLDS * SEEDS


def test_of_an_error_the_smaller_is_the_better() -> None:
    found = paired_studies(study_with("pair", shifted(-0.1), "loss"), study_with("front", FRONT, "loss"))
    assert found is not None
    assert found.difference.value > 0


def test_without_repetitions_in_common_nothing_is_compared() -> None:
    assert paired_studies(study_with("pair", FRONT), study_with("front", FRONT[:1])) is None
    assert paired_studies(study_with("pair", FRONT), study_with("front", FRONT, "loss")) is None


def claims_of(*others: str) -> list[Judgement]:
    claims = "".join(f'\n[[claims]]\ntext = "better"\nagainst = "{other}"' for other in others)
    text = f'name = "pair"\ndata.generated = "instruments"\n[space]\n{SPACE}{claims}\n[[claims]]\ntext = "words"'
    return judge(parse_definition(text, Path("/pair.toml")), None)


@pytest.mark.parametrize(
    ("by", "noise", "verdict"),
    [(0.05, 0.01, Verdict.CONFIRMED), (-0.05, 0.01, Verdict.REFUTED), (0.005, 0.05, Verdict.NOT_SHOWN)],
)
def test_a_claim_against_another_study_is_judged_by_the_paired_difference(by: float, noise: float, verdict: Verdict) -> None:
    studies = {"pair": study_with("pair", shifted(by, noise)), "front": study_with("front", FRONT)}
    judged, words = judged_in_pairs("pair", claims_of("front"), studies.get)
    assert judged.verdict is verdict
    assert "paired difference" in judged.sureness
    assert "n = 10" in judged.sureness
    assert words.verdict is Verdict.NOT_MEASURED


def test_p_is_corrected_for_all_the_studies_that_one_is_set_against() -> None:
    studies = {name: study_with(name, values) for name, values in (("pair", shifted(0.03)), ("front", FRONT), ("back", FRONT))}
    alone = judged_in_pairs("pair", claims_of("front"), studies.get)[0]
    of_two = judged_in_pairs("pair", claims_of("front", "back"), studies.get)[0]
    assert alone.sureness.split(", p")[0] == of_two.sureness.split(", p")[0]
    assert alone.sureness != of_two.sureness


def test_against_a_study_that_is_not_complete_nothing_is_shown() -> None:
    (judged, _) = judged_in_pairs("pair", claims_of("front"), {"pair": study_with("pair", FRONT)}.get)
    assert (judged.verdict, judged.found) == (Verdict.NOT_SHOWN, "not both this study and front were confirmed")
