"""A model card says what a stranger must know, and stays within a version's description."""

from typing import Any

import pytest

from study.models.contract import ModelContract, TargetScale
from study.models.normalization import IMAGENET_MEAN, IMAGENET_STD, Normalizer
from study.tracking.model_card import ModelFacts, model_card, promoted_card, terms_of


def contract(**changes: Any) -> ModelContract:
    values: dict[str, Any] = {
        "classes": ("cat", "dog"),
        "image_size": 64,
        "normalization": Normalizer(kind="imagenet", mean=IMAGENET_MEAN, std=IMAGENET_STD),
        "backbone": "resnet18",
        "head": "replace",
        "freeze_depth": 0.5,
        "temperature": 1.7,
        "data_digest": "d" * 32,
        "study": "pets",
        "trial_number": 7,
        "metrics": {"val_accuracy": 0.9, "val_recall.cat": 0.875, "val_precision.cat": 0.5},
    }
    return ModelContract(**values | changes)


FACTS = ModelFacts(
    question="Which recipe tells cats from dogs?",
    data_origin="the folder photos",
    num_photos={"train": 1200, "val": 150, "test": 160},
    objective="val_accuracy",
    chance=0.5,
    searched={"head": "replace"},
    calibration={"val_calibration_error_before": 0.081, "val_calibration_error_after": 0.02},
    weights="imagenet",
    weights_digest="0123456789abcdef",
)


def test_a_card_tells_question_data_figures_preprocessing_limits_licence_and_use() -> None:
    card = model_card(contract(), FACTS)
    for told in (
        "# pets, trial 7",
        "cats from dogs",
        "1,200 train, 150 val, 160 test",
        "| val_accuracy | 0.9000 |",
        "| cat | 0.875 | 0.500 |",
        "evidence of the search only",
        "divided by 1.7",
        "from 0.081 to 0.020",
        "64 × 64 px without stretching",
        "## Limits",
        "## Licence of the weights",
        'mlflow.pyfunc.load_model("models:/pets@champion")',
    ):
        assert told in card


def test_a_card_of_numbers_and_views_speaks_of_neither_classes_nor_temperature() -> None:
    number = contract(
        task="number",
        classes=(),
        target=TargetScale(mean=0.0, std=1.0),
        temperature=1.0,
        example_views=("back", "front"),
        normalization=Normalizer(kind="local"),
    )
    card = model_card(number, ModelFacts(**vars(FACTS) | {"calibration": {}}))
    assert "calibrated" not in card
    assert "recall" not in card
    assert "2 photos: back, front" in card
    assert "each photo by its own mean" in card


@pytest.mark.parametrize(
    ("backbone", "weights", "digest", "told"),
    [
        ("resnet18", "imagenet", "ab", "BSD 3-Clause"),
        ("resnet18", "if_available", "ab", "not settled"),
        ("resnet18", "if_available", "random", "no foreign weights"),
        ("resnet18", "none", "random", "no foreign weights"),
        ("timm/vit_tiny", "imagenet", "ab", "Apache-2.0"),
        ("resnet18", "mine.pth", "ab", "terms are not known here"),
    ],
)
def test_the_licence_is_that_of_the_weights_it_started_from(backbone: str, weights: str, digest: str, told: str) -> None:
    assert told in terms_of(backbone, weights, digest)


def test_a_promotion_replaces_the_one_before_and_is_told_whole() -> None:
    once = promoted_card("A card. " * 1000, ["Better by 0.1."])
    twice = promoted_card(once, ["Forced: a reason."])
    assert len(once) == 5000
    assert once.endswith("## Promotion\n\n- Better by 0.1.\n")
    assert twice.endswith("- Forced: a reason.\n")
    assert "Better by 0.1" not in twice


def test_a_card_says_where_photos_lose_their_colour() -> None:
    assert "turned grey" not in model_card(contract(), FACTS)
    card = model_card(contract(colour_mode="greyscale"), FACTS)
    assert "turned grey (luma in all three channels), and normalised by mean" in card
