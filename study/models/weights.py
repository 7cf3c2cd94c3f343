"""Which weights a backbone starts from: found, fetched and checked once by the driver, loaded by every trial."""

import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from study.errors import ModelError
from study.models import timm_models
from study.models.backbones import DEFAULT_IMAGE_SIZE, make_network
from study.models.imagenet_files import ImagenetFile, fetch, imagenet_file
from study.models.unallocated import UnallocatedParameters
from study.models.weight_files import Shapes, digest_of, read_shapes, read_tensors
from study.models.weight_layouts import adapted, current_shapes, is_counter, is_fitting

RANDOM_DIGEST = "random"
DIGEST_LENGTH = 16  # 64 bits name a file without a collision


@dataclass(frozen=True)
class ResolvedWeights:
    """Where a backbone's weights are, checked to fit it.

    Attributes:
        path: the file; None for random weights.
        digest: the first 16 hexadecimal digits of the file's SHA-256; "random" for random weights.
        note: what a reader should know ("no network: random weights"); "" if nothing.
    """

    path: Path | None
    digest: str
    note: str = ""


def resolve_weights(backbone: str, weights: str, base_folder: Path) -> ResolvedWeights:
    """The weights that a trial's `weights` asks for, every tensor's name and shape checked.

    Args:
        backbone: one of `known_backbones()`, or timm/NAME.
        weights: "imagenet" | "none" | "if_available" | a path to a .safetensors, .pth or .pt file.
        base_folder: what a relative path starts from.
    Raises:
        ModelError: if the weights cannot be had, or do not fit the backbone (the first tensor that does not is named).
    """
    match weights:
        case "none":
            return ResolvedWeights(None, RANDOM_DIGEST)
        case "imagenet" | "if_available":
            return _imagenet(backbone, is_required=weights == "imagenet")
        case _:
            path = (base_folder / Path(weights).expanduser()).resolve()
            _check_fit(backbone, path)
            return ResolvedWeights(path, digest_of(path)[:DIGEST_LENGTH])


def load_network(backbone: str, weights: ResolvedWeights, image_size: int = DEFAULT_IMAGE_SIZE) -> nn.Module:
    """The library's module with these weights; random ones are drawn from torch's global generator.

    Args:
        image_size: side of the photos in pixels; position embeddings of another size are interpolated.
    Raises:
        ModelError: if the file is not there (any more), or does not fit; if the backbone takes no photos of that size.
    """
    if weights.path is None:
        return make_network(backbone, image_size)
    tensors = read_tensors(weights.path)
    if timm_models.is_timm(backbone):
        return timm_models.load(backbone, image_size, tensors, str(weights.path))
    with UnallocatedParameters():
        network = make_network(backbone, image_size)
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    _check_shapes(current_shapes(shapes), _shapes_of(network), backbone, weights.path)
    network.load_state_dict(adapted(tensors, network, image_size), assign=True)
    return network


def _imagenet(backbone: str, *, is_required: bool) -> ResolvedWeights:
    file = imagenet_file(backbone)
    if file is None:
        path, problem, fix = None, "none are published for it", 'Set weights = "none"'
    else:
        path, problem = (file.path, "") if file.path.exists() else fetch(file)
        fix = f'Put {file.url} at {file.path}, or set weights = "if_available"'
    if path is not None and file is not None:
        _check_fit(backbone, path)
        return ResolvedWeights(path, _checked_digest(file, path)[:DIGEST_LENGTH])
    if is_required:
        raise ModelError(f'weights = "imagenet" needs weights of `{backbone}`, but {problem}. {fix} or a path.')
    return ResolvedWeights(None, RANDOM_DIGEST, note=f"no ImageNet weights for {backbone} ({problem}): random weights")


def _checked_digest(file: ImagenetFile, path: Path) -> str:
    digest = digest_of(path)
    named = re.search(r"-([0-9a-f]{8,})$", path.stem) if file.is_named_by_digest else None
    if named and not digest.startswith(named[1]):
        raise ModelError(
            f"{path} must have a SHA-256 that begins with {named[1]}, but has {digest[:8]}. Delete it and try again."
        )
    return digest


def _check_fit(backbone: str, path: Path) -> None:
    if timm_models.is_timm(backbone):  # which alone knows what it renames
        timm_models.load(backbone, timm_models.default_size(backbone), read_tensors(path), str(path))
        return
    with UnallocatedParameters():
        expected = _shapes_of(make_network(backbone))
    _check_shapes(current_shapes(read_shapes(path)), expected, backbone, path)


def _check_shapes(found: Shapes, expected: Shapes, backbone: str, path: Path) -> None:
    for name, shape in expected.items():
        if name not in found and is_counter(name):
            continue
        if name not in found or not is_fitting(name, found[name], shape):
            what = f"has {found[name]}" if name in found else "has no such tensor"
            raise ModelError(f"weights for `{backbone}` must hold `{name}` with shape {shape}, but {path} {what}. {_FIX}")
    foreign = sorted(found.keys() - expected.keys())
    if foreign:
        raise ModelError(f"weights for `{backbone}` hold no `{foreign[0]}`, but {path} does, {found[foreign[0]]}. {_FIX}")


_FIX = "Use a file that was saved from this architecture with its 1000-way last layer."


def _shapes_of(network: nn.Module) -> Shapes:
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
