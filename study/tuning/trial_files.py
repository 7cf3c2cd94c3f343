"""What a trial leaves on disk: its training on the way, the weights of its best epoch at the end."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from study.data.study_data import StudyData
from study.models.classifier import Classifier, build_classifier
from study.models.weights import ResolvedWeights
from study.training.training import load_trained
from study.trial import TrialConfig


def state_file(output_folder: Path, number: int) -> Path:
    """Where the trial `number` is saved while it runs."""
    return output_folder / "trials" / f"{number:05d}.state.safetensors"


def weights_file(output_folder: Path, number: int) -> Path:
    """Where the trial `number` leaves the weights of its best epoch."""
    return output_folder / "trials" / f"{number:05d}.safetensors"


def save_trained(tensors: Mapping[str, Tensor], output_folder: Path, number: int) -> None:
    """Writes a trial's trained tensors, whole or not at all."""
    file = weights_file(output_folder, number)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".tmp")
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, unfinished)
    unfinished.replace(file)


def rebuild_trained(config: TrialConfig, data: StudyData, weights: ResolvedWeights, file: Path) -> Classifier:
    """The model of a completed trial: the same start as the trial's, then its trained tensors over it."""
    assert config.seed is not None, "the advisor resolves the seed"
    size_px = config.seen_size(data.image_size)
    model = build_classifier(config, data.num_outputs, weights, config.seed, image_size=size_px, num_views=data.num_views)
    load_trained(model, load_file(file))
    return model.eval()
