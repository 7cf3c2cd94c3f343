from pathlib import Path

import pytest
import torch
from torch import nn

from study.errors import ModelError
from study.models.classifier import Classifier, build_classifier
from study.models.unallocated import UnallocatedParameters
from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.trial import Head, TrialConfig

RANDOM = ResolvedWeights(None, RANDOM_DIGEST)


def build(
    backbone: str = "resnet18", head: Head = "replace", freeze_depth: float = 1.0, seed: int = 0, num_views: int = 1
) -> Classifier:
    config = TrialConfig(backbone=backbone, head=head, freeze_depth=freeze_depth)
    return build_classifier(config, 3, RANDOM, seed, image_size=64, num_views=num_views)


def last_layer(model: Classifier) -> nn.Linear:
    layer = model.head.get_submodule("linear")
    assert isinstance(layer, nn.Linear)
    return layer


def first_layer(model: Classifier) -> nn.Conv2d:
    layer = model.stages[0].get_submodule("0")
    assert isinstance(layer, nn.Conv2d)
    return layer


@pytest.mark.parametrize("head", ["replace", "append"])
@pytest.mark.parametrize("backbone", ["resnet18", "squeezenet1_0", "squeezenet1_1"])
def test_both_heads_give_one_logit_a_class(backbone: str, head: Head) -> None:
    model = build(backbone, head)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 3)


def test_an_appended_head_keeps_the_1000_way_layer_as_the_last_stage() -> None:
    replaced, appended = build(head="replace"), build(head="append")
    assert [*appended.stages._modules] == [*replaced.stages._modules, "logits"]
    assert last_layer(appended).in_features == 1000
    assert not any(parameter.requires_grad for parameter in appended.stages.parameters())


@pytest.mark.parametrize(("freeze_depth", "num_frozen"), [(0.0, 0), (0.2, 1), (0.5, 2), (0.6, 3), (1.0, 5)])
def test_freeze_depth_freezes_exactly_the_first_stages(freeze_depth: float, num_frozen: int) -> None:
    model = build(freeze_depth=freeze_depth)
    for position, stage in enumerate(model.stages):
        assert all(parameter.requires_grad == (position >= num_frozen) for parameter in stage.parameters())
    assert all(parameter.requires_grad for parameter in model.head.parameters())
    assert model.num_frozen == num_frozen


def test_frozen_stages_stay_in_evaluation_whatever_mode_is_set() -> None:
    model = build(freeze_depth=0.6)
    for set_mode in (model.train, model.eval, model.train):
        set_mode()
        assert not any(module.training for stage in model.frozen_stages for module in stage.modules())
    assert all(module.training for stage in list(model.stages)[3:] for module in stage.modules())


def test_a_new_model_is_as_train_leaves_it() -> None:
    assert [module.training for module in build(freeze_depth=0.6).modules()] == [
        module.training for module in build(freeze_depth=0.6).train().modules()
    ]


@pytest.mark.parametrize("head", ["replace", "append"])
def test_the_features_of_an_examples_views_are_joined_in_their_order(head: Head) -> None:
    model = build("squeezenet1_1", head, num_views=2).eval()
    images = torch.rand(6, 3, 32, 32)
    outputs = model(images)
    assert outputs.shape == (3, 3)
    assert last_layer(model).in_features == 2 * (1000 if head == "append" else 512)
    features = model.prefix(images)
    expected = last_layer(model)(torch.cat([features[0::2], features[1::2]], dim=1))
    torch.testing.assert_close(outputs, expected)
    assert not torch.allclose(model(images[[1, 0, 2, 3, 4, 5]])[0], outputs[0])  # the views are told apart


def test_trainable_stages_and_the_head_hold_all_that_is_trained() -> None:
    model = build(freeze_depth=0.4)
    assert [*model.frozen_stages, *model.trainable_stages] == list(model.stages)
    parts = [*model.trainable_stages, model.head]
    expected = {id(parameter) for part in parts for parameter in part.parameters()}
    assert {id(parameter) for parameter in model.trainable_parameters()} == expected


@pytest.mark.parametrize("name", ["alexnet", "vgg11"])
def test_frozen_stages_with_dropout_give_the_same_activations_every_time(name: str) -> None:
    with UnallocatedParameters():
        stages = build(name, freeze_depth=1.0).train().frozen_stages
    dropouts = [module for stage in stages for module in stage.modules() if isinstance(module, torch.nn.Dropout)]
    assert len(dropouts) == (2 if name == "alexnet" else 1)
    activations = torch.rand(4, 8)
    for dropout in dropouts:
        assert dropout.p == 0.5
        assert torch.equal(dropout(activations), activations)


def test_photos_of_a_size_that_the_backbone_does_not_take_are_one_clear_error() -> None:
    with pytest.raises(ModelError, match="at least 63 px, but image_size=32"):
        build_classifier(TrialConfig(backbone="alexnet"), 3, RANDOM, 0, image_size=32)


def test_forward_is_suffix_after_prefix_at_every_boundary() -> None:
    images = torch.rand(2, 3, 64, 64)
    for freeze_depth in (0.0, 0.4, 1.0):
        model = build(freeze_depth=freeze_depth).eval()
        assert torch.equal(model(images), model.suffix(model.prefix(images)))
        assert not model.prefix(images).requires_grad


def test_the_seed_decides_every_parameter_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second, other = build(seed=1), build(seed=1), build(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(last_layer(first).weight, last_layer(other).weight)
    assert not torch.equal(first_layer(first).weight, first_layer(other).weight)


@pytest.mark.shared_data
def test_the_seed_decides_only_the_head_where_the_weights_are_given(shared_data: Path) -> None:
    weights = ResolvedWeights(shared_data / "weights" / "squeezenet1_0_imagenet.safetensors", "any")
    config = TrialConfig(backbone="squeezenet1_0")
    first, second = (build_classifier(config, 3, weights, seed, image_size=64) for seed in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.stages.parameters(), second.stages.parameters(), strict=True))
    assert not torch.equal(last_layer(first).weight, last_layer(second).weight)
    assert first_layer(first).weight.device.type == "cpu"
