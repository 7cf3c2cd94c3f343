"""Which weights a backbone starts from: found, fetched and checked once by the driver, loaded by every trial."""

import re
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from urllib.request import Request, urlopen

import torch
import torchvision
from torch import nn

from study.errors import ModelError
from study.models.backbones import make_network
from study.models.weight_files import Shapes, digest_of, read_shapes, read_tensors

RANDOM_DIGEST = "random"
DIGEST_LENGTH = 16  # 64 bits name a file without a collision
# A name server that does not answer costs 5 s and more a try: a machine without network should say so at once.
PROBE_TIMEOUT_S = 3.0


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
        backbone: one of `known_backbones()`.
        weights: "imagenet" | "none" | "if_available" | a path to a .safetensors, .pth or .pt file.
        base_folder: what a relative path starts from.
    Raises:
        ModelError: if the weights cannot be had, or do not fit the backbone (the first tensor that does not is named).
    """
    expected = _expected_shapes(backbone)
    match weights:
        case "none":
            return ResolvedWeights(None, RANDOM_DIGEST)
        case "imagenet" | "if_available":
            path = _imagenet_path(backbone)
            problem = None if path.exists() else _fetch(backbone, path)
            if problem is None:
                return _checked(path, backbone, expected)
            if weights == "if_available":
                return ResolvedWeights(
                    None, RANDOM_DIGEST, note=f"no ImageNet weights for {backbone} ({problem}): random weights"
                )
            raise ModelError(
                f'weights = "imagenet" needs {path}, but it is not there and {problem}. Put {_imagenet_url(backbone)} there, '
                f'or set weights = "if_available" or a path.'
            )
        case _:
            return _checked((base_folder / Path(weights).expanduser()).resolve(), backbone, expected)


def load_network(backbone: str, weights: ResolvedWeights) -> nn.Module:
    """torchvision's module with these weights; random ones are drawn from torch's global generator.

    Raises:
        ModelError: if the file is not there (any more), or does not fit.
    """
    if weights.path is None:
        return make_network(backbone)
    # Without memory at first: drawing 138 million weights of a VGG only to overwrite them costs seconds a trial.
    with torch.device("meta"):
        network = make_network(backbone)
    tensors = read_tensors(weights.path)
    _check_shapes({name: list(tensor.shape) for name, tensor in tensors.items()}, _shapes_of(network), backbone, weights.path)
    network.load_state_dict(tensors, assign=True)
    return network


def _checked(path: Path, backbone: str, expected: Shapes) -> ResolvedWeights:
    _check_shapes(read_shapes(path), expected, backbone, path)
    digest = digest_of(path)
    # torchvision's file names carry the beginning of their digest.
    named = re.search(r"-([0-9a-f]{8})$", path.stem) if path == _imagenet_path(backbone) else None
    if named and not digest.startswith(named[1]):
        raise ModelError(
            f"{path} must have a SHA-256 that begins with {named[1]}, but has {digest[:8]}. Delete it and try again."
        )
    return ResolvedWeights(path, digest[:DIGEST_LENGTH])


def _check_shapes(found: Shapes, expected: Shapes, backbone: str, path: Path) -> None:
    for name, shape in expected.items():
        # Older files have no counters of batch norm: torch then starts at 0, and nothing reads them.
        if name not in found and name.endswith("num_batches_tracked"):
            continue
        if found.get(name) != shape:
            what = f"has {found[name]}" if name in found else "has no such tensor"
            raise ModelError(f"weights for `{backbone}` must hold `{name}` with shape {shape}, but {path} {what}. {_FIX}")
    foreign = sorted(found.keys() - expected.keys())
    if foreign:
        raise ModelError(f"weights for `{backbone}` hold no `{foreign[0]}`, but {path} does, {found[foreign[0]]}. {_FIX}")


_FIX = "Use a file that was saved from this architecture with its 1000-way last layer."


def _expected_shapes(backbone: str) -> Shapes:
    with torch.device("meta"):
        return _shapes_of(make_network(backbone))


def _shapes_of(network: nn.Module) -> Shapes:
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def _imagenet_url(backbone: str) -> str:
    return str(torchvision.models.get_model_weights(backbone).DEFAULT.url)


def _imagenet_path(backbone: str) -> Path:
    """Where torchvision itself would look: below TORCH_HOME."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _imagenet_url(backbone).rsplit("/", 1)[-1]


def _fetch(backbone: str, path: Path) -> str | None:
    """Downloads torchvision's weights to `path` and checks their hash; returns what went wrong, None if nothing did."""
    url = _imagenet_url(backbone)
    if not _answers(url):
        return f"{url.split('/')[2]} does not answer"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[-1], progress=False)
    except (OSError, RuntimeError) as error:  # RuntimeError: another hash than the file's name says
        return f"the download failed ({error})"
    return None


def _answers(url: str) -> bool:
    """Whether `url` can be had within `PROBE_TIMEOUT_S`, through a proxy where the environment names one.

    In a thread, because no socket timeout covers the name server; a daemon, so that a hanging one holds up no exit.
    """
    answers: SimpleQueue[bool] = SimpleQueue()
    Thread(target=lambda: answers.put(_probe(url)), daemon=True).start()
    try:
        return answers.get(timeout=PROBE_TIMEOUT_S)
    except Empty:
        return False


def _probe(url: str) -> bool:
    try:
        with urlopen(Request(url, method="HEAD"), timeout=PROBE_TIMEOUT_S):
            return True
    except OSError:  # no network, no such host, refused, timed out, an HTTP status of 400 and more
        return False
