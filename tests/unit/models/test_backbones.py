import re

import pytest
import torch

from study.errors import ModelError
from study.models.backbones import FAMILIES, check_backbone, cut, known_backbones, make_network


def test_every_known_backbone_cut_in_stages_computes_what_torchvision_computes() -> None:
    torch.manual_seed(0)
    for name in ("alexnet", "vgg11_bn", "resnet18", "squeezenet1_0", "squeezenet1_1"):
        network = make_network(name).eval()
        images = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            expected = network(images)
            backbone = cut(name, network)
            found = images
            for stage in backbone.stages.values():
                found = stage(found)
            features = backbone.pool(found)
            torch.testing.assert_close(backbone.logits(found), expected, msg=name)
        assert features.shape == (1, backbone.num_features), name


@pytest.mark.parametrize("name", known_backbones())
def test_no_parameter_is_lost_in_the_cut(name: str) -> None:
    with torch.device("meta"):
        network = make_network(name)
    backbone = cut(name, network)
    pieces = torch.nn.ModuleList([*backbone.stages.values(), backbone.logits])
    assert {id(value) for value in pieces.parameters()} == {id(value) for value in network.parameters()}


def test_stages_carry_their_papers_names() -> None:
    expected = {
        "alexnet": "conv1 conv2 conv3 conv4 conv5 fc6 fc7",
        "vgg16": "block1 block2 block3 block4 block5 fc6 fc7",
        "resnet50": "stem layer1 layer2 layer3 layer4",
        "squeezenet1_0": "conv1 fire2 fire3 fire4 fire5 fire6 fire7 fire8 fire9",
    }
    for name, stages in expected.items():
        with torch.device("meta"):
            network = make_network(name)
        assert " ".join(cut(name, network).stages) == stages


def test_a_squeezenet_without_its_last_relu_is_linear_in_the_pooled_features() -> None:
    torch.manual_seed(0)
    backbone = cut("squeezenet1_0", make_network("squeezenet1_0").eval())
    convolution, average = backbone.logits.get_submodule("1"), backbone.logits.get_submodule("3")
    assert isinstance(convolution, torch.nn.Conv2d)
    features = torch.rand(2, 512, 3, 3)
    expected = average(convolution(features)).flatten(1)
    found = torch.nn.functional.linear(backbone.pool(features), convolution.weight.flatten(1), convolution.bias)
    torch.testing.assert_close(found, expected)


def test_an_unknown_backbone_is_told_with_the_nearest_name() -> None:
    with pytest.raises(ModelError, match=re.escape("but is `resnet19`. Did you mean `resnet18`?")):
        check_backbone("resnet19", 224)


def test_detection_models_and_the_like_are_no_backbones() -> None:
    for name in ("retinanet_resnet50_fpn", "fcn_resnet50", "vgg16x"):
        with pytest.raises(ModelError):
            check_backbone(name, 224)


def test_each_family_takes_its_smallest_photo_and_no_smaller_one() -> None:
    for name, smallest_px in (("alexnet", 63), ("squeezenet1_0", 21), ("squeezenet1_1", 17), ("vgg11", 32)):
        check_backbone(name, smallest_px)
        with torch.device("meta"):
            assert make_network(name)(torch.empty(1, 3, smallest_px, smallest_px)).shape == (1, 1000)
        with pytest.raises(ModelError, match=f"at least {smallest_px} px, but image_size={smallest_px - 1}"):
            check_backbone(name, smallest_px - 1)


def test_every_family_has_a_member() -> None:
    known = known_backbones()
    for family in FAMILIES:
        assert any(re.fullmatch(family.pattern, name) for name in known), family.pattern
    assert len(known) == 21
