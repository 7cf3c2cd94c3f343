"""Optimisers by the names that a trial gives them, and the parameters that each treats alike."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from study.models.classifier import Classifier
from study.trial import OptimizerConfig

# Measured on one core, fused against one parameter after another (ResNet-18): sgd 5.1 and 11 ms a step, adam 7.1 and 36,
# adamw 5.0 and 26; a linear head 19 and 19 µs, 31 and 66, 51 and 66. `foreach` was the slowest on heads and ResNet-18.
FUSED_DEVICES = ("cpu", "cuda")


def make_optimizer(model: Classifier, config: OptimizerConfig) -> Optimizer:
    """The optimiser of the model's trainable parameters; the frozen ones get no state and no weight decay.

    A group of parameters has one learning rate and one weight decay, and says in its `name` whose it is: "head",
    "head_no_decay", "backbone" or "backbone_no_decay"; the head comes first. Groups without parameters are left out.

    Args:
        model: on the device that it will be trained on.
    """
    groups = _groups(model, config)
    is_fused = next(model.trainable_parameters()).device.type in FUSED_DEVICES
    match config.name:
        case "sgd":
            return torch.optim.SGD(groups, config.lr, config.momentum, nesterov=config.nesterov, fused=is_fused)
        case "adam":
            return torch.optim.Adam(groups, config.lr, fused=is_fused)
        case "adamw":
            return torch.optim.AdamW(groups, config.lr, fused=is_fused)
        case "rmsprop":  # torch has none fused; it takes `foreach` on a GPU by itself
            return torch.optim.RMSprop(groups, config.lr, momentum=config.momentum)


def _groups(model: Classifier, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Parameters by part and decay, each part by its names in the model."""
    return [
        {"name": name, "params": parameters, "lr": config.lr * ratio, "weight_decay": decay}
        for part, module, ratio in (("head", model.head, 1.0), ("backbone", model.stages, config.backbone_lr_ratio))
        for name, parameters, decay in _by_decay(part, module, config.weight_decay)
        if parameters
    ]


def _by_decay(part: str, module: nn.Module, weight_decay: float) -> list[tuple[str, list[nn.Parameter], float]]:
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    if weight_decay == 0:  # all alike: a second group costs a linear head 5 to 18 µs a step
        return [(part, [parameter for _, parameter in named], 0.0)]
    decayed = [parameter for name, parameter in named if _decays(name, parameter)]
    spared = [parameter for name, parameter in named if not _decays(name, parameter)]
    return [(part, decayed, weight_decay), (f"{part}_no_decay", spared, 0.0)]


def _decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether it multiplies the input: the matrices and kernels of a network, all named `weight` or `…_weight`.

    Biases and norms have one dimension. Class tokens, position embeddings, tables of relative positions and layer scales have
    more, but other names. Source: `no_weight_decay` of timm's models, `set_weight_decay` in torchvision's references.
    """
    return parameter.ndim >= 2 and name.rpartition(".")[2].endswith("weight")
