"""The tables `[search]` and `[search.*]` of a definition, and the limits of `[objective] constraints`."""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, Strict, model_validator

from study.errors import nearest
from study.trial import Plain

SamplerName = Literal["tpe", "random", "grid", "gp", "cmaes", "nsgaii", "qmc", "brute_force"]
EXHAUSTIVE = ("grid", "brute_force")  # every recipe once, in a seeded random order
NUM_WARM = 3  # recipes of each `warm_start` study that are tried; five found no more than three
ADAPTIVE = ("tpe", "gp", "cmaes", "nsgaii")  # these look at results before they propose
Quantity = Literal["parameters_m", "flops_g", "latency_ms"]
QUANTITIES: tuple[str, ...] = get_args(Quantity)
CONSTRAINT = re.compile(r"\s*(\w+)\s*(<=|>=)\s*(\S+)\s*")


class Constraint(Plain):
    """A limit that a recipe must keep to be a candidate: `parameters_m <= 30`."""

    quantity: Quantity
    is_upper: bool
    bound: float

    @property
    def text(self) -> str:
        """The constraint as it is written."""
        return f"{self.quantity} {'<=' if self.is_upper else '>='} {self.bound:g}"

    def violation(self, value: float) -> float:
        """By how much `value` breaks the limit, in the quantity's own unit; 0 or less where it keeps it."""
        return value - self.bound if self.is_upper else self.bound - value


def parse_constraint(text: str) -> Constraint:
    """`"parameters_m <= 30"` as a `Constraint`.

    Raises:
        ValueError: if it is not QUANTITY <= NUMBER or QUANTITY >= NUMBER.
    """
    match = CONSTRAINT.fullmatch(text)
    if match is None or not _is_number(match[3]):
        raise ValueError(
            f"a constraint must be a quantity, <= or >=, and a number, but is {text!r}. Write 'parameters_m <= 30'"
        )
    if match[1] not in QUANTITIES:
        raise ValueError(f"{match[1]!r} in the constraint {text!r} is no quantity. {nearest(match[1], QUANTITIES).rstrip('.')}")
    return Constraint.model_validate({"quantity": match[1], "is_upper": match[2] == "<=", "bound": float(match[3])})


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is not None


class Named(Plain):
    """One of Optuna's algorithms by name, its own options beside it; the name alone may stand for the table."""

    model_config = ConfigDict(extra="allow")

    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """The algorithm's own options."""
        return dict(self.model_extra or {})


class SamplerDefinition(Named):
    """Who proposes: Optuna's sampler by name."""

    name: SamplerName = "tpe"

    @property
    def is_exhaustive(self) -> bool:
        """Whether every recipe of the space is tried once."""
        return self.name in EXHAUSTIVE

    @property
    def is_adaptive(self) -> bool:
        """Whether its trials are no fair sample of the space: intervals of effects cover less than they say."""
        return self.name in ADAPTIVE


class PrunerDefinition(Named):
    """Who stops a trial early: Optuna's pruner by name."""

    name: str = "median"


class StopDefinition(Plain):
    """When a search ends before it has all its trials: at the first of these that holds."""

    hours: float | None = Field(default=None, gt=0, description="of running; an interruption does not count")
    gpu_hours: float | None = Field(default=None, gt=0, description="of all trials together; without a GPU, hours of trials")
    target: float | None = Field(default=None, description="a completed, feasible trial's objective that is good enough")
    patience: int | None = Field(default=None, ge=1, description="trials that ended since the best one")


class ScreeningDefinition(Plain):
    """Freeze depth as a fidelity: heads on cached features are nearly free, and tell which recipes to unfreeze first."""

    heads: int = Field(default=16, ge=2, description="trials at the deepest freeze depth of the space, before all others")
    promote: int = Field(default=4, ge=1, description="recipes of theirs that are tried next, at every other freeze depth")
    explore: float = Field(
        default=0.25, ge=0, le=1, description="share of the promoted that is drawn by lot and not by value: ranks may invert"
    )

    @property
    def num_by_lot(self) -> int:
        """How many of the promoted are drawn by lot: the last ones."""
        return round(self.promote * self.explore)


class SearchDefinition(Plain):
    """Who proposes, who stops early, and for how long."""

    sampler: SamplerDefinition = SamplerDefinition()
    trials: int | None = Field(default=None, ge=1, description="default: the grid's size for grid and brute_force, else 20")
    seed: int = Field(default=0, ge=0, lt=2**31)
    pruner: PrunerDefinition = PrunerDefinition()
    stop: StopDefinition = StopDefinition()
    enqueue: Annotated[tuple[dict[str, Any], ...], Strict(False)] = Field(
        default=(), description="points tried first: searched keys, the rest is sampled"
    )
    # Of these two the usual is left out of what a study's digest is made of: studies from before them keep theirs.
    baseline: bool = Field(
        default=True,
        exclude_if=lambda asked: asked is True,
        description="samplers that go by results try first what [trial] says of the searched keys",
    )
    screening: ScreeningDefinition | None = Field(
        default=None,
        exclude_if=lambda asked: asked is None,
        description="recipes are tried as heads first, and the best of them unfrozen",
    )
    warm_start: Annotated[tuple[str, ...], Strict(False)] = Field(
        default=(), description="studies in the same storage whose completed trials the sampler learns from"
    )

    @property
    def most_first(self) -> int:
        """Trials whose recipes are known before the sampler is asked, at most: points, baseline, those of earlier studies."""
        return len(self.enqueue) + (self.baseline and self.sampler.is_adaptive) + NUM_WARM * len(self.warm_start)
