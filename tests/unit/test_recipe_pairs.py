"""Searched keys whose values cannot all be together."""

from pathlib import Path

import pytest

from study.definition import parse_definition
from study.errors import DefinitionError


def parse(space: str, trial: str = "") -> None:
    text = f'name = "pairs"\ndata.generated = "instruments"\n[trial]\n{trial}\n[space]\n{space}\n'
    parse_definition(text, Path("/somewhere/pairs.toml"))


NESTEROV = '"optimizer.momentum" = { choices = [0.0, 0.9] }\n"optimizer.nesterov" = { choices = [true, false] CONDITION }'


@pytest.mark.parametrize(
    "space",
    [
        NESTEROV.replace("CONDITION", ""),
        'epochs = { choices = [4, 10] }\n"schedule.warmup_epochs" = { choices = [0, 5] }',
        'epochs = { low = 4, high = 10 }\n"schedule.warmup_epochs" = { low = 0, high = 5 }',
    ],
)
def test_two_keys_that_a_rule_keeps_apart_are_refused_with_the_way_out(space: str) -> None:
    with pytest.raises(DefinitionError) as error:
        parse(space)
    told = str(error.value)
    assert "cannot be in one trial" in told
    assert "(`when`)" in told
    assert "\n" not in told


def test_a_condition_keeps_them_apart() -> None:
    parse(NESTEROV.replace("CONDITION", ', when = { "optimizer.momentum" = [0.9] }'))


def test_a_condition_on_what_is_fixed_counts_too() -> None:
    space = 'epochs = { choices = [4, 10] }\n"schedule.warmup_epochs" = { choices = [0, 5], when = { head = ["append"] } }'
    parse(space, 'head = "replace"')
    with pytest.raises(DefinitionError, match="cannot be in one trial"):
        parse(space, 'head = "append"')
