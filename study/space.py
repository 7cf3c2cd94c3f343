"""The search space: which keys of `TrialConfig` are searched, over what, and under which condition.

"optimizer.lr"       = { low = 1e-5, high = 1e-1, log = true }
"optimizer.momentum" = { low = 0.8, high = 0.99, when = { "optimizer.name" = ["sgd"] } }
"""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

from pydantic import Field, Strict, ValidationError, model_validator

from study.errors import DefinitionError, nearest
from study.trial import Plain, TrialConfig, dotted_fields, flatten, with_values
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

    def fit(self, value: Any) -> Scalar | None:
        """The choice that `value` is (1 is 1.0, but no truth value); None where it is none of them."""
        is_truth = isinstance(value, bool)
        return next((choice for choice in self.choices if choice == value and isinstance(choice, bool) == is_truth), None)

    @property
    def rule(self) -> str:
        """What a value must be, for messages."""
        return f"one of {', '.join(map(str, self.choices))}"


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

    def fit(self, value: Any) -> Scalar | None:
        """`value` in the range's own type; None where it lies outside or between two steps."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return None
        if self.is_integer and value != int(value):
            return None
        steps = (value - self.low) / (self.step or 1)
        if (self.step or self.is_integer) and abs(steps - round(steps)) > 1e-9:
            return None
        return int(value) if self.is_integer else float(value)

    @property
    def rule(self) -> str:
        """What a value must be, for messages."""
        kind = "a whole number" if self.is_integer else "a number"
        return f"{kind} from {self.low} to {self.high}" + (f" in steps of {self.step}" if self.step else "")


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


def check_points(
    points: Sequence[Mapping[str, Any]], space: SearchSpace, fixed: Mapping[str, Any], where: str
) -> tuple[dict[str, Scalar], ...]:
    """Points to try first, by dotted keys and in the types of the space. A point may leave keys to the sampler.

    Args:
        points: searched keys, dotted or nested.
        fixed: values of the keys that are not searched, by dotted keys.
        where: the file, for messages.
    Raises:
        DefinitionError: for a key that is not searched, a value outside the space, or a condition that does not hold.
    """
    return tuple(
        _check_point(flatten(point), space, fixed, f"{where} [[search.enqueue]] {number}")
        for number, point in enumerate(points, start=1)
    )


def _check_point(point: Mapping[str, Any], space: SearchSpace, fixed: Mapping[str, Any], where: str) -> dict[str, Scalar]:
    values, checked = dict(fixed), dict[str, Scalar]()
    for key in point.keys() - space.parameters.keys():
        raise DefinitionError(f"`{key}` in {where} is no searched key. {nearest(key, space.parameters)}")
    for key, distribution in space.items():
        if key not in point:
            values.pop(key, None)  # the sampler's: what [trial] says of a searched key never holds
            continue
        unmet = [other for other, allowed in distribution.when.items() if values.get(other) not in allowed]
        if unmet:
            asked = ", ".join(map(str, distribution.when[unmet[0]]))
            raise DefinitionError(
                f"`{key}` is searched only where `{unmet[0]}` is {asked}, but in {where} it is "
                f"{values.get(unmet[0], 'not given')}. Give `{unmet[0]}` one of these values, or remove `{key}`."
            )
        fitting = distribution.fit(point[key])
        if fitting is None:
            raise DefinitionError(
                f"`{key}` must be {distribution.rule}, but is {point[key]!r} in {where}. {_hint(point[key], distribution)}"
            )
        values[key] = checked[key] = fitting
    return checked


def _hint(value: Any, distribution: Distribution) -> str:
    if isinstance(distribution, Choices) and isinstance(value, str):
        return nearest(value, map(str, distribution.choices))
    return "Change the value, or widen the space."


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
