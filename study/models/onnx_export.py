"""An exported model as one ONNX graph: pixels in, probabilities or a number out; what is done to them lies inside."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from study.errors import ModelError
from study.models.colour_modes import as_seen
from study.models.exported import ExportedModel
from study.models.normalization import SMALLEST_STD, Normalizer

ONNX_FILE = "model.onnx"
INPUT, OUTPUT = "pixels", "answer"


class AnsweringNetwork(nn.Module):
    """Pixels → answers, as `ExportedModel.predict_pixels`, in operations that ONNX has."""

    def __init__(self, exported: ExportedModel) -> None:
        super().__init__()
        self.stages = exported.module.stages
        # Views are joined below: `JoinViews` reads the number of examples as a number, which would become a part of the graph.
        self.head = nn.Sequential(*(layer for name, layer in exported.module.head.named_children() if name != "views"))
        self._contract = exported.contract
        self._normalize = _Normalization(exported.contract.normalization)

    def forward(self, pixels: Tensor) -> Tensor:
        """Probabilities [n, num_classes], or numbers in the target's unit [n, 1].

        Args:
            pixels: uint8 [n, num_views, image_size, image_size, 3], photos as `ModelContract.pixels_of` gives them, or in
                colour, whatever the colour mode.
        """
        features = self.stages(self._normalize(as_seen(pixels.flatten(0, 1), self._contract.colour_mode)))
        outputs = self.head(features.reshape(pixels.shape[0], -1))
        target = self._contract.target
        if target is None:
            probabilities: Tensor = (outputs / self._contract.temperature).softmax(dim=1)
            return probabilities
        numbers: Tensor = outputs * target.std + target.mean
        return numbers.exp() if target.is_log else numbers


class _Normalization(nn.Module):
    """`Normalizer` without memory of its own."""

    mean: Tensor
    std: Tensor

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        self.is_local = normalizer.mean is None
        self.register_buffer("mean", torch.tensor(normalizer.mean or (0.0, 0.0, 0.0)).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(normalizer.std or (1.0, 1.0, 1.0)).clamp(min=SMALLEST_STD).view(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [n, height, width, 3] → float32 [n, 3, height, width]."""
        images = pixels.permute(0, 3, 1, 2).float() / 255
        if not self.is_local:
            return (images - self.mean) / self.std
        centred = images - images.mean(dim=(2, 3), keepdim=True)
        return centred / centred.square().mean(dim=(2, 3), keepdim=True).sqrt().clamp(min=SMALLEST_STD)


def require_exporter() -> None:
    """Nothing, where the extra `onnx` is installed.

    Raises:
        ModelError: if it is not.
    """
    try:
        import onnxscript  # noqa: F401 (torch's exporter is built on it, and says so in three lines)
    except ImportError:
        raise ModelError(
            "an ONNX graph is written by the extra `onnx`, but it is not installed. Install it: pip install study[onnx]."
        ) from None


def export_onnx(exported: ExportedModel, file: Path) -> Path:
    """Writes `file`: any number of examples at once; the contract as JSON in the graph's metadata, under `contract`.

    Raises:
        ModelError: if the extra `onnx` is not installed, or the network has an operation that ONNX does not.
    """
    require_exporter()
    contract = exported.contract
    # Two examples: of one, the exporter would take the number for a part of the architecture.
    pixels = torch.zeros(2, contract.num_views, contract.image_size, contract.image_size, 3, dtype=torch.uint8)
    network = AnsweringNetwork(exported).eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own internals
            program = torch.onnx.export(
                network,
                (pixels,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes={"pixels": {0: torch.export.Dim("examples")}},
                dynamo=True,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"`{contract.backbone}` must have operations that ONNX has, but could not be exported: {reason}. "
            f"Use the model's own format."
        ) from error
    assert program is not None, "dynamo=True returns the program"
    program.model.metadata_props["contract"] = contract.model_dump_json()
    program.save(file)
    return file
