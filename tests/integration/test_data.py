"""`study data` on a collection with every fault that a scraped one has: nothing is lost silently."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from study.tracking.mlflow_tracker import MlflowTracker
from tests.messy_table import NUM_EXACT_DUPLICATES, NUM_QUARANTINED, dropped_counts, write_messy_table

from .conftest import Workplace

TABLE = """
name = "messy"
[data]
table = "collection/instruments.csv"
images = ["image_top", "image_back"]
target = "{target}"
group = "id"
image_size = 64
max_unreadable = 0.1
small_classes = "drop"
min_class_size = 5
"""
PLACES = 'places = { columns = ["country_made", "city_made"] }\n'
TRAINING = """
[trial]
backbone = "squeezenet1_0"
weights = "none"
freeze_depth = 1.0
epochs = 1
[space]
head = { choices = ["replace", "append"] }
[search]
trials = 2
pruner = { name = "none" }
"""


@pytest.fixture(scope="module")
def messy(make_workplace: Callable[..., Workplace]) -> Workplace:
    workplace = make_workplace()
    write_messy_table(workplace.folder)
    return workplace


@pytest.fixture(scope="module")
def report(messy: Workplace) -> Any:
    return messy.json("data", messy.write(TABLE.format(target="type"), "messy.toml"))


def counts(reasons: Any) -> dict[str, int]:
    return {reason: left_out["num_photos"] for reason, left_out in reasons.items()}


def test_every_photo_is_kept_dropped_or_quarantined_each_with_its_reason(report: Any) -> None:
    assert report["num_listed"] == 600
    # The rare type has two rows, front and back: too few for any split.
    assert counts(report["dropped"]) == dropped_counts("type") | {"class too small": 4}
    assert sum(counts(report["quarantined"]).values()) == sum(NUM_QUARANTINED.values())
    left_out = sum(counts(report["dropped"]).values()) + sum(counts(report["quarantined"]).values())
    assert report["num_kept"] == 600 - left_out
    assert sum(report["splits"].values()) == report["num_kept"]


def test_duplicates_under_two_ids_are_found(report: Any) -> None:
    assert report["duplicates"]["num_exact_sets"] == NUM_EXACT_DUPLICATES


def test_places_are_resolved_or_named(messy: Workplace) -> None:
    text = TABLE.format(target="country") + PLACES
    report = messy.json("data", messy.write(text, "places.toml"))
    assert counts(report["dropped"]) == dropped_counts("country")
    assert report["places"]["num_unresolved"] == dropped_counts("country")["place not resolved"]
    assert set(report["classes"]) == {"France", "Germany", "Italy"}


def test_the_same_table_has_the_same_digest_and_a_changed_photo_another(messy: Workplace, report: Any) -> None:
    file = messy.folder / "messy.toml"
    assert messy.json("data", file)["digest"] == report["digest"]
    photo = messy.folder / "collection" / "photos" / "003_top.jpg"
    before = photo.read_bytes()
    Image.new("RGB", (60, 80), (10, 200, 30)).save(photo, format="JPEG")
    assert messy.json("data", file)["digest"] != report["digest"]
    photo.write_bytes(before)
    assert messy.json("data", file)["digest"] == report["digest"]


def test_the_card_has_pictures(messy: Workplace, report: Any) -> None:
    folder = Path(report["card"])
    for name in ("contact_sheet.png", "class_balance.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 100
    assert "photos listed" in messy.run("data", messy.folder / "messy.toml").stdout


def test_a_study_trains_on_what_was_kept_and_its_run_names_the_data(messy: Workplace, report: Any) -> None:
    file = messy.write(TABLE.format(target="type") + TRAINING, "trained.toml")
    result = messy.json("run", file, "--in-process")
    assert result["counts"] == {"COMPLETE": 2}
    tracker = MlflowTracker(messy.environment["MLFLOW_TRACKING_URI"])
    run_id = tracker.find_study("messy")
    assert run_id is not None
    inputs = tracker.connection.client.get_run(run_id).inputs
    assert inputs is not None
    assert report["digest"].startswith(inputs.dataset_inputs[0].dataset.digest)
    assert report["digest"] in tracker.read_text(run_id, "data/report.json")


def test_more_unreadable_photos_than_the_definition_allows_are_an_error(messy: Workplace) -> None:
    text = TABLE.format(target="type").replace("max_unreadable = 0.1", "max_unreadable = 0.005")
    refused = messy.run("data", messy.write(text, "strict.toml"), code=2)
    [line] = [line for line in refused.stderr.splitlines() if line.startswith("Error")]
    assert "max_unreadable" in line


def test_a_fold_is_a_key_of_a_trial(make_workplace: Callable[..., Workplace]) -> None:
    workplace = make_workplace()
    text = """
name = "folds"
data = { generated = "instruments", target = "view", num_photos = 90, image_size = 32, split = { folds = 3 } }
trial = { backbone = "squeezenet1_0", weights = "none", freeze_depth = 1.0, epochs = 1 }
space = { fold = { choices = [0, 1, 2] } }
search = { sampler = "grid", pruner = { name = "none" } }
"""
    result = workplace.json("run", workplace.write(text), "--in-process")
    assert sorted(row["searched"]["fold"] for row in result["leaderboard"]) == [0, 1, 2]
    refused = workplace.run("check", workplace.write(text.replace("[0, 1, 2]", "[0, 3]").replace('"folds"', '"more"')), code=2)
    assert "`fold` must be under the number of folds, 3" in refused.stderr
