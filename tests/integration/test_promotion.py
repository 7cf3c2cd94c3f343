"""The champion of real studies: confirmed, replaced by a better one, kept against a worse one, overruled, put back."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.registry import Registry

from .conftest import Workplace

# Dark and bright photos of noise. ImageNet's normalisation keeps how bright a photo is, and a head tells them all apart; each
# photo's own takes it away, and nothing is left to be told: what promotions decide on lies in the photos, not in a seed.
SIDE_PX = 32
NUM_PHOTOS = {"train": 30, "validation": 12, "test": 20}  # of each class
BRIGHTNESS = {"dark": 40, "bright": 170}
SEEDS = 6  # repetitions that are all alike prove something from six on (sign test)
STUDY = f"""
name = "{{name}}"
[data]
folder = "photos"
image_size = {SIDE_PX}
[trial]
backbone = "squeezenet1_0"
weights = "none"
freeze_depth = 1.0
epochs = 15
batch_size = 16
optimizer.lr = 1e-2
normalization = "{{normalization}}"
[space]
head = {{{{ choices = ["replace"] }}}}
[search]
sampler = "grid"
seed = {{seed}}
"""
CONFIRM = f"[confirm]\ntop = 1\nseeds = {SEEDS}\n"


def draw_photos(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for split, number in NUM_PHOTOS.items():
        for name, brightness in BRIGHTNESS.items():
            (folder / split / name).mkdir(parents=True)
            for place in range(number):
                pixels = generator.integers(brightness, brightness + 40, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{place}.png")


def registry_of(workplace: Workplace) -> Registry:
    return Registry(workplace.environment["MLFLOW_TRACKING_URI"])


def promote(workplace: Workplace, *arguments: str, code: int = 0) -> Result:
    return workplace.here("promote", *arguments, code=code)


def told(workplace: Workplace, *arguments: str, code: int = 0) -> Any:
    return json.loads(promote(workplace, *arguments, "--json", code=code).stdout)


def aliases(workplace: Workplace, name: str) -> dict[str, str]:
    return {alias: version.version for version in registry_of(workplace).versions(name) for alias in version.aliases}


@pytest.fixture(scope="module")
def workplace(make_workplace: Callable[..., Workplace]) -> Workplace:
    """A study that was searched only, one confirmed that cannot tell the photos apart, and one confirmed that can."""
    made = make_workplace()
    draw_photos(made.folder / "photos")
    for name, normalization, seed, confirm in (
        ("hasty", "imagenet", 5, ""),  # another seed: another model
        ("blind", "local", 0, CONFIRM),
        ("seeing", "imagenet", 0, CONFIRM),
    ):
        text = STUDY.format(name=name, normalization=normalization, seed=seed) + confirm
        made.here("run", made.write(text, f"{name}.toml"), "--in-process")
    return made


def test_a_search_makes_the_first_champion_and_says_what_it_rests_on(workplace: Workplace) -> None:
    [version] = registry_of(workplace).versions("hasty")
    assert version.aliases == ("champion",)
    assert version.tags["study.evidence"] == "search only"
    for tag in ("data_digest", "definition_digest", "content_digest", "package_digest", "weights_digest", "temperature"):
        assert version.tags[f"study.{tag}"]
    assert {"val_calibration_error_before", "val_calibration_error_after"} <= {
        tag.removeprefix("study.") for tag in version.tags
    }
    assert "## Licence of the weights" in version.description


def test_a_search_alone_promotes_nothing_over_a_champion(workplace: Workplace) -> None:
    refused = told(workplace, "hasty", "--model", "in-use", code=1)
    assert refused["rule"] == "must be confirmed on the test split"
    assert aliases(workplace, "in-use") == {"challenger": "1"}


def test_a_confirmed_recipe_is_champion_with_its_figures(workplace: Workplace) -> None:
    kept = told(workplace, "seeing")
    assert (kept["rule"], kept["is_promoted"]) == ("is the champion already", True)
    champion = registry_of(workplace).version_at("models:/seeing@champion")
    assert champion.version == kept["champion"]
    confirmation = json.loads(champion.tags["study.confirmation"])
    assert (champion.tags["study.evidence"], confirmation["test"]["n"]) == ("confirmed", SEEDS)
    assert confirmation["metric"] == "test_balanced_accuracy"
    assert len(confirmation["repetitions"]) == SEEDS
    assert "## Promotion" in champion.description


def test_evidence_for_a_version_makes_it_champion_and_evidence_against_it_does_not(workplace: Workplace) -> None:
    """Two studies on the same test photos: their repetitions have the same seeds, and are compared in pairs."""
    better = told(workplace, "seeing", "--model", "blind")
    assert (better["rule"], better["is_promoted"]) == ("is better beyond the interval", True)
    assert better["difference"]["low"] > 0.2
    assert f"paired on the {SEEDS} seeds and folds that both were trained with" in better["sentences"][1]
    assert aliases(workplace, "blind") == {"previous": "1", "champion": "2"}
    worse = told(workplace, "blind", code=1)
    assert (worse["rule"], worse["is_promoted"]) == ("must not be worse", False)
    assert worse["difference"]["high"] < -0.2
    assert worse["difference"]["value"] == pytest.approx(-better["difference"]["value"])
    assert aliases(workplace, "blind") == {"previous": "1", "champion": "2", "challenger": "1"}


def test_force_needs_a_reason_keeps_it_and_a_rollback_undoes_it(workplace: Workplace) -> None:
    name = "overruled"
    assert told(workplace, "blind", "--model", name)["rule"] == "there is no champion yet"
    promote(workplace, "hasty", "--model", name, code=1)
    assert aliases(workplace, name) == {"champion": "1", "challenger": "2"}
    assert "--reason is missing" in promote(workplace, "hasty", "--model", name, "--force", code=2).stderr
    forced = told(workplace, "hasty", "--model", name, "--force", "--reason", "a demonstration")
    assert forced["sentences"][-1] == "Forced: a demonstration"
    assert aliases(workplace, name) == {"champion": "2", "previous": "1"}
    assert registry_of(workplace).version_at(f"models:/{name}/2").tags["study.forced_reason"] == "a demonstration"
    shown = promote(workplace, name, "--rollback", "--reason", "enough").stdout
    assert "Version 1 is champion again" in shown
    assert aliases(workplace, name) == {"champion": "1", "challenger": "2"}
    assert "alias `previous`" in promote(workplace, name, "--rollback", code=2).stderr


def test_a_study_recreated_under_its_name_does_not_take_over_by_its_trials_number(workplace: Workplace) -> None:
    """Its stores were deleted, the registry was not: trial 0 of both won, and they are two models."""
    before = STUDY.format(name="again", normalization="local", seed=0)
    workplace.here("run", workplace.write(before, "again.toml"), "--in-process")
    tracker = MlflowTracker(workplace.environment["MLFLOW_TRACKING_URI"])
    run_id = tracker.find_study("again")
    assert run_id is not None
    tracker.connection.client.delete_run(run_id)
    emptied = {f"STUDY_{store}": str(workplace.folder / f"new.{store}") for store in ("STORAGE", "OUTPUT")}
    recreated = replace(workplace, environment={**workplace.environment, **emptied})
    recreated.here("run", recreated.write(before.replace("seed = 0", "seed = 1"), "again.toml"), "--in-process")
    refused = told(recreated, "again", code=1)
    assert refused["rule"] == "must be confirmed on the test split"
    assert aliases(workplace, "again") == {"champion": "1", "challenger": "2"}


def test_a_model_that_does_not_answer_is_not_promoted(workplace: Workplace) -> None:
    registry = registry_of(workplace)
    version = registry.versions("hasty")[0]
    location = registry.connection.client.get_model_version_download_uri("hasty", version.version)
    code = location.removeprefix("file://") + "/packaged_model.py"
    with open(code, "a") as file:
        file.write("raise SystemExit('planted')\n")
    refused = promote(workplace, "hasty", "--force", "--reason", "x", "--model", "broken", code=2)
    assert "one was added or changed, and none was run" in refused.stderr
    assert "champion" not in aliases(workplace, "broken")
