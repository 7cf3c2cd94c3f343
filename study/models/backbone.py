"""What a trial is made of before it has a head: a classifier in pieces that share its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

# Every torchvision classifier tells ImageNet's classes apart. Source: Russakovsky et al. 2015, "ImageNet Large Scale Visual
# Recognition Challenge".
NUM_IMAGENET_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class Backbone:
    """A classifier in pieces.

    Words: the BACKBONE is everything up to what a head reads; a STAGE is a block of it that is frozen or trained as a whole,
    and at whose end activations can be kept; the HEAD is what is new and always trained.

    Attributes:
        stages: by name, input first; the first takes float [num_images, 3, height, width].
        pool: makes [num_images, num_features] of the last stage's output, where a new head reads it; has no parameters.
        logits: the original last layers, from the last stage's output to [num_images, num_logits]; None where there are none.
        num_features: what a new head reads.
        dropout: probability of the dropout in front of the original last layer; 0 where there is none.
        num_logits: how many classes the original last layer tells apart.
    """

    stages: dict[str, nn.Module]
    pool: nn.Module
    logits: nn.Module | None
    num_features: int
    dropout: float
    num_logits: int = NUM_IMAGENET_CLASSES


def joined(stages: Mapping[str, nn.Module], linear: nn.Linear, dropout: float = 0.0) -> Backbone:
    """The backbone whose last stage ends in flat features, read by an optional dropout and the layer `linear`.

    The dropout is made anew: torchvision's own often work in place, which would change the activations that are kept.
    """
    logits = nn.Sequential(nn.Dropout(dropout), linear) if dropout else linear
    return Backbone(dict(stages), nn.Identity(), logits, linear.in_features, dropout)


def starting_with(layer: nn.Module, backbone: Backbone) -> Backbone:
    """`backbone` with `layer`, which has no parameters, at the beginning of its first stage."""
    first = next(iter(backbone.stages))
    return replace(backbone, stages=backbone.stages | {first: nn.Sequential(layer, backbone.stages[first])})
