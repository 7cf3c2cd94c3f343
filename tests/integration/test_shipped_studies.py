"""Every shipped definition from its command to its verdicts, at a size that two cores can do. By hand: minutes."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from .conftest import Workplace

SEARCH_SPACES = Path(__file__).parents[2] / "search_spaces"
# Few photos, small ones, seen once, by networks that know nothing: what is held is the way, not the figures.
SMALLER = {
    r"^image_size = 224\b": "image_size = 64",
    r"^image_size = 320\b": "image_size = 96",
    r"image_size = \{ choices = \[64, 112, 160, 224, 320\] \}": "image_size = { choices = [64, 96] }",
    r"^epochs = \d+": "epochs = 1",
    r'^weights = "imagenet"': 'weights = "none"',
    r"^min_class_size = \d+": "min_class_size = 6",
    r"fold = \{ choices = \[0, 1, 2, 3, 4\] \}": "fold = { choices = [0, 1] }",
    r"fold = \{ low = 0, high = 24 \}": "fold = { low = 0, high = 5 }",
    r"seed = \{ choices = \[0, 1\] \}": "seed = { choices = [0] }",
    r"^folds = 5": "folds = 2",
    r"^seeds = \d+": "seeds = 2",
    r"^gpus = [\d.]+": "gpus = 0",
}


def shrunk(text: str) -> str:
    if '"vit_b_16"' in text:  # takes 224 px only, and is the dearest of all
        text = (
            text.replace("image_size = 224", "image_size =  224")
            .replace("[0, 1, 2, 3, 4]", "[0]")
            .replace("top = 2", "top = 1")
        )
    for pattern, smaller in SMALLER.items():
        text = re.sub(pattern, smaller, text, flags=re.MULTILINE)
    return text


@pytest.fixture(scope="module")
def shipped(make_workplace: Any) -> tuple[Workplace, Path]:
    """The shipped folder, smaller, with a drawn collection in the place that its headers name."""
    workplace = make_workplace()
    folder = Path(shutil.copytree(SEARCH_SPACES, workplace.folder / "search_spaces"))
    for file in (*folder.glob("paper/*.toml"), *folder.glob("beyond/**/*.toml")):
        file.write_text(shrunk(file.read_text(encoding="utf-8")), encoding="utf-8")
    workplace.run("draw", folder / "paper" / "collection", "--instruments", "160", "--size", "96")
    return workplace, folder


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["paper", "beyond", "beyond/two_views"])
def test_a_shipped_folder_runs_to_its_verdicts(shipped: tuple[Workplace, Path], name: str) -> None:
    workplace, folder = shipped
    done = workplace.run("run", folder / name, "--in-process", "--json", timeout_s=3600)
    shown = json.loads(done.stdout)
    assert len(shown["studies"]) == len(list((folder / name).glob("*.toml")))
    assert {one["state"] for one in shown["studies"]} == {"complete"}
    assert Path(shown["report"]).exists()
    assert shown["claims"], "each definition asks something"
    assert "not measured" not in {claim["verdict"] for claim in shown["claims"]}
