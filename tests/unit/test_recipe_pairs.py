"""Searched keys whose values cannot all be together."""

from pathlib import Path

import pytest

from study.definition import load_definition, parse_definition
from study.errors import DefinitionError


def load(folder: Path, space: str, trial: str = "") -> None:
    text = f'name = "pairs"\ndata.generated = "instruments"\n[trial]\n{trial}\n[space]\n{space}\n'
    (folder / "pairs.toml").write_text(text, encoding="utf-8")
    load_definition(folder / "pairs.toml")


NESTEROV = '"optimizer.momentum" = { choices = [0.0, 0.9] }\n"optimizer.nesterov" = { choices = [true, false] CONDITION }'


@pytest.mark.parametrize(
    "space",
    [
        NESTEROV.replace("CONDITION", ""),
        'epochs = { choices = [4, 10] }\n"schedule.warmup_epochs" = { choices = [0, 5] }',
        'epochs = { low = 4, high = 10 }\n"schedule.warmup_epochs" = { low = 0, high = 5 }',
    ],
)
def test_two_keys_that_a_rule_keeps_apart_are_refused_with_the_way_out(space: str, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError) as error:
        load(tmp_path, space)
    told = str(error.value)
    assert "cannot be in one trial" in told
    assert "(`when`)" in told
    assert "\n" not in told


def test_a_condition_keeps_them_apart(tmp_path: Path) -> None:
    load(tmp_path, NESTEROV.replace("CONDITION", ', when = { "optimizer.momentum" = [0.9] }'))


def test_a_condition_on_what_is_fixed_counts_too(tmp_path: Path) -> None:
    space = 'epochs = { choices = [4, 10] }\n"schedule.warmup_epochs" = { choices = [0, 5], when = { head = ["append"] } }'
    load(tmp_path, space, 'head = "replace"')
    with pytest.raises(DefinitionError, match="cannot be in one trial"):
        load(tmp_path, space, 'head = "append"')


def test_a_study_that_has_begun_with_such_keys_can_still_be_read() -> None:
    space = NESTEROV.replace("CONDITION", "")
    text = f'name = "pairs"\ndata.generated = "instruments"\n[space]\n{space}\n'
    assert parse_definition(text, Path("/somewhere/pairs.toml")).name == "pairs"
