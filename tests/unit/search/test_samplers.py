"""Samplers from a definition."""

from pathlib import Path

import pytest

from study.definition import parse_definition
from study.search.samplers import build_sampler
from study.search.tree_parzen import TreeParzenSampler


def sampler(written: str) -> TreeParzenSampler:
    text = f'name = "a"\ndata.generated = "instruments"\n[space]\ndropout = {{ low = 0.0, high = 0.5 }}\n[search]\n{written}'
    built = build_sampler(parse_definition(text, Path("/somewhere/a.toml")), num_asked=0)
    assert isinstance(built, TreeParzenSampler)
    return built


@pytest.mark.parametrize(
    ("written", "is_joint"),
    [
        ("", False),
        ('sampler = "tpe"', False),
        ('sampler = { name = "tpe", n_startup_trials = 4 }', False),
        ('sampler = { name = "tpe", multivariate = true }', True),
        ('sampler = { name = "tpe", group = true }', None),  # Optuna's own word: groups are taken together
    ],
)
def test_tpe_takes_the_keys_one_by_one_unless_the_definition_says_otherwise(written: str, is_joint: bool | None) -> None:
    assert sampler(written)._multivariate is is_joint
