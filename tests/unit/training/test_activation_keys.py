"""What gives activations another name, and what does not."""

from dataclasses import replace
from typing import Any

import torch

from study.data.folds import Fold
from study.data.study_data import StudyData
from study.models.weights import RANDOM_DIGEST
from study.training.activation_keys import activations_key
from study.training.activation_plan import CachePlan
from study.trial import TrialConfig
from tests.activations import config_of, enlarged, image_inputs


def key_of(data: StudyData, config: TrialConfig, weights: str = "weights", **planned: object) -> str | None:
    plan = replace(CachePlan(True, ""), **planned)  # type: ignore[arg-type]
    return activations_key(image_inputs(data, config), data, config, plan, weights)


def test_the_key_changes_with_everything_that_the_activations_depend_on(striped_data: StudyData) -> None:
    config = config_of()
    splits = striped_data.splits
    fewer = replace(splits, train=splits.train[1:])
    keys = [
        key_of(striped_data, config),
        key_of(replace(striped_data, digest="other"), config),
        key_of(replace(striped_data, folds=(Fold(fewer, striped_data.statistics),)), config),
        key_of(enlarged(striped_data), config),
        key_of(striped_data, config, weights="others"),
        key_of(striped_data, config, dtype=torch.float16),
        key_of(striped_data, config, num_variants=2),
        key_of(striped_data, config_of(freeze_depth=0.5)),
        key_of(striped_data, config_of("squeezenet1_0")),
        key_of(striped_data, config_of(normalization="global")),
        key_of(striped_data, config_of(normalization="local")),
        key_of(striped_data, config_of(head="append")),
        key_of(striped_data, config_of(image_size=24)),
        key_of(striped_data, config_of(colour_mode="greyscale")),
        key_of(striped_data, config_of(colour_mode="greyscale", normalization="local")),
        key_of(striped_data, config_of(compute__channels_last=False)),
    ]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        keys.append(key_of(striped_data, config))
    assert len(set(keys)) == len(keys)


def test_the_key_does_not_change_with_the_rest(striped_data: StudyData) -> None:
    values: list[dict[str, Any]] = [
        {"epochs": 3},
        {"batch_size": 5},
        {"imbalance": "weighted_loss"},
        {"optimizer__lr": 0.1},
        {"seed": 3},
        {"dropout": 0.1},
        {"compute__activation_cache": "float32"},
    ]
    expected = key_of(striped_data, config_of())
    assert {key_of(striped_data, config_of(**one)) for one in values} == {expected}


def test_photos_at_the_size_that_they_are_packed_at_have_one_key(striped_data: StudyData) -> None:
    as_packed = config_of(image_size=striped_data.image_size)
    assert key_of(striped_data, as_packed) == key_of(striped_data, config_of())


def test_the_heads_kind_matters_only_where_it_changes_a_frozen_stage(striped_data: StudyData) -> None:
    """SqueezeNet pools at the end of its last stage, fire9, for a replaced head; fire5 is the same under both."""
    replaced, appended = (config_of(freeze_depth=0.55, head=head) for head in ("replace", "append"))
    frozen = [image_inputs(striped_data, config).model.num_frozen for config in (replaced, appended)]
    assert frozen[0] != frozen[1] or key_of(striped_data, replaced) == key_of(striped_data, appended)
    same = config_of(freeze_depth=0.5, head="append")  # 5 of 10
    assert key_of(striped_data, config_of(freeze_depth=0.55)) == key_of(striped_data, same)


def test_random_weights_have_no_key(striped_data: StudyData) -> None:
    assert key_of(striped_data, config_of(), weights=RANDOM_DIGEST) is None
