import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.analysis.evidence import StudyEvidence
from study.analysis.report.gathering import gather_extras
from study.data.dataset import prepare_data
from study.data.study_data import StudyData
from study.definition import parse_definition
from study.models.classifier import build_classifier
from study.models.exported import ModelContract, TargetScale, save_exported
from study.models.normalization import make_normalizer
from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.settings import Settings
from study.tracking.tracker import MemoryTracker
from study.trial import TrialConfig
from tests.analysis_examples import compared, study_example

CLASSES = ("cat", "dog")
DEFINITION = """
name = "clothing"
[data]
folder = "photos"
image_size = 32
[space]
backbone = { choices = ["squeezenet1_1"] }
"""


@dataclass(frozen=True)
class Place:
    """A study's folder, cache and run."""

    study: StudyEvidence
    data: StudyData
    settings: Settings
    tracker: MemoryTracker

    def log(self, folder: str, name: str, text: str) -> None:
        made = self.settings.output_folder / "logged"
        made.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text, encoding="utf-8")
        self.tracker.log_artifacts(self.study.run_id, made, folder)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    generator = np.random.default_rng(0)
    for label in CLASSES:
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(20):
            pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    definition = parse_definition(DEFINITION, tmp_path / "clothing.toml")
    data = prepare_data(definition, tmp_path / "cache")
    tracker = MemoryTracker()
    run_id = tracker.begin_study("clothing", "clothing", {}, definition.text, "")
    settings = Settings("", "", tmp_path / "cache", tmp_path / "studies", None)
    study = replace(study_example(), run_id=run_id, definition=definition, data_digest=data.digest)
    return Place(study, data, settings, tracker)


def export(place: Place, temperature: float = 1.0) -> None:
    config = TrialConfig(backbone="squeezenet1_1", freeze_depth=1.0)
    contract = ModelContract(
        classes=place.data.classes,
        image_size=32,
        normalization=make_normalizer("imagenet", place.data.statistics),
        backbone=config.backbone,
        head=config.head,
        freeze_depth=config.freeze_depth,
        temperature=temperature,
        data_digest=place.data.digest,
        study="clothing",
        trial_number=3,
    )
    weights = ResolvedWeights(None, RANDOM_DIGEST)
    model = build_classifier(config, len(CLASSES), weights, seed=0, image_size=32, num_views=1)
    save_exported(place.settings.study_folder("clothing") / "champion", model, contract)


def gather(place: Place) -> Any:
    return gather_extras([place.study], compared(place.study), place.tracker, place.settings)


def test_a_model_and_photos_that_are_here_are_looked_at_anew(place: Place) -> None:
    export(place, temperature=2.0)
    extras = gather(place)
    num_val = len(place.data.splits.val)
    assert extras.confusion.classes == CLASSES
    assert np.sum(extras.confusion.counts) == num_val
    assert "trial 3" in extras.confusion.whose
    assert extras.calibration.temperature == 2.0
    assert sum(one.count for one in extras.calibration.before) == num_val
    # Softer probabilities are less sure, whatever they are sure of.
    assert np.mean([one.confidence for one in extras.calibration.after]) < np.mean(
        [one.confidence for one in extras.calibration.before]
    )
    num_right = int(np.trace(extras.confusion.counts))
    assert [one.is_right for one in extras.saliency] == [True] * min(4, num_right) + [False] * min(4, num_val - num_right)
    assert all(one.png.startswith(b"\x89PNG") for one in extras.saliency)


def test_without_the_model_its_recorded_confusion_is_shown(place: Place) -> None:
    place.log("figures", "confusion.json", json.dumps({"classes": list(CLASSES), "counts": [[3, 1], [0, 2]]}))
    extras = gather(place)
    assert (extras.confusion.classes, extras.confusion.counts) == (["cat", "dog"], [[3, 1], [0, 2]])
    assert extras.calibration is None
    assert not extras.saliency


def test_the_data_card_is_the_runs(place: Place) -> None:
    place.log("data", "report.json", place.data.report.model_dump_json())
    assert gather(place).data == {"clothing": place.data.report}


def test_a_data_card_of_another_version_is_left_out(place: Place) -> None:
    place.log("data", "report.json", '{"weather": "fine"}')
    assert gather(place).data == {}


def test_where_nothing_is_kept_nothing_is_shown_but_the_address(place: Place) -> None:
    extras = gather(place)
    assert (extras.confusion, extras.calibration, extras.data) == (None, None, {})
    assert extras.mlflow_address


def test_a_model_of_other_photos_is_not_looked_at(place: Place) -> None:
    export(place)
    changed = replace(place, study=replace(place.study, data_digest="other"))
    assert gather(changed).confusion is None


def test_of_several_studies_that_recommend_none_no_model_is_looked_at(place: Place) -> None:
    export(place)
    other = replace(place.study, name="boots")
    comparison = replace(compared(place.study), recommended_study="")
    extras = gather_extras([place.study, other], comparison, place.tracker, place.settings)
    assert extras.confusion is None


def test_a_model_of_numbers_is_looked_at_in_the_targets_own_unit(place: Place, tmp_path: Path) -> None:
    """The middle of its training logarithms is what a head of zeros tells of every photo: here 1,000."""
    photos = sorted(str(file.relative_to(tmp_path)) for file in (tmp_path / "photos").rglob("*.png"))
    rows = [f"{photo},{100 + 10 * number}" for number, photo in enumerate(photos)]
    (tmp_path / "prices.csv").write_text("\n".join(["photo,price", *rows]), encoding="utf-8")
    table = 'table = "prices.csv"\nimages = "photo"\ntarget = "price"\ntask = "number"\nlog_target = true'
    text = DEFINITION.replace('folder = "photos"', table).replace("[space]", '[objective]\nmetric = "mae"\n[space]')
    definition = parse_definition(text, tmp_path / "clothing.toml")
    data = prepare_data(definition, tmp_path / "cache")
    config = TrialConfig(backbone="squeezenet1_1", freeze_depth=1.0)
    model = build_classifier(config, 1, ResolvedWeights(None, RANDOM_DIGEST), seed=0, image_size=32, num_views=1)
    for parameter in model.parameters():
        parameter.data.zero_()
    contract = ModelContract(
        task="number",
        target=TargetScale(mean=math.log(1000), std=0.5, is_log=True),
        image_size=32,
        normalization=make_normalizer("imagenet", data.statistics),
        backbone=config.backbone,
        head=config.head,
        freeze_depth=config.freeze_depth,
        data_digest=data.digest,
        study="clothing",
        trial_number=3,
    )
    save_exported(place.settings.study_folder("clothing") / "champion", model, contract)
    numbers = replace(place, study=replace(place.study, definition=definition, data_digest=data.digest))
    extras = gather(numbers)
    assert (extras.confusion, extras.calibration) == (None, None)
    assert (extras.numbers.name, extras.numbers.is_log) == ("price", True)
    assert extras.numbers.told == pytest.approx([1000.0] * len(data.splits.val), rel=1e-5)
    assert data.values is not None
    assert extras.numbers.true == pytest.approx(np.exp(data.values[data.splits.val]).tolist())
    assert all(100 <= value <= 490.01 for value in extras.numbers.true)
    assert [one.is_right for one in extras.saliency] == [None] * len(extras.saliency)
