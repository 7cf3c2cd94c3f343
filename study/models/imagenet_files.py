"""Where a backbone's ImageNet weights are on this machine, and how they get there: torchvision's host, or Hugging Face's."""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

import torch
import torchvision

from study.models import timm_models

# A name server that does not answer costs 5 s and more a try: a machine without network should say so at once.
PROBE_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class ImagenetFile:
    """One file of published weights.

    Attributes:
        url: where it can be had.
        path: where it is or belongs on this machine.
        is_named_by_digest: the end of the path's stem begins the file's SHA-256.
        download: brings it to `path`, or to where it is then found; returns that path.
    """

    url: str
    path: Path
    is_named_by_digest: bool
    download: Callable[[], Path]


def imagenet_file(backbone: str) -> ImagenetFile | None:
    """The file of a backbone's default ImageNet weights, whether or not it is here; None if none are published."""
    if timm_models.is_timm(backbone):
        published = timm_models.hub_file(backbone)
        return _hub_file(*published) if published else None
    url = _torchvision_url(backbone)
    # Where torchvision itself would look: below TORCH_HOME.
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    return ImagenetFile(url, path, True, lambda: _download(url, path))


def fetch(file: ImagenetFile) -> tuple[Path | None, str]:
    """Downloads it: its path, or None and what went wrong."""
    if not _answers(file.url):
        return None, f"{file.url.split('/')[2]} does not answer"
    try:
        return file.download(), ""
    except (OSError, RuntimeError) as error:  # RuntimeError: another hash than the file's name says
        return None, f"the download failed ({str(error).splitlines()[0] if str(error) else type(error).__name__})"


def _torchvision_url(backbone: str) -> str:
    return str(torchvision.models.get_model_weights(backbone).DEFAULT.url)


def _download(url: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[-1], progress=False)
    return path


def _hub_file(repository: str, name: str) -> ImagenetFile:
    hub: Any = importlib.import_module("huggingface_hub")  # timm needs it, so it is there
    found = hub.try_to_load_from_cache(repository, name)
    # Not there, it is given the repository's folder in the cache, whose layout the hub's client makes up itself.
    folder = Path(hub.constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    return ImagenetFile(
        url=f"{endpoint}/{repository}/resolve/main/{name}",
        path=Path(found) if isinstance(found, str) else folder / "snapshots" / "main" / name,
        is_named_by_digest=False,
        download=lambda: Path(hub.hf_hub_download(repository, name)),
    )


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
