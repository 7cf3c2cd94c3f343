from pathlib import Path

import pytest
import torch
from torch import nn

from study.models.classifier import Classifier, build_classifier
from study.models.weights import RANDOM_DIGEST, ResolvedWeights
from study.trial import Head, TrialConfig

RANDOM = ResolvedWeights(None, RANDOM_DIGEST)


def build(backbone: str = "resnet18", head: Head = "replace", freeze_depth: float = 1.0, seed: int = 0) -> Classifier:
    return build_classifier(TrialConfig(backbone=backbone, head=head, freeze_depth=freeze_depth), 3, RANDOM, seed)


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


def test_the_head_keeps_the_dropout_of_the_last_layer_that_it_replaces() -> None:
    with torch.device("meta"):
        dropouts = {
            name: build(name).head.get_submodule("dropout").p for name in ("vgg11", "alexnet", "resnet18", "squeezenet1_0")
        }
    assert dropouts == {"vgg11": 0.5, "alexnet": 0.0, "resnet18": 0.0, "squeezenet1_0": 0.5}


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
    first, second = (build_classifier(config, 3, weights, seed) for seed in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.stages.parameters(), second.stages.parameters(), strict=True))
    assert not torch.equal(last_layer(first).weight, last_layer(second).weight)
    assert first_layer(first).weight.device.type == "cpu"
