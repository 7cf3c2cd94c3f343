"""The freeze depths that a study compares, and whether it can try recipes as heads first (`[search.screening]`)."""

from collections.abc import Sequence

from study.search_definition import ADAPTIVE, SearchDefinition
from study.space import Choices, Range, SearchSpace
from study.trial import REPETITION_KEYS

DEPTH = "freeze_depth"


def depths_of(distribution: Choices | Range) -> Sequence[float]:
    """The depths that are compared, the deepest first: each choice; of a range both ends and the middle."""
    if isinstance(distribution, Range) and distribution.is_endless:
        return (float(distribution.high), (distribution.low + distribution.high) / 2, float(distribution.low))
    depths = sorted((float(value) for value in distribution.grid()), reverse=True)
    return [depths[0], depths[len(depths) // 2], depths[-1]] if isinstance(distribution, Range) and len(depths) > 2 else depths


def check_screening(search: SearchDefinition, space: SearchSpace, num_trials: int, *, has_cost: bool) -> str | None:
    """What keeps heads from being screened in this study; None if nothing does.

    Args:
        num_trials: of the whole search.
        has_cost: whether a second objective is minimised.
    """
    if (asked := search.screening) is None:
        return None
    searched = space.parameters.get(DEPTH)
    if searched is None or len(depths_of(searched)) < 2:
        return (
            f"heads are tried before deeper trials, so `{DEPTH}` must be searched, but [space] has no two values of it. "
            f"Add `{DEPTH} = {{ choices = [1.0, 0.5, 0.0] }}` there, or remove the table"
        )
    if searched.when:
        return f"`{DEPTH}` must be searched in every trial, but has a condition in [space]. Remove its `when`, or the table"
    repeated = [key for key in REPETITION_KEYS if key in space.parameters]
    if repeated:
        return (
            f"heads are compared by one value each, so `{repeated[0]}` must not be searched beside them, but is in [space]. "
            f"Remove it there: [confirm] repeats the best recipes on every fold, with fresh seeds"
        )
    if not search.sampler.is_adaptive:
        return (
            f"the sampler must be one that goes by results, {', '.join(ADAPTIVE)}, but is {search.sampler.name!r}, whose "
            f"trials are a fair sample of the space. Use 'tpe', or remove the table"
        )
    if has_cost:
        return "the best heads are those of a single objective, but there is `objective.cost`. Remove it, or the table"
    if asked.promote > asked.heads:
        return f"`promote` must be at most `heads`, {asked.heads}, but is {asked.promote}. Lower it"
    num_first, num_others = search.most_first, len(depths_of(searched)) - 1
    num_needed = num_first + asked.heads + asked.promote * num_others + 1
    if num_needed > num_trials:
        return (
            f"there must be trials for what is tried first, {num_first}, {asked.heads} heads, {asked.promote} recipes at "
            f"{num_others} other depths and one that the sampler chooses, {num_needed}, but `search.trials` is {num_trials}. "
            f"Raise it to {num_needed} or more, or lower `heads` or `promote`"
        )
    return None
