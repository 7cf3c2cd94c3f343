"""A trained classifier as two plain files that need nothing else: weights.safetensors and contract.json."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, ValidationError
from safetensors.torch import save_file

from study.data.images import PADDING, Photo, square_of
from study.errors import ModelError
from study.models.backbones import cut, make_network
from study.models.classifier import Classifier, attach_head
from study.models.normalization import Normalizer
from study.models.weight_files import digest_of, read_tensors
from study.trial import Head, Plain

# Raise it when a field changes its meaning: an older `study` then refuses the folder and does not misread it.
CONTRACT_VERSION = 1
WEIGHTS_FILE = "weights.safetensors"
CONTRACT_FILE = "contract.json"


class ModelContract(Plain):
    """What goes in, what comes out, and where the model came from.

    Attributes:
        classes: in the order of the probabilities.
        image_size: pixels; photos are fitted into this square and padded with the colour `padding`.
        weights_digest: SHA-256 of weights.safetensors; `save_exported` fills it in.
        metrics: what the model reached, by the names of a `Measurement` or `test_…`.
        versions: of the libraries that it was trained with.
    """

    contract_version: int = CONTRACT_VERSION
    classes: tuple[str, ...] = Field(min_length=1)
    image_size: int = Field(ge=1)
    padding: tuple[int, int, int] = PADDING
    normalization: Normalizer
    backbone: str
    head: Head
    freeze_depth: float = Field(ge=0, le=1)
    weights_digest: str = ""
    data_digest: str
    study: str
    trial_number: int = Field(ge=0)
    metrics: Mapping[str, float] = Field(default_factory=dict)
    versions: Mapping[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """A classifier that takes photos as they are.

    Attributes:
        module: in evaluation; it may be moved to another device.
    """

    contract: ModelContract
    module: Classifier

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of `predict`."""
        return self.contract.classes

    def predict(self, photos: Sequence[Photo], batch_size: int = 32) -> npt.NDArray[np.float32]:
        """Probabilities [len(photos), num_classes]; rows sum to 1.

        Args:
            photos: paths, files' bytes, Pillow images or uint8 arrays.
            batch_size: photos in memory at once.
        Raises:
            DataError: naming the photo that cannot be read.
        """
        batches = [self._predict_batch(photos[start : start + batch_size]) for start in range(0, len(photos), batch_size)]
        return np.concatenate([np.empty((0, len(self.classes)), dtype=np.float32), *batches])

    def _predict_batch(self, photos: Sequence[Photo]) -> npt.NDArray[np.float32]:
        size_px = self.contract.image_size
        squares = np.stack([square_of(photo, size_px) for photo in photos])
        return self.predict_pixels(squares)

    def predict_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities [n, num_classes] of photos already fitted: uint8 [n, image_size, image_size, 3], one batch."""
        device = next(self.module.parameters()).device
        with torch.no_grad():
            logits = self.module(self.contract.normalization(torch.tensor(pixels, device=device)))
        probabilities: npt.NDArray[np.float32] = logits.softmax(dim=1).cpu().numpy()
        return probabilities


def save_exported(folder: Path, model: Classifier, contract: ModelContract) -> None:
    """Writes the model to `folder`, which is made if it is not there. The contract goes last: a folder with one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONTRACT_FILE).unlink(missing_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    signed = contract.model_copy(update={"weights_digest": digest_of(folder / WEIGHTS_FILE)})
    (folder / CONTRACT_FILE).write_text(signed.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_exported(folder: Path) -> ExportedModel:
    """The model in `folder`, on the CPU and ready to predict. Needs no network, no cache and no definition.

    Raises:
        ModelError: if a file is missing, the contract is of another version, or the weights are not those it was written for.
    """
    contract = _read_contract(folder)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ModelError(f"an exported model must hold {WEIGHTS_FILE}, but there is none in {folder}. Export or pull it anew.")
    found = digest_of(path)
    if found != contract.weights_digest:
        raise ModelError(
            f"{path} must have the SHA-256 that its contract names, {contract.weights_digest[:16]}…, but has {found[:16]}…: "
            f"it was changed or damaged. Export or pull it anew."
        )
    return ExportedModel(contract, _rebuild(contract, path))


def _read_contract(folder: Path) -> ModelContract:
    path = folder / CONTRACT_FILE
    try:
        text = path.read_text(encoding="utf-8")
        _check_version(json.loads(text), path)
        contract = ModelContract.model_validate_json(text)
    except FileNotFoundError:
        raise ModelError(
            f"an exported model must hold {CONTRACT_FILE}, but there is none in {folder}. Check the path."
        ) from None
    except ValidationError as error:
        finding = error.errors()[0]
        where = ".".join(map(str, finding["loc"]))
        raise ModelError(f"`{where}` in {path} breaks the contract: {finding['msg']}. Export or pull the model anew.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as a JSON contract: {error}. Export or pull the model anew.") from error
    if contract.padding != PADDING:
        raise ModelError(
            f"photos are padded with {PADDING} here, but {path} asks for {contract.padding}. Export the model anew."
        )
    return contract


def _check_version(table: Any, path: Path) -> None:
    """Before anything else is read: another version may have other fields."""
    version = table.get("contract_version") if isinstance(table, dict) else None
    if version != CONTRACT_VERSION:
        raise ModelError(
            f"this version of study reads model contracts of version {CONTRACT_VERSION}, but {path} has {version}. "
            f"Use the version of study that wrote it, or export the model anew."
        )


def _rebuild(contract: ModelContract, path: Path) -> Classifier:
    with torch.device("meta"):
        backbone = cut(contract.backbone, make_network(contract.backbone))
        model = attach_head(backbone, contract.head, len(contract.classes), contract.freeze_depth)
    try:
        model.load_state_dict(read_tensors(path), assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]  # torch lists every tensor, one a line
        raise ModelError(
            f"{path} must hold the tensors of `{contract.backbone}` with head {contract.head!r} and "
            f"{len(contract.classes)} classes, but does not: {reason}. Export or pull the model anew."
        ) from error
    return model.to(memory_format=torch.channels_last).eval()
