"""Optimisers by the names that a trial gives them."""

import torch
from torch.optim import Optimizer

from study.models.classifier import Classifier
from study.trial import OptimizerConfig


def make_optimizer(model: Classifier, config: OptimizerConfig) -> Optimizer:
    """The optimiser of the model's trainable parameters; the frozen ones get no state and no weight decay."""
    parameters = list(model.trainable_parameters())
    match config.name:
        case "sgd":
            return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
        case "adam":
            return torch.optim.Adam(parameters, lr=config.lr, weight_decay=config.weight_decay)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
