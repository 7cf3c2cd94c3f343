"""Searched keys whose values cannot all be together: refused before the study begins, and not by its ninth trial."""

from collections.abc import Sequence
from itertools import combinations, product

from pydantic import ValidationError

from study.errors import DefinitionError
from study.space import Choices, Distribution, Scalar, SearchSpace
from study.trial import TrialConfig, flatten, with_values
from study.validation import explain

MOST_VALUES = 6  # of each key: pairs of a dozen keys are tried in a few hundredths of a second


def check_pairs(space: SearchSpace, fixed: TrialConfig, where: str) -> None:
    """Returns if any two searched keys can have any of their values together, their conditions respected.

    Args:
        fixed: what [trial] says; each value of each key goes with it.
        where: the file, for messages.
    Raises:
        DefinitionError: for two values that a rule of `TrialConfig` keeps apart, with the condition that would.
    """
    known = flatten(fixed.model_dump())
    for (first, one), (second, other) in combinations(space.items(), 2):
        for values in product(_examples(one), _examples(other)):
            pair = dict(zip((first, second), values, strict=True))
            if not (_may_be(one, pair, known, space) and _may_be(other, pair, known, space)):
                continue
            try:
                with_values(fixed, pair)
            except ValidationError as error:
                mistake = str(explain(error, TrialConfig, f"{where} [space]"))
                raise DefinitionError(
                    f"`{first}` = {values[0]!r} and `{second}` = {values[1]!r} cannot be in one trial: {mistake.rstrip('.')}. "
                    f"Remove one of the values, or give a key a condition (`when`)."
                ) from None


def _examples(distribution: Distribution) -> Sequence[Scalar]:
    """The ends of a range; of many choices some, the first and the last among them."""
    values = distribution.examples()
    if isinstance(distribution, Choices) and len(values) > MOST_VALUES:
        return (*values[: MOST_VALUES - 1], values[-1])
    return values


def _may_be(distribution: Distribution, pair: dict[str, Scalar], known: dict[str, object], space: SearchSpace) -> bool:
    """Whether the key can be searched beside these values: where a third searched key decides, it can."""
    return all(
        pair[key] in allowed if key in pair else key in space.parameters or known.get(key) in allowed
        for key, allowed in distribution.when.items()
    )
