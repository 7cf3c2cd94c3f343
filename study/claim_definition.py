"""The tables `[[claims]]` of a definition: what somebody said of the question before, to be set beside what is found."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from study.confirm_definition import Alteration
from study.errors import nearest
from study.space import Distribution
from study.trial import Plain

Level = str | bool | int | float


class Claim(Plain):
    """One statement, in words and as far as figures can judge it.

    Of a factor: `better` beats `worse`, or all `alike` differ by less than `margin`; a factor alone leaves the better one open.
    Without a factor: the objective reaches `figure` on the test split, less `margin` at most; or, with `altered`, it loses more
    than `margin` on such copies of the test photos (`loses = false`: less); or, with `against`, it is better on the test split
    than that of another study of the suite. None of these: words only.
    """

    text: str = Field(min_length=1)
    source: str = Field(default="the paper", min_length=1, description="who says so")
    factor: str | None = Field(default=None, description="a key of [space]")
    better: Level | None = None
    worse: Level | None = None
    alike: Annotated[tuple[Level, ...], Strict(False)] = Field(default=(), description="levels that do not differ")
    figure: float | None = Field(default=None, description="the value that was told; of `better` where there is one")
    figure_worse: float | None = Field(default=None, description="the value that was told of `worse`")
    altered: Alteration | None = Field(default=None, description="of confirm.altered_tests: the claim is of these copies")
    against: str | None = Field(
        default=None,
        min_length=1,
        description="name of another study of the suite, which this one is to beat on the test split",
    )
    loses: bool = Field(default=True, description="altered only: whether more than `margin` is lost")
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
        if self.altered is not None and (self.factor is not None or self.figure is not None):
            raise ValueError("`altered` is a claim of its own, but there is a factor or a figure as well. Make it two claims")
        if self.against is not None and (self.altered is not None or self.factor is not None or self.figure is not None):
            raise ValueError(
                "`against` is a claim of its own, but there is a factor, a figure or `altered`. Make it two claims"
            )
        if "loses" in self.model_fields_set and self.altered is None:
            raise ValueError("`loses` needs `altered`, but there is none. Name the altered copies")
        if self.figure_worse is not None and self.worse is None:
            raise ValueError("`figure_worse` needs `worse`, but there is none. Name the level, or remove it")
        return self

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels that it speaks of."""
        return self.alike if self.better is None or self.worse is None else (self.better, self.worse)


def check_claims(
    claims: tuple[Claim, ...], space: Mapping[str, Distribution], altered_tests: tuple[Alteration, ...] = ()
) -> str | None:
    """What is wrong with the first claim that speaks of what is not searched, or not measured; None if all can be judged."""
    for number, claim in enumerate(claims, start=1):
        if claim.altered is not None and claim.altered not in altered_tests:
            return (
                f"`altered` of claim {number} must be measured, but {claim.altered!r} is none of `confirm.altered_tests`. "
                f"Add it there."
            )
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
