"""The `[confirm]` part of a definition: how often the best recipes are repeated, and what their test photos are made into."""

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from study.trial import Plain

Alteration = Literal["greyscale", "hue_shift"]  # what is done to copies of the test photos (study/training/alterations.py)


class ConfirmDefinition(Plain):
    """After the search: the best recipes again with fresh seeds; then the test split is read, once."""

    top: int = Field(default=3, ge=1)
    seeds: int = Field(default=5, ge=2)
    altered_tests: Annotated[tuple[Alteration, ...], Strict(False)] = Field(
        default=(), description="the test photos also without colour | in opposite colours: does the answer hang on them?"
    )

    @model_validator(mode="after")
    def _are_distinct(self) -> Self:
        repeated = next((name for name in self.altered_tests if self.altered_tests.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(f"`altered_tests` must name each once, but has {repeated!r} twice. Remove one")
        return self


def prefix_of(altered: Alteration | None = None) -> str:
    """What the names of metrics on the test split begin with, or of those on altered copies of it: `test_greyscale`."""
    return "test" if altered is None else f"test_{altered}"
