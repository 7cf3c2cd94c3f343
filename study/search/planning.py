"""Which plan a search follows before, beside or instead of its sampler."""

from collections.abc import Sequence

from study.definition import StudyDefinition
from study.search.first_points import Plan, Point
from study.search.pruners import build_pruner, most_epochs
from study.search.race import Race
from study.search.ranking import is_repeated
from study.search.screening import Screening


def plan_of(definition: StudyDefinition, points: Sequence[Point]) -> Plan:
    """What is tried first: heads where the definition screens them; a race where it has the Wilcoxon pruner over repetitions
    that are all planned.

    Args:
        points: that are tried first, in their order.
    """
    if definition.search.screening is not None:
        return Screening(points, definition)
    if definition.search.pruner.name != "wilcoxon" or not is_repeated(definition) or len(points) < definition.num_trials:
        return Plan(points)
    pruner = build_pruner(definition.search.pruner, most_epochs(definition))
    return Race(points[: definition.num_trials], pruner, definition.objective.is_maximized)
