"""`study check`: what it tells of a study that can be run, and what it finds before anything is trained."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from .conftest import TINY, Workplace
from .test_mistakes import assert_is_one_line_of_advice, on_folder, photos

Invoke = Callable[..., Result]
GENERATED = 'generated = "instruments"\ntarget = "view"\nnum_photos = 60\n'
OF_CLASSES = 'imbalance = { choices = ["none", "weighted_loss"] }\n'
NUM_PHOTOS = 20


def noise(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file)


def prices(folder: Path) -> Path:
    """A table of photos with a number each."""
    for number in range(NUM_PHOTOS):
        noise(folder / f"{number}.png", number)
    table = folder / "prices.csv"
    rows = "".join(f"{number}.png,{10 + number}\n" for number in range(NUM_PHOTOS))
    table.write_text(f"photo,price\n{rows}", encoding="utf-8")
    return table


def test_a_study_of_numbers_is_checked_and_its_photos_are_counted(invoke: Invoke, workplace: Workplace, tmp_path: Path) -> None:
    source = f'table = "{prices(tmp_path)}"\nimages = "photo"\ntarget = "price"\ntask = "number"\n'
    file = workplace.write(TINY.replace(GENERATED, source).replace(OF_CLASSES, ""))
    result = invoke(["check", file])
    assert result.exit_code == 0, result.output
    splits = json.loads(invoke(["check", file, "--json"]).stdout)["photos"]["splits"]
    assert sum(splits.values()) == NUM_PHOTOS
    [counts] = [line.split()[1:] for line in result.stdout.splitlines() if line.startswith("all ")]
    assert counts == [str(splits[name]) for name in ("train", "val", "test")]


@pytest.mark.parametrize("command", ["check", "run"])
def test_repetitions_without_test_photos_are_a_mistake_in_the_definition(
    command: str, invoke: Invoke, workplace: Workplace, tmp_path: Path
) -> None:
    root = photos(tmp_path / "photos", {f"{split}/{name}": 6 for split in ("train", "val") for name in ("cat", "dog")})
    file = workplace.write(on_folder(root) + "[confirm]\n")
    assert_is_one_line_of_advice(invoke([command, file]), workplace, "[confirm]", "test split", "tiny.toml")
