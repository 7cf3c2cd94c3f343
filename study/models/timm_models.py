"""timm's models as `timm/NAME`, where the optional extra is installed: built, and filled with weights."""

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from study.errors import ModelError, nearest
from study.models.normalization import ChannelScale
from study.models.unallocated import UnallocatedParameters

PREFIX = "timm/"
# What 1,300 models of many authors raise for an argument or a photo that they do not take.
MODEL_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, IndexError, KeyError)


def is_timm(name: str) -> bool:
    """Whether `name` asks for one of timm's models."""
    return name.startswith(PREFIX)


def make(name: str, image_size: int) -> nn.Module:
    """timm's module for photos of `image_size` pixels, drawn from torch's global generator.

    Raises:
        ModelError: if timm is not installed, knows no such model, or builds none for such photos.
    """
    return _created(name, image_size)


def load(name: str, image_size: int, tensors: Mapping[str, Tensor], where: str) -> nn.Module:
    """timm's module with these weights; timm renames, and interpolates embeddings of another image size.

    Args:
        where: the tensors come from, for messages.
    Raises:
        ModelError: as `make`, and if the tensors do not fit.
    """
    return _created(name, image_size, where, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(tensors)})


def default_size(name: str) -> int:
    """The side of the photos that its published weights were trained on, in pixels.

    Raises:
        ModelError: as `make`.
    """
    return int(_config_of(name).input_size[-1])


def hub_file(name: str) -> tuple[str, str] | None:
    """Repository and file of its published weights on the Hugging Face hub; None if none are published.

    Raises:
        ModelError: as `make`.
    """
    config = _config_of(name)
    return (str(config.hf_hub_id), str(config.hf_hub_filename or "model.safetensors")) if config.hf_hub_id else None


def scale_of(name: str) -> ChannelScale:
    """The statistics that its weights were trained with, on pixels in [0, 1]."""
    config = _config_of(name)
    return ChannelScale(tuple(config.mean), tuple(config.std))


def _created(name: str, image_size: int, where: str = "", **options: Any) -> nn.Module:
    timm = _timm()
    config = _config_of(name)
    is_fixed = config.fixed_input_size and image_size != config.input_size[-1]
    patch_px = _patch_size_of(name) if is_fixed else 1
    if image_size % patch_px:
        below = image_size // patch_px * patch_px
        raise refused(name, f"image_size={image_size} is no multiple of its patches; {below} and {below + patch_px} are")
    sizes = {"img_size": image_size} if is_fixed else {}
    try:
        network: nn.Module = timm.create_model(name.removeprefix(PREFIX), **sizes, **options)
    except MODEL_ERRORS as error:
        what = f"{where} does not fit" if where else f"timm builds none for image_size={image_size}"
        raise refused(name, f"{what}: {first_line(error)}") from error
    return network


def _patch_size_of(name: str) -> int:
    """Side of the patches of a model whose parameters depend on the image's size; 1 if it tells none."""
    with torch.random.fork_rng(devices=[]), UnallocatedParameters():
        network = _timm().create_model(name.removeprefix(PREFIX))
    size = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    return int(size[0] if isinstance(size, tuple | list) else size)


def _config_of(name: str) -> Any:
    """timm's `PretrainedCfg`: sizes, statistics, where the weights are."""
    timm = _timm()
    asked = name.removeprefix(PREFIX)
    try:
        config = timm.get_pretrained_cfg(asked, allow_unregistered=False) if timm.is_model(asked) else None
    except RuntimeError:  # an unknown tag behind a known name
        config = None
    if config is None:
        known = [*timm.list_models(), *timm.list_pretrained()]
        raise ModelError(f"`timm/NAME` must be a model of timm {timm.__version__}, but is `{name}`. {_hint(asked, known)}")
    return config


def _hint(asked: str, known: list[str]) -> str:
    hint = nearest(asked, known)
    return hint if len(hint) < 200 else "timm.list_models() lists them."


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ModelError(
            "a backbone called timm/NAME needs timm, but it is not installed. Install it: pip install 'study[timm]'."
        ) from None


def refused(name: str, why: str) -> ModelError:
    """The error for a model that exists and still is no backbone here."""
    return ModelError(f"`{name}` cannot be used as a backbone: {why}. Choose another backbone, or another image_size.")


def first_line(error: Exception) -> str:
    """What a library says of its error, shortened."""
    return str(error).splitlines()[0][:200].rstrip(".") if str(error) else type(error).__name__
