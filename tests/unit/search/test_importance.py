"""Which keys the best trials depend on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.definition import parse_definition
from study.search.importance import importances

SPACE = parse_definition(
    """
name = "importance"
data.generated = "instruments"
[space]
head = { choices = ["replace", "append"] }
"optimizer.name" = { choices = ["adam", "sgd"] }
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
"optimizer.momentum" = { low = 0.8, high = 0.99, when = { "optimizer.name" = ["sgd"] } }
""",
    Path("/somewhere/importance.toml"),
).space


def recipes(num: int) -> list[dict[str, Any]]:
    rng, found = np.random.default_rng(0), list[dict[str, Any]]()
    for _ in range(num):
        is_sgd = bool(rng.integers(2))
        one: dict[str, Any] = {"head": ("replace", "append")[rng.integers(2)], "optimizer.name": "sgd" if is_sgd else "adam"}
        one["optimizer.lr"] = float(10 ** rng.uniform(-4, -1))
        found.append(one | ({"optimizer.momentum": float(rng.uniform(0.8, 0.99))} if is_sgd else {}))
    return found


@pytest.mark.parametrize("is_maximized", [True, False])
def test_the_key_that_decides_is_the_most_important(is_maximized: bool) -> None:
    tried = recipes(100)
    sign = -1 if is_maximized else 1
    values = [sign * (np.log10(one["optimizer.lr"]) + 3) ** 2 for one in tried]
    found = importances(SPACE, tried, values, is_maximized)
    assert max(found, key=found.__getitem__) == "optimizer.lr"
    assert sum(found.values()) == pytest.approx(1)


def test_few_trials_or_a_constant_objective_have_none() -> None:
    assert importances(SPACE, recipes(5), [0.1, 0.2, 0.3, 0.4, 0.5], is_maximized=True) == {}
    assert importances(SPACE, recipes(30), [0.5] * 30, is_maximized=True) == {}
