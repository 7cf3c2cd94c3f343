"""The search space: which keys of `TrialConfig` are searched, over what, and under which condition.

"optimizer.lr"       = { low = 1e-5, high = 1e-1, log = true }
"optimizer.momentum" = { low = 0.8, high = 0.99, when = { "optimizer.name" = ["sgd"] } }
"""

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

from pydantic import Field, Strict, ValidationError, model_validator

from study.errors import DefinitionError, nearest
from study.trial import Plain, TrialConfig, dotted_fields, with_values
from study.validation import explain

Scalar = str | bool | int | float
Values = Annotated[tuple[Scalar, ...], Strict(False), Field(min_length=1)]
Condition = dict[str, Values]


class Choices(Plain):
    """One of a list of values."""

    choices: Values
    when: Condition = Field(default_factory=dict)

    @model_validator(mode="after")
    def _are_distinct(self) -> "Choices":
        if len(set(map(repr, self.choices))) < len(self.choices):
            raise ValueError(f"choices must differ from each other, but got {list(self.choices)}. Remove the repeated one")
        return self

    def grid(self) -> tuple[Scalar, ...]:
        """The values that a grid visits."""
        return self.choices

    def examples(self) -> tuple[Scalar, ...]:
        """Values that must each be valid for the whole to be."""
        return self.choices


class Range(Plain):
    """A number between two bounds, both included; integers where both bounds and the key are."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = Field(default=None, gt=0)
    when: Condition = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_ordered(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"`low < high` must hold, but got low={self.low}, high={self.high}. Swap or widen the bounds")
        if self.log and self.low <= 0:
            raise ValueError(f"`low > 0` must hold with log = true, but got low={self.low}. Raise low or remove log")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other. Remove one")
        return self

    @property
    def is_integer(self) -> bool:
        """Whether only whole numbers are proposed."""
        return isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(self.step, float)

    @property
    def is_endless(self) -> bool:
        """Whether a grid would never come to an end of the values."""
        return self.step is None and (self.log or not self.is_integer)

    def grid(self) -> tuple[Scalar, ...]:
        """The values that a grid visits."""
        step = self.step or 1
        num_steps = int((self.high - self.low) / step + 1e-9)
        return tuple(self.low + index * step for index in range(num_steps + 1))

    def examples(self) -> tuple[Scalar, ...]:
        """Values that must each be valid for the whole to be."""
        return (self.low, self.high)


Distribution = Choices | Range


class SearchSpace(Plain):
    """The searched keys, each after the keys that its condition asks about."""

    parameters: dict[str, Distribution]

    def __len__(self) -> int:
        return len(self.parameters)

    def items(self) -> Iterator[tuple[str, Distribution]]:
        """Dotted key and distribution, conditions first."""
        yield from self.parameters.items()

    def is_active(self, key: str, values: Mapping[str, Any]) -> bool:
        """Whether `key` is searched, given the values of the keys before it (fixed ones included)."""
        return all(values.get(other) in allowed for other, allowed in self.parameters[key].when.items())

    def combinations(self, fixed: Mapping[str, Any]) -> Iterator[dict[str, Scalar]]:
        """Every recipe of the grid, conditions respected: values of the searched keys only.

        Args:
            fixed: values of the keys that are not searched, which conditions may ask about.
        """
        yield from self._combine(list(self.parameters), dict(fixed), {})

    def _combine(self, keys: list[str], values: dict[str, Any], chosen: dict[str, Scalar]) -> Iterator[dict[str, Scalar]]:
        if not keys:
            yield chosen
            return
        key, rest = keys[0], keys[1:]
        if not self.is_active(key, values):
            yield from self._combine(rest, values, chosen)
            return
        for value in self.parameters[key].grid():
            yield from self._combine(rest, values | {key: value}, chosen | {key: value})


def parse_space(table: Mapping[str, Any], fixed: TrialConfig, where: str) -> SearchSpace:
    """The search space that a `[space]` table describes, checked key by key against `TrialConfig`.

    Args:
        table: dotted keys, or nested tables.
        fixed: the values of `[trial]`, which hold where a key is not searched.
        where: the file, for messages.
    Raises:
        DefinitionError: for an unknown key, a wrong value or bound, or a condition that can never hold.
    """
    known = dotted_fields(TrialConfig)
    parameters: dict[str, Distribution] = {}
    for key, raw in _leaves(table):
        if key not in known:
            raise DefinitionError(f"`{key}` in {where} [space] is no key of a trial. {nearest(key, known)}")
        parameters[key] = _parse_distribution(key, raw, fixed, where)
    for key in parameters:
        _check_condition(key, parameters, known, where)
    return SearchSpace(parameters=_conditions_first(parameters, where))


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and description of each parameter. A table whose values are all tables is a group (`[space.optimizer]`)."""
    for name, value in table.items():
        is_group = isinstance(value, Mapping) and value and all(isinstance(inner, Mapping) for inner in value.values())
        if is_group and not value.keys() & {"choices", "low", "high", "when"}:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _parse_distribution(key: str, raw: Any, fixed: TrialConfig, where: str) -> Distribution:
    if not isinstance(raw, Mapping):
        raise DefinitionError(
            f"a searched key must be {{ choices = [...] }} or {{ low = ..., high = ... }}, but `{key}` is {raw!r} in {where} "
            f"[space]. Move a fixed value to [trial]."
        )
    model: type[Distribution] = Range if raw.keys() & {"low", "high"} else Choices
    try:
        distribution = model.model_validate(dict(raw))
    except ValidationError as error:
        raise explain(error, model, f"{where} [space]", prefix=f"{key}.") from None
    for value in distribution.examples():
        try:
            with_values(fixed, {key: value})
        except ValidationError as error:
            raise explain(error, TrialConfig, f"{where} [space] `{key}`") from None
    if isinstance(distribution, Range) and _is_float(key) and distribution.is_integer:
        distribution = distribution.model_copy(update={"low": float(distribution.low), "high": float(distribution.high)})
    return distribution


def _is_float(key: str) -> bool:
    """Whether the field takes fractions, so that `{ low = 0, high = 1 }` is not just the two ends."""
    try:
        with_values(TrialConfig(), {key: 0.5})
    except ValidationError:
        return False
    return True


def _check_condition(key: str, parameters: Mapping[str, Distribution], known: Mapping[str, Any], where: str) -> None:
    for other, allowed in parameters[key].when.items():
        if other not in known:
            raise DefinitionError(
                f"the condition of `{key}` in {where} [space] names `{other}`, which is no key of a trial. "
                f"{nearest(other, known)}"
            )
        searched = parameters.get(other)
        if isinstance(searched, Choices) and not set(allowed) & set(searched.choices):
            raise DefinitionError(
                f"the condition of `{key}` in {where} [space] can never hold: `{other}` is searched over "
                f"{list(searched.choices)}, the condition asks for {list(allowed)}. Use one of its choices."
            )
        if isinstance(searched, Range):
            raise DefinitionError(
                f"a condition must be on a key with choices, but `{key}` in {where} [space] depends on the range `{other}`. "
                f"Give `{other}` choices, or remove the condition."
            )


def _conditions_first(parameters: Mapping[str, Distribution], where: str) -> dict[str, Distribution]:
    graph = {key: [other for other in distribution.when if other in parameters] for key, distribution in parameters.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise DefinitionError(
            f"conditions must not go in a circle, but {' → '.join(error.args[1])} do in {where} [space]. Remove one `when`."
        ) from None
    return {key: parameters[key] for key in order}
