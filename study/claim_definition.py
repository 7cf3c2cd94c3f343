"""The tables `[[claims]]` of a definition: what somebody said of the question before, to be set beside what is found."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from study.errors import nearest
from study.space import Distribution
from study.trial import Plain

Level = str | bool | int | float


class Claim(Plain):
    """One statement, in words and as far as figures can judge it.

    Of a factor: `better` beats `worse`, or all `alike` differ by less than `margin`; a factor alone leaves the better one open.
    Without a factor: the objective reaches `figure` on the test split, less `margin` at most. Neither: words only.
    """

    text: str = Field(min_length=1)
    source: str = Field(default="the paper", min_length=1, description="who says so")
    factor: str | None = Field(default=None, description="a key of [space]")
    better: Level | None = None
    worse: Level | None = None
    alike: Annotated[tuple[Level, ...], Strict(False)] = Field(default=(), description="levels that do not differ")
    figure: float | None = Field(default=None, description="the value that was told; of `better` where there is one")
    figure_worse: float | None = Field(default=None, description="the value that was told of `worse`")
    margin: float = Field(default=0.05, gt=0, description="a difference of the objective that is still none")

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.better is None) != (self.worse is None):
            raise ValueError("`better` and `worse` must come together, but one of them is missing. Name both levels")
        if self.alike and self.better is not None:
            raise ValueError("levels must be `alike` or `better` and `worse`, but both are given. Keep one")
        if len(self.alike) == 1:
            raise ValueError(f"`alike` must name 2 levels or more, but names {self.alike[0]!r} only. Add another")
        if self.factor is None and self.levels:
            raise ValueError("levels need their `factor`, but there is none. Name the key of [space]")
        if self.figure_worse is not None and self.worse is None:
            raise ValueError("`figure_worse` needs `worse`, but there is none. Name the level, or remove it")
        return self

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels that it speaks of."""
        return self.alike if self.better is None or self.worse is None else (self.better, self.worse)


def check_claims(claims: tuple[Claim, ...], space: Mapping[str, Distribution]) -> str | None:
    """What is wrong with the first claim that speaks of what is not searched; None if all can be judged."""
    for number, claim in enumerate(claims, start=1):
        if claim.factor is None:
            continue
        if claim.factor not in space:
            hint = nearest(claim.factor, space.keys())
            return f"`factor` of claim {number} must be a key of [space], but is {claim.factor!r}. {hint}"
        unknown = [level for level in claim.levels if space[claim.factor].fit(level) is None]
        if unknown:
            return (
                f"a level of claim {number} must be searched in [space], but {claim.factor!r} never is {unknown[0]!r}. "
                f"Name one of its values."
            )
    return None
