from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.optim import Optimizer

from study.models.classifier import Classifier
from study.training.optimizers import make_optimizer
from study.trial import OptimizerConfig, OptimizerName

NAMES: tuple[OptimizerName, ...] = ("sgd", "adam", "adamw", "rmsprop")


def classifier(num_frozen: int = 1, seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    stages = {
        "frozen": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
        "trained": nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    }
    return Classifier(stages, nn.Sequential(nn.Linear(6, 3)), num_frozen)


def groups_of(optimizer: Optimizer) -> dict[str, dict[str, Any]]:
    return {group["name"]: group for group in optimizer.param_groups}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_grouped_by_part_and_decay_and_only_the_trainable_ones(name: OptimizerName) -> None:
    model = classifier()
    config = OptimizerConfig(name=name, lr=0.02, backbone_lr_ratio=0.5, momentum=0.8, nesterov=name == "sgd", weight_decay=0.1)
    optimizer = make_optimizer(model, config)
    assert type(optimizer).__name__.lower() == name
    found = {
        group: (values["lr"], values["weight_decay"], [tuple(value.shape) for value in values["params"]])
        for group, values in groups_of(optimizer).items()
    }
    assert found == {
        "head": (0.02, 0.1, [(3, 6)]),
        "head_no_decay": (0.02, 0.0, [(3,)]),
        "backbone": (0.01, 0.1, [(6, 4, 3, 3)]),
        "backbone_no_decay": (0.01, 0.0, [(6,), (6,), (6,)]),
    }
    held = [id(value) for group in optimizer.param_groups for value in group["params"]]
    assert sorted(held) == sorted(id(value) for value in model.trainable_parameters())
    assert all(group.get("momentum", 0.8) == 0.8 for group in optimizer.param_groups)
    assert all(group.get("nesterov", True) for group in optimizer.param_groups)


def test_groups_without_parameters_are_left_out_and_the_head_comes_first() -> None:
    decayed, alike = OptimizerConfig(weight_decay=0.1), OptimizerConfig()
    assert list(groups_of(make_optimizer(classifier(num_frozen=2), decayed))) == ["head", "head_no_decay"]
    assert list(groups_of(make_optimizer(classifier(num_frozen=0), alike))) == ["head", "backbone"]


@pytest.mark.parametrize(
    ("network", "spared"),
    [
        ("vit_b_16", {"class_token", "pos_embedding"}),
        ("convnext_tiny", {"layer_scale"}),
        ("swin_v2_t", {"logit_scale"}),
        ("swin_t", {"relative_position_bias_table"}),
    ],
)
def test_tokens_embeddings_and_scales_do_not_decay_and_every_matrix_does(network: str, spared: set[str]) -> None:
    with torch.device("meta"):
        model = Classifier({"all": torchvision.models.get_model(network, weights=None)}, nn.Linear(1000, 3), 0)
    groups = groups_of(make_optimizer(model, OptimizerConfig(weight_decay=0.1)))
    name_of = {id(value): name for name, value in model.named_parameters()}
    free = [(name_of[id(value)], value.ndim) for value in groups["backbone_no_decay"]["params"]]
    assert {name.rpartition(".")[2] for name, ndim in free if ndim > 1} == spared
    decayed = {name_of[id(value)].rpartition(".")[2] for value in groups["backbone"]["params"]}
    assert decayed <= {"weight", "in_proj_weight"}


def test_weight_decay_alone_shrinks_weights_and_leaves_norms_and_biases() -> None:
    model = classifier()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for value in model.trainable_parameters():
        value.grad = torch.zeros_like(value)
    make_optimizer(model, OptimizerConfig(name="adamw", lr=0.1, weight_decay=0.5)).step()
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"stages.trained.0.weight", "head.0.weight"}
    torch.testing.assert_close(model.head[0].weight, before["head.0.weight"] * (1 - 0.1 * 0.5))  # type: ignore[index]


def steps(model: Classifier, optimizer: Optimizer) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        for value in model.trainable_parameters():
            value.grad = torch.randn(value.shape, generator=generator)
        optimizer.step()
    return [value.detach().clone() for value in model.trainable_parameters()]


@pytest.mark.parametrize(
    "config", [OptimizerConfig(name=name) for name in NAMES] + [OptimizerConfig(name="sgd", nesterov=True)]
)
def test_steps_are_those_of_torchs_plain_optimizer_and_the_same_each_time(config: OptimizerConfig) -> None:
    found = [steps(model := classifier(), make_optimizer(model, config)) for _ in range(2)]
    assert all(map(torch.equal, *found))
    model = classifier()
    options = {"sgd": {"momentum": 0.9, "nesterov": config.nesterov}, "rmsprop": {"momentum": 0.9}}.get(config.name, {})
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}
    plain: Any = kinds[config.name]
    expected = steps(model, plain(model.trainable_parameters(), lr=1e-3, weight_decay=0.0, foreach=False, **options))
    for one, other in zip(found[0], expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_optimizer_goes_on_bit_for_bit(name: OptimizerName, tmp_path: Path) -> None:
    config = OptimizerConfig(name=name, weight_decay=0.1)
    model, again = classifier(), classifier(seed=1)
    optimizer, resumed = make_optimizer(model, config), make_optimizer(again, config)
    steps(model, optimizer)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    again.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    assert list(groups_of(resumed)) == list(groups_of(optimizer))
    assert all(map(torch.equal, steps(model, optimizer), steps(again, resumed)))
