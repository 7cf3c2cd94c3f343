"""Weights files whose tensors are called or shaped otherwise than torchvision's modules of today, ImageNet's own among them."""

import math
import re
from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from study.models.weight_files import Shapes

# Auxiliary classifiers, which no backbone here has: googlenet-1378be20.pth and inception_v3_google-0cc3c7bd.pth hold theirs.
AUXILIARY = re.compile(r"(aux[12]|AuxLogits)\..+")
# Source: torchvision's densenet.py, _load_state_dict (densenet121-a639ec97.pth), and vision_transformer.py, MLPBlock
# (vit_b_16-c867db91.pth).
RENAMED = (
    (re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)"), r"\1\2"),
    (re.compile(r"(encoder\.layers\.encoder_layer_\d+\.mlp\.)linear_1(\..+)"), r"\g<1>0\2"),
    (re.compile(r"(encoder\.layers\.encoder_layer_\d+\.mlp\.)linear_2(\..+)"), r"\g<1>3\2"),
)
POSITIONS = "encoder.pos_embedding"


def current_name(name: str) -> str | None:
    """What torchvision calls the tensor today; None for one that no backbone has a use for."""
    if AUXILIARY.fullmatch(name):
        return None
    for pattern, replacement in RENAMED:
        if found := pattern.fullmatch(name):
            return found.expand(replacement)
    return name


def is_fitting(name: str, found: list[int], expected: list[int]) -> bool:
    """Whether a tensor of shape `found` can be loaded where `expected` is: the same, or a ViT's positions of another size."""
    if name != POSITIONS or len(found) != 3:
        return found == expected
    side = math.isqrt(found[1] - 1) if found[1] > 1 else 0
    return side > 0 and side * side == found[1] - 1 and [found[0], found[2]] == [expected[0], expected[2]]


def current_shapes(shapes: Shapes) -> Shapes:
    """`shapes` under the names of today."""
    return {current: shape for name, shape in shapes.items() if (current := current_name(name)) is not None}


def adapted(tensors: Mapping[str, Tensor], network: nn.Module, image_size: int) -> "OrderedDict[str, Tensor]":
    """What `network`, of photos of `image_size` pixels, loads: today's names, positions interpolated, nothing missing.

    Interpolated as torchvision's own function does it, bicubic.
    """
    state: OrderedDict[str, Tensor] = OrderedDict()
    for name, tensor in tensors.items():
        if (current := current_name(name)) is not None:
            state[current] = tensor
    if POSITIONS in state:
        state = interpolate_embeddings(image_size, _patch_px(network), state)
    expected = network.state_dict()
    for name, tensor in expected.items():
        if is_counter(name):
            state.setdefault(name, tensor)
    # MNASNet asks which version of itself wrote the file, and takes no answer for an error.
    state._metadata = getattr(expected, "_metadata")  # type: ignore[attr-defined]  # noqa: B009
    return state


def _patch_px(network: nn.Module) -> int:
    assert isinstance(network, VisionTransformer), "no other network has positions"
    return int(network.patch_size)


def is_counter(name: str) -> bool:
    """Whether the tensor counts batch norm's batches: older files have none, torch then starts at 0, and nothing reads it."""
    return name.endswith("num_batches_tracked")
