import re

import pytest
import torch

from study.errors import ModelError
from study.models.backbones import FAMILIES, check_backbone, cut, known_backbones, make_network
from study.models.unallocated import UnallocatedParameters


def stages_of(name: str, image_size: int = 224) -> str:
    with UnallocatedParameters():
        return " ".join(cut(name, make_network(name, image_size)).stages)


def test_stages_carry_their_papers_names() -> None:
    expected = {
        "alexnet": "conv1 conv2 conv3 conv4 conv5 fc6 fc7",
        "vgg16": "block1 block2 block3 block4 block5 fc6 fc7",
        "resnet50": "stem layer1 layer2 layer3 layer4",
        "squeezenet1_0": "conv1 fire2 fire3 fire4 fire5 fire6 fire7 fire8 fire9",
        "densenet121": "stem block1 block2 block3 block4",
        "googlenet": " ".join(
            ["stem", *(f"inception3{x}" for x in "ab"), *(f"inception4{x}" for x in "abcde"), *(f"inception5{x}" for x in "ab")]
        ),
        "inception_v3": " ".join(
            ["stem", *(f"Mixed_5{x}" for x in "bcd"), *(f"Mixed_6{x}" for x in "abcde"), *(f"Mixed_7{x}" for x in "abc")]
        ),
        "mnasnet1_0": "stem stack1 stack2 stack3 stack4 stack5 stack6 last_conv",
        "efficientnet_b0": "stem stage1 stage2 stage3 stage4 stage5 stage6 stage7 stage8",
        "convnext_tiny": "stem stage1 stage2 stage3 stage4",
        "swin_t": "stem stage1 stage2 stage3 stage4",
        "regnet_y_128gf": "stem block1 block2 block3 block4",
        "shufflenet_v2_x1_0": "stem stage2 stage3 stage4 last_conv",
        "maxvit_t": "stem block1 block2 block3 block4 pre_logits",
        "vit_b_16": "embedding " + " ".join(f"block{number}" for number in range(1, 13)),
    }
    for name, stages in expected.items():
        assert stages_of(name) == stages
    assert stages_of("mobilenet_v3_small").split()[-3:] == ["block11", "last_conv", "pre_logits"]


def test_a_squeezenet_without_its_last_relu_is_linear_in_the_pooled_features() -> None:
    torch.manual_seed(0)
    backbone = cut("squeezenet1_0", make_network("squeezenet1_0").eval())
    assert backbone.logits is not None
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
    for name in ("retinanet_resnet50_fpn", "fcn_resnet50", "vgg16x", "mobilenet_v3", "quantized_resnet18"):
        with pytest.raises(ModelError):
            check_backbone(name, 224)


@pytest.mark.parametrize(
    ("name", "smallest_px"),
    [
        *(("alexnet", 63), ("squeezenet1_0", 21), ("squeezenet1_1", 17), ("vgg11", 32), ("densenet121", 29)),
        *(("googlenet", 15), ("inception_v3", 75), ("convnext_tiny", 32), ("resnet18", 1), ("mobilenet_v2", 1)),
    ],
)
def test_each_family_takes_its_smallest_photo_and_no_smaller_one(name: str, smallest_px: int) -> None:
    check_backbone(name, smallest_px)
    with torch.device("meta"):
        network = make_network(name, smallest_px)
        assert network(torch.empty(2, 3, smallest_px, smallest_px)).shape == (2, 1000)
        if smallest_px == 1:
            return
        with pytest.raises((RuntimeError, ValueError)):  # the limit is the network's, and not caution
            network(torch.empty(2, 3, smallest_px - 1, smallest_px - 1))
    with pytest.raises(ModelError, match=f"at least {smallest_px} px, but image_size={smallest_px - 1}"):
        check_backbone(name, smallest_px - 1)


@pytest.mark.parametrize(
    ("name", "image_size", "told"),
    [
        ("vit_b_16", 100, "a multiple of 16 px, but image_size=100. Set image_size to 96 or 112,"),
        ("vit_b_32", 16, "a multiple of 32 px, but image_size=16. Set image_size to 32,"),
        ("vit_h_14", 512, "Set image_size to 504 or 518,"),
        ("maxvit_t", 256, "Set image_size to 224 or 448,"),
    ],
)
def test_a_size_that_does_not_fit_is_told_with_the_nearest_that_do(name: str, image_size: int, told: str) -> None:
    for use in (check_backbone, make_network):
        with pytest.raises(ModelError, match=re.escape(told)):
            use(name, image_size)


@pytest.mark.parametrize(("name", "image_size"), [("vit_b_16", 96), ("vit_h_14", 518), ("maxvit_t", 448)])
def test_networks_of_a_fixed_size_are_built_for_the_photos(name: str, image_size: int) -> None:
    with torch.device("meta"):
        assert make_network(name, image_size)(torch.empty(1, 3, image_size, image_size)).shape == (1, 1000)


def test_every_family_has_a_member_and_every_torchvision_classifier_a_family() -> None:
    known = known_backbones()
    for family in FAMILIES:
        assert any(re.fullmatch(family.pattern, name) for name in known), family.pattern
    import torchvision

    assert set(known) == set(torchvision.models.list_models(module=torchvision.models))


def test_networks_whose_weights_know_another_scale_are_given_it() -> None:
    photos = torch.rand(1, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    for name in ("googlenet", "inception_v3", "efficientnet_v2_l"):
        with UnallocatedParameters():
            renormalize = cut(name, make_network(name)).stages["stem"].get_submodule("0")
        torch.testing.assert_close(renormalize((photos - mean) / std), (photos - 0.5) / 0.5)
