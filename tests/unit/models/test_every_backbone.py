"""Every torchvision classifier: all by their structure, without memory; one of each family for real, on small photos."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from study.models.backbone import Backbone
from study.models.backbones import cut, known_backbones, make_network
from study.models.classifier import Classifier, attach_head
from study.models.exported import ModelContract, load_exported, save_exported
from study.models.heads import HeadPlan
from study.models.normalization import Normalizer, Renormalize
from study.models.unallocated import UnallocatedParameters
from study.trial import Head

NUM_CLASSES = 3
# One of each family, and the smallest photo at which every layer has something to do.
SMALL = {
    "alexnet": 63,
    "vgg11": 32,
    "resnet18": 32,
    "squeezenet1_1": 32,
    "densenet121": 32,
    "googlenet": 32,
    "inception_v3": 75,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "efficientnet_b0": 32,
    "convnext_tiny": 32,
    "regnet_x_400mf": 32,
    "regnet_y_400mf": 32,
    "shufflenet_v2_x0_5": 32,
    "swin_t": 32,
    "swin_v2_t": 32,
    "maxvit_t": 224,
    "vit_b_32": 64,
}


def parameters_of(*modules: nn.Module) -> list[int]:
    return sorted(id(parameter) for module in modules for parameter in module.parameters())


@pytest.mark.parametrize("name", known_backbones())
def test_stages_partition_the_parameters_and_freezing_some_leaves_exactly_the_rest(name: str) -> None:
    with UnallocatedParameters():
        network = make_network(name)
        backbone = cut(name, network)
        assert backbone.logits is not None
        assert parameters_of(*backbone.stages.values(), backbone.logits) == parameters_of(network)
        assert all(next(stage.parameters(), None) is not None for stage in backbone.stages.values())
        for head, num_stages in (("replace", len(backbone.stages)), ("append", len(backbone.stages) + 1)):
            check_freezing(network, backbone, head, num_stages)  # type: ignore[arg-type]


def check_freezing(network: nn.Module, backbone: Backbone, head: Head, num_stages: int) -> None:
    for num_frozen in (0, num_stages // 2, num_stages):
        network.requires_grad_()
        model = attach_head(backbone, HeadPlan(head, NUM_CLASSES), num_frozen / num_stages)
        stages = list(model.stages)
        assert len(stages) == num_stages
        assert model.num_frozen == num_frozen
        assert not any(parameter.requires_grad for stage in stages[:num_frozen] for parameter in stage.parameters())
        trained = sorted(id(parameter) for parameter in model.trainable_parameters())
        assert trained == parameters_of(*stages[num_frozen:], model.head)
        if head == "append":
            assert parameters_of(stages[-1]) == parameters_of(last_layer(backbone))


def last_layer(backbone: Backbone) -> nn.Module:
    """The original one, which tells 1000 classes apart."""
    assert backbone.logits is not None
    *_, layer = (module for module in backbone.logits.modules() if isinstance(module, nn.Linear | nn.Conv2d))
    assert layer.weight.shape[0] == 1000
    return layer


@pytest.fixture(scope="module", params=SMALL)
def network(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    """Filled with numbers of our own: torchvision's take seconds to draw, and begin many a branch and last layer with zeros."""
    name: str = request.param
    with UnallocatedParameters():
        module = make_network(name, SMALL[name])
    generator = torch.Generator().manual_seed(0)
    fill(module, {path: drawn(parameter.shape, generator) for path, parameter in module.named_parameters()})
    return name, module


def fill(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    for path, tensor in tensors.items():
        owner, _, name = path.rpartition(".")
        module.get_submodule(owner).register_parameter(name, nn.Parameter(tensor))


def drawn(shape: torch.Size, generator: torch.Generator) -> Tensor:
    if len(shape) < 2:
        return torch.rand(shape, generator=generator) + 0.5
    fan_in = shape[1:].numel()
    return (torch.rand(shape, generator=generator) - 0.5) * math.sqrt(12 / fan_in)


def photos_for(name: str) -> Tensor:
    return torch.rand(2, 3, SMALL[name], SMALL[name], generator=torch.Generator().manual_seed(0))


def classifier_of(network: tuple[str, nn.Module], head: Head = "replace", freeze_depth: float = 0.5) -> Classifier:
    name, module = network
    torch.manual_seed(1)
    return attach_head(cut(name, module.requires_grad_()), HeadPlan(head, NUM_CLASSES), freeze_depth)


def test_features_and_logits_are_those_of_the_whole_network(network: tuple[str, nn.Module]) -> None:
    name, module = network
    backbone = cut(name, module.eval())
    assert backbone.logits is not None
    backbone.logits.eval()  # its dropout is new
    layer, read = last_layer(backbone), []
    hook = layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    first = next(iter(backbone.stages.values()))
    scale = next((layer for layer in first.modules() if isinstance(layer, Renormalize)), nn.Identity())
    with torch.no_grad():
        expected = module(scale(photos_for(name)))
        hook.remove()
        found = photos_for(name)
        for stage in backbone.stages.values():
            found = stage(found)
        assert torch.equal(backbone.logits(found), expected)
    features = backbone.pool(found)
    assert features.shape == (2, backbone.num_features)
    if isinstance(layer, nn.Linear):  # SqueezeNet's last layer comes in front of its pooling
        assert torch.equal(features, read[0])


def test_no_stage_changes_the_activations_that_it_reads(network: tuple[str, nn.Module]) -> None:
    """What is kept at a boundary is read again: a layer there that works in place would spoil it."""
    name, _ = network
    for head in ("replace", "append"):
        model = classifier_of(network, head, freeze_depth=0.0)
        activations = photos_for(name)
        for part in (*model.stages, model.head):
            before = activations.clone()
            with torch.no_grad():
                after = part(activations)
            assert torch.equal(activations, before)
            activations = after


def test_one_training_step_changes_what_is_not_frozen_and_nothing_else(network: tuple[str, nn.Module]) -> None:
    name, _ = network
    model = classifier_of(network)
    frozen = [value.clone() for stage in model.frozen_stages for value in stage.state_dict().values()]
    linear = model.head.get_submodule("linear").get_parameter("weight")
    before = linear.detach().clone()
    loss = nn.functional.cross_entropy(model(photos_for(name)), torch.tensor([0, 2]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.trainable_parameters())
    torch.optim.SGD(model.trainable_parameters(), lr=0.01).step()
    assert not torch.equal(linear, before)
    after = [value for stage in model.frozen_stages for value in stage.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(frozen, after, strict=True))
    model.zero_grad(set_to_none=True)


def test_a_model_that_is_exported_and_loaded_gives_the_same_outputs(network: tuple[str, nn.Module], tmp_path: Path) -> None:
    name, _ = network
    model = classifier_of(network).to(memory_format=torch.channels_last).eval()
    contract = ModelContract(
        classes=("cello", "viola", "violin"),
        image_size=SMALL[name],
        normalization=Normalizer(kind="local"),
        backbone=name,
        head="replace",
        freeze_depth=0.5,
        data_digest="d",
        study="instruments",
        trial_number=0,
    )
    save_exported(tmp_path, model, contract)
    pixels = np.random.default_rng(0).integers(0, 256, (2, SMALL[name], SMALL[name], 3), dtype=np.uint8)
    with torch.no_grad():
        expected = model(contract.normalization(torch.tensor(pixels))).softmax(dim=1)
    exported = load_exported(tmp_path)
    np.testing.assert_allclose(exported.predict_pixels(pixels), expected.numpy(), atol=1e-6)
    (tmp_path / "weights.safetensors").unlink()  # up to 0.5 GB
