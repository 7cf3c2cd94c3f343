from dataclasses import replace

import pytest
import torch
from torch import nn

from study.errors import ModelError
from study.models.backbone import Backbone
from study.models.backbones import cut, make_network
from study.models.heads import HeadPlan, JoinViews, make_head, stages_under
from study.models.unallocated import UnallocatedParameters
from study.trial import Head


def backbone_of(name: str) -> Backbone:
    with UnallocatedParameters():
        return cut(name, make_network(name))


def dropout_of(name: str, head: Head, dropout: float | None = None) -> float:
    layer = make_head(backbone_of(name), HeadPlan(head, 3, dropout=dropout)).get_submodule("dropout")
    assert isinstance(layer, nn.Dropout)
    return layer.p


def test_a_head_keeps_the_dropout_of_the_last_layer_that_it_replaces() -> None:
    expected = {"vgg11": 0.5, "alexnet": 0.0, "resnet18": 0.0, "squeezenet1_0": 0.5, "googlenet": 0.2, "efficientnet_b7": 0.5}
    assert {name: dropout_of(name, "replace") for name in expected} == expected


def test_a_trials_own_dropout_comes_before_both_heads() -> None:
    heads: tuple[Head, ...] = ("replace", "append")
    for head in heads:
        assert dropout_of("vgg11", head, 0.25) == 0.25
        assert dropout_of("vgg11", head, 0.0) == 0.0
    assert dropout_of("vgg11", "append") == 0.0


def test_a_number_has_one_output() -> None:
    head = make_head(backbone_of("resnet18"), HeadPlan("replace", num_outputs=1))
    assert head(torch.rand(4, 512)).shape == (4, 1)


def test_views_are_joined_example_by_example() -> None:
    features = torch.arange(12).view(6, 2)
    assert JoinViews(3)(features).tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    head = make_head(backbone_of("resnet18"), HeadPlan("replace", 5, num_views=3))
    assert head(torch.rand(6, 512)).shape == (2, 5)


def test_a_backbone_without_a_layer_of_classes_cannot_keep_it() -> None:
    headless = replace(backbone_of("resnet18"), logits=None)
    assert list(stages_under(headless, "replace")) == list(headless.stages)
    with pytest.raises(ModelError, match='Use head = "replace"'):
        stages_under(headless, "append")
