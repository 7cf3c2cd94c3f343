"""An exported model as a module to train further, and to export again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from study.data.images import Photo
from study.models.contract import ModelContract
from study.models.exported import ExportedModel, save_exported


class TrainableModel(nn.Module):
    """A classifier behind its own preprocessing: photos in, scores before the softmax out.

    What the model was trained to leave alone stays frozen; `freeze_depth=0.0` at loading frees all of it.

    Attributes:
        classifier: the network; its trainable parameters are what an optimizer may change.
        contract: what went in and came out when it was exported.
    """

    def __init__(self, exported: ExportedModel) -> None:
        super().__init__()
        self.classifier = exported.module
        self.contract: ModelContract = exported.contract

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the scores; none where the model gives a number."""
        return self.contract.classes

    def preprocess(self, photos: Sequence[Photo]) -> Tensor:
        """What `forward` takes: float32 [len(photos), 3, image_size, image_size], on the model's device.

        Args:
            photos: paths, files' bytes, Pillow images or uint8 arrays; of a model of several views, an example's in order.
        Raises:
            UnreadablePhotoError: naming the photo that cannot be read.
        """
        pixels = self.contract.pixels_of(photos)
        device = next(self.classifier.parameters()).device
        return self.contract.network_input(torch.tensor(pixels, device=device))

    def forward(self, images: Tensor) -> Tensor:
        """Scores [n, num_classes], no temperature applied; or the standardised number [n, 1].

        Args:
            images: as `preprocess` returns them, [n * num_views, 3, image_size, image_size].
        """
        outputs: Tensor = self.classifier(images)
        return outputs

    def export(self, folder: Path | str, **changes: Any) -> ExportedModel:
        """Writes the model as it is now to `folder`, as `study pull` does; returns it ready to predict.

        The temperature becomes 1 and the metrics go, unless `changes` names them: both were the earlier weights'.

        Args:
            changes: fields of the contract, such as `study="pets, fine-tuned"` or `temperature=1.7`.
        """
        kept: dict[str, Any] = {"temperature": 1.0, "metrics": {}, **changes}
        contract = ModelContract.model_validate(dict(self.contract) | kept)
        signed = save_exported(Path(folder), self.classifier, contract)
        return ExportedModel(signed, self.classifier.eval())
