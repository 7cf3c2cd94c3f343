"""A classifier measured on some of the examples."""

import logging
from typing import Literal

import torch
from torch import Tensor

from study.confirm_definition import Alteration
from study.data.examples import examples_of
from study.data.study_data import StudyData
from study.models.classifier import Classifier
from study.models.normalization import make_normalizer
from study.training.alterations import AlteredInputs
from study.training.batches import ImageInputs, Indices, Inputs
from study.training.memory import halved
from study.training.metrics import Evaluation as Evaluation
from study.training.photo_reading import open_reader
from study.training.targets import Targets, make_targets
from study.trial import ColourMode, Normalization

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]


def evaluate(model: Classifier, inputs: Inputs, targets: Targets, positions: Indices, batch_size: int) -> Evaluation:
    """What `model` reaches on the examples at `positions`. Leaves it in evaluation.

    Args:
        batch_size: see `outputs_of`.
    Raises:
        ValueError: if `positions` is empty.
        TrialError: if the device's memory does not hold a single example.
    """
    outputs = outputs_of(model, inputs, positions, batch_size)
    return targets.evaluate(outputs, torch.tensor(positions, device=outputs.device))


def outputs_of(model: Classifier, inputs: Inputs, positions: Indices, batch_size: int) -> Tensor:
    """What `model` gives for the examples at `positions`, [len(positions), num_outputs]. Leaves it in evaluation.

    Args:
        batch_size: examples at once. Where memory runs out they are computed anew in halves: but for rounding, an example's
            outputs are the same whatever it is computed with.
    Raises:
        ValueError: if `positions` is empty.
        TrialError: if the device's memory does not hold a single example.
    """
    if len(positions) == 0:
        raise ValueError("an evaluation needs at least one example, but `positions` is empty")
    model.eval()
    while True:
        try:
            with torch.no_grad():  # no inference_mode: what inputs keep for training must not be an inference tensor
                raws = inputs.read(_in_pieces(positions, batch_size))
                return torch.cat([model.suffix(inputs.enter(raw, None).activations) for raw in raws])
        except torch.OutOfMemoryError:
            tried = min(batch_size, len(positions))
        batch_size = halved(tried)
        logger.warning("out of memory measuring %d examples at once: going on with %d", tried, batch_size)


def evaluate_split(
    model: Classifier,
    data: StudyData,
    split: Split,
    *,
    normalization: Normalization,
    device: torch.device,
    image_size: int | None = None,
    colour_mode: ColourMode = "rgb",
    altered: Alteration | None = None,
    batch_size: int = 64,
) -> Evaluation:
    """What `model` reaches on a split, every photo read anew (no cache). Leaves it on `device`, in evaluation.

    Args:
        image_size: side of the photos that the model was trained on; None: as they are packed.
        colour_mode: that the model was trained in.
        altered: what is done to copies of the photos before the model sees them; None: they are taken as they are.
        batch_size: see `outputs_of`.
    Raises:
        ValueError: if the split is empty.
        TrialError: if the device's memory does not hold a single example.
    """
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    examples = examples_of(data)
    positions: Indices = getattr(examples, split)
    targets = make_targets(examples, data.classes, device=device, is_log=data.is_log)
    reader = open_reader(data.images, examples.photos[positions].reshape(-1), device)
    inputs = ImageInputs(
        data.images,
        make_normalizer(normalization, data.statistics, colour_mode),
        model,
        device,
        photos=examples.photos,
        reader=reader,
        image_size=image_size,
        colour_mode=colour_mode,
    )
    return evaluate(model, inputs if altered is None else AlteredInputs(inputs, altered), targets, positions, batch_size)


def _in_pieces(positions: Indices, batch_size: int) -> list[Indices]:
    return [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]
