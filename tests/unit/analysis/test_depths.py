"""Ranks of recipes across freeze depths."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from study.analysis.comparison import compare
from study.analysis.depths import depth_agreements
from study.analysis.evidence import StudyEvidence, TrialEvidence
from study.analysis.report.extras import ReportExtras
from study.analysis.report.material import Material
from study.analysis.report.page import render
from study.analysis.report.parts import Table
from study.analysis.report.sections.depths import depths_section
from study.analysis.sentences import Unit
from study.printing.comparison import comparison_of, print_comparison
from study.trial import TrialState
from tests.unit.analysis.evidence_of import definition, evidence, trial

SPACE = """
freeze_depth = { choices = [1.0, 0.5, 0.0] }
dropout = { low = 0.0, high = 0.9 }
"optimizer.backbone_lr_ratio" = { low = 1e-3, high = 1.0, log = true, when = { freeze_depth = [0.0, 0.5] } }
"""
FOLD = "fold = { choices = [0, 1] }"
UNIT = Unit("balanced_accuracy", is_maximized=True)


def study(at: dict[float, list[float | None]], search: str = 'sampler = "tpe"') -> StudyEvidence:
    """Recipe after recipe at each depth; None where it was pruned."""
    trials: list[TrialEvidence] = []
    for depth, values in at.items():
        for place, value in enumerate(values):
            ratio = {"optimizer.backbone_lr_ratio": 0.01 * (place + 1)} if depth < 1 else {}
            searched = {"freeze_depth": depth, "dropout": place / 10, **ratio}
            state = TrialState.PRUNED if value is None else TrialState.COMPLETE
            trials.append(trial(len(trials), 0.1 if value is None else value, searched, state))
    return evidence(trials, definition(SPACE, search=search))


def test_ranks_are_compared_between_the_deepest_and_each_other_depth() -> None:
    rng = np.random.default_rng(0)
    heads, half = rng.uniform(0.3, 0.6, 8), rng.uniform(0.3, 0.6, 8)
    first, second = depth_agreements(study({0.0: list(heads), 1.0: list(heads), 0.5: list(half)}), UNIT)
    assert (first.depths, second.depths) == ((1.0, 0.5), (1.0, 0.0))
    assert first.correlation is not None
    assert second.correlation is not None
    assert first.correlation.value == pytest.approx(spearmanr(heads, half).statistic)
    tau = kendalltau(heads, half).statistic
    assert 1 - 2 * first.num_swapped / first.num_pairs == pytest.approx(tau)
    assert first.correlation.low < first.correlation.value < first.correlation.high
    assert second.num_swapped == 0
    assert second.correlation.value == pytest.approx(1.0)
    assert second.correlation.low < 0.95, "a few ranks that agree prove little"
    assert [value for _, value, _ in first.recipes] == sorted(heads, reverse=True)


def test_the_sentence_says_where_the_best_head_ends_up() -> None:
    (found,) = depth_agreements(study({1.0: [0.6, 0.5, 0.4], 0.0: [0.3, 0.5, 0.7]}), UNIT)
    assert found.sentence == (
        "of 3 recipes at freeze depths 1 and 0, 3 of 3 pairs change their order; the best at 1, trial 0, is number 3 at 0"
    )


def test_what_a_loss_ranks_first_is_the_lowest() -> None:
    (found,) = depth_agreements(study({1.0: [0.6, 0.5, 0.4], 0.0: [0.3, 0.5, 0.7]}), Unit("loss", is_maximized=False))
    assert "the best at 1, trial 2, is number 3 at 0" in found.sentence


def test_promoted_recipes_come_with_a_word_of_caution() -> None:
    screened = study(
        {1.0: [0.6, 0.5, 0.4], 0.0: [0.3, 0.5, 0.7]},
        search='sampler = "tpe"\ntrials = 12\nscreening = { heads = 3, promote = 3 }',
    )
    (found,) = depth_agreements(screened, UNIT)
    assert found.sentence.endswith("most were promoted as the best heads, whose ranks agree less than those of all would")


def test_five_equal_orders_prove_little() -> None:
    (found,) = depth_agreements(study({1.0: [0.1, 0.2, 0.3, 0.4, 0.5], 0.0: [0.2, 0.3, 0.4, 0.5, 0.6]}), UNIT)
    assert found.correlation is not None
    assert found.correlation.low < 0.5
    assert found.correlation.high == pytest.approx(1.0)


def test_recipes_that_came_to_no_end_deeper_are_counted_and_not_passed_over() -> None:
    (found,) = depth_agreements(study({1.0: [0.9, 0.8, 0.7, 0.6], 0.0: [None, 0.5, 0.4, 0.3]}), UNIT)
    assert (found.num_pruned, found.num_failed, len(found.recipes)) == (1, 0, 3)
    assert found.sentence.startswith("of 4 recipes at freeze depths 1 and 0, 1 pruned at 0; 0 of 3 pairs change their order")


def test_where_all_promoted_recipes_fail_deeper_that_is_told() -> None:
    made = study({1.0: [0.9, 0.8, 0.7], 0.0: [None, None, None]})
    failed = replace(made.trials[3], state=TrialState.FAIL, value=None)
    (found,) = depth_agreements(replace(made, trials=[*made.trials[:3], failed, *made.trials[4:]]), UNIT)
    assert found.sentence == (
        "of 3 recipes at freeze depths 1 and 0, 2 pruned, 1 failed at 0; too few are left to compare their order"
    )


def test_lone_recipes_have_no_rank() -> None:
    assert not list(depth_agreements(study({1.0: [0.6, 0.5, 0.4], 0.0: [0.3, 0.4]}), UNIT))
    assert not list(depth_agreements(study({1.0: [0.6, 0.5, 0.4]}), UNIT))
    assert not list(depth_agreements(study({}), UNIT))
    assert not list(depth_agreements(evidence([trial(0, 0.5, {"head": "append"})]), UNIT))


def test_a_recipe_on_several_folds_counts_once_with_its_mean() -> None:
    values = {1.0: [0.5, 0.7, 0.4, 0.4, 0.1, 0.1], 0.0: [0.2, 0.2, 0.4, 0.4, 0.6, 0.6]}
    trials = [
        trial(
            len(values[depth]) * int(depth) + place,
            value,
            {"freeze_depth": depth, "dropout": place // 2 / 10, "fold": place % 2},
        )
        for depth, reached in values.items()
        for place, value in enumerate(reached)
    ]
    (found,) = depth_agreements(evidence(trials, definition(f"{SPACE}{FOLD}", "data.split.folds = 2")), UNIT)
    assert [round(head, 3) for _, head, _ in found.recipes] == [0.6, 0.4, 0.1]
    assert found.num_swapped == 3


def test_equal_values_have_no_correlation() -> None:
    (found,) = depth_agreements(study({1.0: [0.5] * 6, 0.0: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}), UNIT)
    assert found.correlation is None
    assert found.num_pairs == 0
    assert found.sentence == "of 6 recipes at freeze depths 1 and 0, no two differ at both"


def test_of_equal_heads_the_one_that_is_better_deeper_is_the_best() -> None:
    (found,) = depth_agreements(study({1.0: [0.6, 0.6, 0.4], 0.0: [0.5, 0.7, 0.3]}), UNIT)
    assert (found.num_swapped, found.num_pairs) == (0, 2)
    assert found.sentence.endswith("0 of 2 pairs change their order; the best at 1, trial 1, is number 1 at 0")


def test_a_comparison_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    found = compare([study({1.0: [0.6, 0.5, 0.4], 0.0: [0.3, 0.5, 0.7]})])
    print_comparison(comparison_of(found))
    printed = capsys.readouterr().out
    assert "ranks across freeze depths" in printed
    assert "1 and 0" in printed


def test_the_report_has_each_recipes_values_at_both_depths_and_misses_nothing_where_there_are_none() -> None:
    screened, plain = study({1.0: [0.4, 0.5, 0.6], 0.0: [0.3, 0.5, 0.7]}), study({1.0: [0.6, 0.5, 0.4]})
    section = depths_section(Material([screened], compare([screened]), ReportExtras()))
    assert section is not None
    (table,) = section.parts
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["2", "1", "0"]
    assert section.lead[0].startswith("Of 3 recipes at freeze depths 1 and 0, 0 of 3 pairs change their order")
    without = Material([plain], compare([plain]), ReportExtras())
    assert depths_section(without) is None
    assert "<li></li>" not in render(without)
