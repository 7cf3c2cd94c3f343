"""What each section says of a study whose truth is known."""

import math
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from study.analysis.comparison import compare
from study.analysis.evidence import StudyEvidence
from study.analysis.findings import Comparison, RankedTrial
from study.analysis.report.charts import is_logarithmic
from study.analysis.report.extras import CalibrationBin, Confusion, ReportExtras, ToldNumbers
from study.analysis.report.material import Material
from study.analysis.report.parts import Bars, HeatTable, IntervalPlot, Section, Table
from study.analysis.report.sections.answer import answer
from study.analysis.report.sections.calibration import calibration_error
from study.analysis.report.sections.confirmed import confirmed_section
from study.analysis.report.sections.confusion import confusion_section
from study.analysis.report.sections.cost import cost_section
from study.analysis.report.sections.curves import curves_section
from study.analysis.report.sections.data_card import data_section
from study.analysis.report.sections.effects import effects_section
from study.analysis.report.sections.numbers import numbers_section
from study.analysis.report.sections.parallel import parallel_section
from study.analysis.report.sections.plan import plan_section, reproduction_section
from study.analysis.report.sections.trials import history_section, leaderboard_section
from study.trial import TrialState
from tests.analysis_examples import compared, extras_example, study_example, with_trials


@pytest.fixture(scope="module")
def study() -> StudyEvidence:
    return study_example()


@pytest.fixture(scope="module")
def comparison(study: StudyEvidence) -> Comparison:
    return compared(study)


@pytest.fixture(scope="module")
def material(study: StudyEvidence, comparison: Comparison) -> Material:
    return Material([study], comparison, extras_example())


def known(section: Section | None) -> Any:
    assert section is not None
    return section


def first_of(section: Section | None) -> Any:
    return known(section).parts[0]


def part_of(section: Section | None, kind: type[Any]) -> Any:
    return next(part for part in known(section).parts if isinstance(part, kind))


def test_factors_that_moved_the_objective_come_before_those_of_mere_importance(
    study: StudyEvidence, comparison: Comparison
) -> None:
    flat = [replace(one, is_shown=False) for one in comparison.effects[0].contrasts]
    leading = replace(comparison.effects[0], importance=0.99, contrasts=flat)
    changed = replace(comparison, effects=[leading, *comparison.effects[1:]])
    groups = part_of(effects_section(Material([study], changed, ReportExtras())), IntervalPlot).groups
    names = [group.title for group in groups]
    assert names.index("imbalance") < names.index("backbone") < names.index("head")


def test_importance_is_drawn_only_where_the_best_tenth_is_more_than_a_handful(material: Material) -> None:
    study = study_example(200)
    many = Material([study], compared(study), ReportExtras())
    shares = {len(one.trials): part_of(effects_section(one), IntervalPlot).groups[0].share for one in (material, many)}
    assert shares[24] is None
    assert shares[200] == pytest.approx(100 * (many.effects[0].importance or 0), abs=0.1)
    assert "told with the numbers only" in known(effects_section(material)).lead[2]


def test_an_interval_lies_on_the_scale_where_its_figures_say(material: Material) -> None:
    plot = part_of(effects_section(material), IntervalPlot)
    (left, low), (right, high) = plot.ticks[0], plot.ticks[-1]
    assert (left, right) == (0, 100)
    best = plot.groups[0].rows[0]
    value = material.effects[0].levels[0].marginal.value * 100
    assert best.is_best
    assert float(low) + best.middle / 100 * (float(high) - float(low)) == pytest.approx(value, abs=0.01)
    assert best.low < best.middle < best.high


def test_a_shares_scale_ends_where_shares_end(study: StudyEvidence, comparison: Comparison) -> None:
    first = comparison.effects[0]
    wide = replace(first.levels[0], marginal=replace(first.levels[0].marginal, low=-0.139, high=1.2))
    changed = replace(comparison, effects=[replace(first, levels=[wide, *first.levels[1:]]), *comparison.effects[1:]])
    plot = part_of(effects_section(Material([study], changed, ReportExtras())), IntervalPlot)
    assert (plot.ticks[0][1], plot.ticks[-1][1]) == ("0", "100")
    row = plot.groups[0].rows[0]
    assert (row.low, row.high) == (0, 100)
    assert "(−13.9 to 120.0)" in row.text


def test_recipes_in_pairs_have_a_line_at_no_difference(material: Material) -> None:
    plots = [part for part in known(confirmed_section(material)).parts if isinstance(part, IntervalPlot)]
    assert [plot.zero is None for plot in plots] == [True, False]
    differences = plots[1]
    assert differences.zero == next(place for place, label in differences.ticks if label == "0")


def test_only_what_tells_recipes_apart_is_a_column(material: Material) -> None:
    table = part_of(confirmed_section(material), Table)
    for place, column in enumerate(table.columns[1:], start=1):
        if column.name in material.keys:
            assert len({row[place] for row in table.rows}) > 1


def test_the_leaderboard_has_every_trial_and_every_searched_key(study: StudyEvidence, material: Material) -> None:
    table = part_of(leaderboard_section(material), Table)
    assert len(table.rows) == len(study.trials)
    assert set(material.keys) <= {column.name for column in table.columns}
    assert {len(row) for row in table.rows} == {len(table.columns)}


def test_trials_on_other_photos_are_ranked_apart_and_none_is_the_best_of_all(study: StudyEvidence) -> None:
    other = replace(study, name="hats", data_digest="other", trials=[replace(one, study="hats") for one in study.trials])
    both = [replace(one, repetitions=()) for one in (study, other)]
    found = Material(both, compare(both), ReportExtras())
    section = known(leaderboard_section(found))
    assert "do not compare" in section.lead[1]
    assert [row[0] for row in section.parts[0].rows] == [str(place) for _ in both for place in range(1, len(study.trials) + 1)]
    assert answer(found).recommendation is None
    assert answer(replace(found, comparison=compare(both[:1]), evidence=both[:1])).recommendation is not None


def test_the_history_tells_complete_pruned_and_failed_apart(material: Material) -> None:
    made = first_of(history_section(material))
    states = [trial.state for trial in material.trials]
    for state, word in ((TrialState.COMPLETE, "complete"), (TrialState.PRUNED, "pruned"), (TrialState.FAIL, "failed")):
        assert f"{word} ({states.count(state)})" in made.wide
    assert all(f"var(--{colour})" in made.wide for colour in ("blue", "orange", "red"))
    best = max(trial.value or 0.0 for trial in material.trials if trial.state is TrialState.COMPLETE)
    assert f"{100 * best:.1f}" in made.finding


def test_a_losss_history_rises_no_higher_than_its_best(study: StudyEvidence, comparison: Comparison) -> None:
    minimized = replace(comparison, objective="val_loss", is_maximized=False)
    best = min(trial.value for trial in study.trials if trial.state is TrialState.COMPLETE and trial.value is not None)
    made = known(history_section(Material([study], minimized, ReportExtras()))).parts[0]
    assert f"The best, {best:.3g}," in made.finding


def test_a_logarithmic_axis_writes_its_numbers_out(study: StudyEvidence, comparison: Comparison) -> None:
    trials = [replace(one, value=None if one.value is None else 10 ** (6 * one.value)) for one in study.trials]
    minimized = replace(comparison, objective="val_loss", is_maximized=False)
    made = known(history_section(Material([with_trials(study, trials)], minimized, ReportExtras()))).parts[0]
    assert "mathdefault" not in made.wide
    assert ">5,000</text>" in made.wide


def test_curves_are_grouped_by_the_factor_that_moved_the_objective_most(material: Material) -> None:
    made = first_of(curves_section(material))
    assert made.title.endswith(f"by {material.effects[0].factor}")
    rows = {(row[0], row[1]): row for row in made.data.rows}
    level = material.effects[0].levels[0].name
    curves = [trial.curve for trial in material.trials if trial.searched[material.effects[0].factor] == level and trial.curve]
    first = sorted(curve[0] for curve in curves)
    median = (first[(len(first) - 1) // 2] + first[len(first) // 2]) / 2
    assert rows[level, "1"][3] == material.quality.text(median)
    assert rows[level, "1"][2] == str(len(curves))


def test_numbers_are_grouped_into_ranges_of_equal_count(study: StudyEvidence, comparison: Comparison) -> None:
    only_lr = [replace(one, searched={"optimizer.lr": one.searched["optimizer.lr"]}) for one in study.trials]
    made = known(curves_section(Material([with_trials(study, only_lr)], comparison, ReportExtras()))).parts[0]
    counts = [int(row[2]) for row in made.data.rows if row[1] == "1"]
    assert len(counts) == 3
    assert max(counts) - min(counts) <= 1


def test_parallel_coordinates_say_what_the_best_recipes_share(study: StudyEvidence, comparison: Comparison) -> None:
    trials = [replace(one, value=0.9 if one.searched["head"] == "append" else 0.1) for one in study.trials if one.value]
    made = known(parallel_section(Material([with_trials(study, trials)], comparison, ReportExtras()))).parts[0]
    assert "head append" in made.finding
    shares = {row[1]: row[3] for row in made.data.rows if row[0] == "head"}
    assert shares["replace"].startswith("0")


def test_the_most_frequent_mistakes_are_told_in_words() -> None:
    confusion = Confusion(("cat", "dog", "eel"), ((50, 0, 0), (9, 30, 1), (0, 2, 0)), "the model, validation split")
    section = known(confusion_section(_about(confusion)))
    assert first_of(section).items[:2] == [
        "dog called cat: 9 of 40 (22\N{NO-BREAK SPACE}%)",
        "eel called dog: 2 of 2 (100\N{NO-BREAK SPACE}%)",
    ]
    assert "80 of 92" in section.lead[1]
    classes = part_of(section, Table)
    assert [row[0] for row in classes.rows] == ["eel", "dog", "cat"]
    assert classes.rows[1][2:5] == ("75\N{NO-BREAK SPACE}% (60 to 86)", "94\N{NO-BREAK SPACE}%", "0.83")


def test_a_class_without_an_example_divides_by_nothing() -> None:
    section = known(confusion_section(_about(Confusion(("cat", "dog"), ((5, 1), (0, 0))))))
    heat = part_of(section, HeatTable)
    assert [cell.strength for cell in heat.rows[1]] == [0, 0]
    assert [cell.strength for cell in heat.rows[0]] == [8, 2]


def test_four_hundred_classes_have_a_line_each_and_no_table_of_their_square() -> None:
    counts = np.diag(np.full(400, 9))
    counts[7, 3] = 2
    names = tuple(f"class {place}" for place in range(400))
    section = known(confusion_section(_about(Confusion(names, counts.tolist()))))
    assert not [part for part in section.parts if isinstance(part, HeatTable)]
    assert len(part_of(section, Table).rows) == 400
    assert first_of(section).items[0].startswith("class 7 called class 3: 2 of 11")
    assert "no matrix is drawn" in section.lead[-1]


def test_an_empty_confusion_is_left_out() -> None:
    assert confusion_section(_about(Confusion(("cat", "dog"), ((0, 0), (0, 0))))) is None


def _about(confusion: Confusion) -> Material:
    study = study_example()
    return Material([study], compared(study), ReportExtras(confusion=confusion))


def test_a_trial_is_on_the_front_where_no_cheaper_one_is_as_good(study: StudyEvidence, comparison: Comparison) -> None:
    def ranked(number: int, value: float, cost: float) -> RankedTrial:
        return RankedTrial("clothing", number, None, "COMPLETE", value, 12, {}, {"latency_ms": cost, "parameters_m": 1.0})

    board = [ranked(0, 0.9, 9), ranked(1, 0.8, 2), ranked(2, 0.8, 3), ranked(3, 0.7, 1), ranked(4, 0.6, 5)]
    section = known(cost_section(Material([study], replace(comparison, leaderboard=board), ReportExtras())))
    front = first_of(section).data.rows
    assert [row[1] for row in front] == ["3", "1", "0"]
    assert "All recipes have the same parameters: 1 million." in section.lead


def numbers(true: list[float], told: list[float], **changes: Any) -> Section | None:
    extras = ReportExtras(numbers=ToldNumbers("price", true, told, **changes))
    return numbers_section(Material([], compared(study_example()), extras))


def test_errors_of_numbers_are_told_in_the_targets_unit_beside_those_of_the_median() -> None:
    section = known(numbers([1.0, 2.0, 3.0, 4.0, 100.0], [1.5, 2.0, 3.0, 4.5, 60.0]))
    made = section.parts[0]
    assert made.finding == (
        "On average the model is off by 8.2 (mean absolute error, 5 examples); half of its numbers are off by 0.5 or less. "
        "Always telling the median, 3, is off by 20.2."
    )
    assert [row[2:] for row in made.data.rows] == [("0.5", "0.5"), ("0", "0"), ("0", "0"), ("0.5", "0.5"), ("40", "-40")]


def test_a_learned_logarithm_is_drawn_on_logarithmic_axes() -> None:
    """From 1 to 10,000 the decades are as far apart as each other."""
    true = [1.0, 10.0, 100.0, 1000.0, 10_000.0]
    spreads = []
    for is_log in (True, False):
        marks = known(numbers(true, true, is_log=is_log)).parts[0].wide
        places = [
            float(place) for place in re.findall(r'<use [^>]*x="([\d.]+)" y="[\d.]+" style="[^"]*stroke: var\(--blue', marks)
        ]
        spreads.append(max(pairwise_gaps(places)) / min(pairwise_gaps(places)))
    assert spreads[0] == pytest.approx(1.0, abs=0.01)
    assert spreads[1] > 100


def pairwise_gaps(places: list[float]) -> list[float]:
    assert len(places) == 5
    return [second - first for first, second in pairwise(places)]


def test_of_many_numbers_a_thousand_are_drawn_and_it_is_said() -> None:
    section = known(numbers([float(place) for place in range(5000)], [1.0] * 5000))
    assert "1,000 of 5,000 examples are drawn" in section.lead[-1]
    assert len(section.parts[0].wide) < 400_000


@pytest.mark.parametrize(("true", "told"), [([], []), ([2.0], [2.0]), ([0.0, 0.0], [0.0, 0.0]), ([-1.0, 5.0], [math.inf, 3.0])])
def test_few_equal_or_endless_numbers_have_a_figure_or_none(true: list[float], told: list[float]) -> None:
    assert (numbers(true, told) is None) == (not true)


def test_the_data_card_accounts_for_every_photo(material: Material) -> None:
    section = known(data_section(material))
    bars = part_of(section, Bars)
    assert max(sum(width for _, width in bar.pieces) for bar in bars.bars) == pytest.approx(100, abs=0.1)
    assert "5 were left out" in section.lead[0]
    left_out = part_of(section, Table)
    assert [row[:2] for row in left_out.rows] == [("dropped: copies of held-out photos", "3"), ("quarantined: truncated", "2")]


def test_the_plan_and_the_way_to_do_it_again_are_the_definitions(study: StudyEvidence, material: Material) -> None:
    space = part_of(plan_section(material), Table)
    assert ("optimizer.momentum", "0.8 to 0.99", "optimizer.name is sgd") in space.rows
    parts: list[Any] = list(reproduction_section(material).parts)
    assert parts[0].text.splitlines() == ["study check clothing.toml", "study run clothing.toml", "study compare clothing"]
    assert parts[-1].text == study.definition.text
    facts = dict(parts[1].rows)
    assert facts["definition's digest"] == study.definition.digest
    assert facts["git commit"].startswith("0123")


def test_calibration_errors_are_weighted_by_the_number_of_answers() -> None:
    assert calibration_error([CalibrationBin(0.9, 0.8, 30), CalibrationBin(0.5, 0.7, 10)]) == pytest.approx(0.125)


@pytest.mark.parametrize(("values", "expected"), [([], False), ([1.0, 31.0], True), ([1.0, 29.0], False), ([0.0, 99.0], False)])
def test_only_positive_numbers_that_lie_far_apart_are_drawn_on_a_logarithmic_axis(values: list[float], expected: bool) -> None:
    assert is_logarithmic(values) is expected
