"""A trained classifier as two plain files that need nothing else: weights.safetensors and contract.json."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor

from study.data.images import Photo
from study.errors import DataError, ModelError
from study.models.backbones import cut, make_network
from study.models.classifier import Classifier, attach_head
from study.models.contract import CONTRACT_FILE, CONTRACT_VERSION, ModelContract, TargetScale, read_contract
from study.models.unallocated import UnallocatedParameters
from study.models.weight_files import digest_of, read_tensors

__all__ = ["ExportedModel", "ModelContract", "TargetScale", "load_exported", "save_exported"]

WEIGHTS_FILE = "weights.safetensors"
# One photo, or the photos of an example's views, in the order of the contract's `example_views`.
Example = Photo | Sequence[Photo]


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
        """Names of the columns of `predict`; none where it gives numbers."""
        return self.contract.classes

    @property
    def example_views(self) -> tuple[str, ...]:
        """The photos that make an example, in order; none: every photo is an example."""
        return self.contract.example_views

    def predict(self, examples: Sequence[Example], batch_size: int = 32) -> npt.NDArray[np.float32]:
        """Probabilities [len(examples), num_classes], whose rows sum to 1; or numbers in the target's unit, [len(examples)].

        Args:
            examples: photos (paths, files' bytes, Pillow images or uint8 arrays); of a model of several views, tuples of them.
            batch_size: examples in memory at once.
        Raises:
            DataError: naming the photo that cannot be read, or the example that has too many or too few photos.
        """
        photos = [self._photos_of(place, example) for place, example in enumerate(examples)]
        starts = range(0, len(photos), batch_size)
        batches = [self._predict_batch(photos[start : start + batch_size]) for start in starts]
        width = (len(self.classes),) if self.contract.task == "class" else ()
        return np.concatenate([np.empty((0, *width), dtype=np.float32), *batches])

    def predict_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `predict`, of photos as `ModelContract.pixels_of` gives them, one batch.

        Args:
            pixels: uint8 [n * num_views, image_size, image_size, 3].
        """
        device = next(self.module.parameters()).device
        with torch.no_grad():
            outputs = self.module(self.contract.network_input(torch.tensor(pixels, device=device)))
        if self.contract.target is not None:
            return self.contract.target.in_unit(outputs[:, 0].cpu().numpy())
        scores = outputs / self.contract.temperature  # Source: Guo et al. 2017, eq. 9
        probabilities: npt.NDArray[np.float32] = scores.softmax(dim=1).cpu().numpy()
        return probabilities

    def _photos_of(self, place: int, example: Example) -> tuple[Photo, ...]:
        views = self.example_views
        photos = tuple(example) if isinstance(example, list | tuple) else None
        if views and (photos is None or len(photos) != len(views)):
            given = "one photo" if photos is None else f"{len(photos)} photos"
            raise DataError(
                f"this model takes {len(views)} photos an example ({', '.join(views)}), but example {place} is {given}. "
                f"Give tuples of {len(views)}."
            )
        if not views and photos is not None:
            raise DataError(
                f"this model takes one photo an example, but example {place} has {len(photos)}. Give single photos."
            )
        return photos if photos is not None else (example,)

    def _predict_batch(self, examples: Sequence[tuple[Photo, ...]]) -> npt.NDArray[np.float32]:
        return self.predict_pixels(self.contract.pixels_of([photo for photos in examples for photo in photos]))


def save_exported(folder: Path, model: Classifier, contract: ModelContract) -> ModelContract:
    """Writes the model to `folder`, which is made if it is not there; its contract with the digest of its weights.

    The contract goes last: a folder with one is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONTRACT_FILE).unlink(missing_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS_FILE)
    signed = contract.model_copy(
        update={"weights_digest": digest_of(folder / WEIGHTS_FILE), "contract_version": CONTRACT_VERSION}
    )
    (folder / CONTRACT_FILE).write_text(signed.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return signed


def load_exported(folder: Path, freeze_depth: float | None = None) -> ExportedModel:
    """The model in `folder`, on the CPU and ready to predict. Needs no network, no cache and no definition.

    The contract and the weights are read, and no other file that may lie there.

    Args:
        freeze_depth: share of the stages that cannot be trained further; default: as the model was trained.
    Raises:
        ModelError: if a file is missing, the contract is of another version, or the weights are not those it was written for.
    """
    contract = read_contract(folder)
    if freeze_depth is not None:
        contract = contract.model_copy(update={"freeze_depth": freeze_depth})
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


def _rebuild(contract: ModelContract, path: Path) -> Classifier:
    tensors = read_tensors(path)
    try:
        model = _filled(contract, tensors, UnallocatedParameters())
        # Some of timm's models keep tables in buffers that no file holds, made the way parameters are.
        if any(tensor.is_meta for tensor in chain(model.parameters(), model.buffers())):
            model = _filled(contract, tensors, nullcontext())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]  # torch lists every tensor, one a line
        raise ModelError(
            f"{path} must hold the tensors of `{contract.backbone}` with head {contract.head!r} and "
            f"{contract.head_plan.num_outputs} outputs, but does not: {reason}. Export or pull the model anew."
        ) from error
    return model.to(memory_format=torch.channels_last).eval()


def _filled(contract: ModelContract, tensors: Mapping[str, Tensor], context: AbstractContextManager[object]) -> Classifier:
    """The contract's classifier with these tensors, built within `context`; torch's global generator stays as it was."""
    with torch.random.fork_rng(devices=[]), context:
        backbone = cut(contract.backbone, make_network(contract.backbone, contract.image_size))
        model = attach_head(backbone, contract.head_plan, contract.freeze_depth)
    model.load_state_dict(tensors, assign=True)
    return model
