"""What a person should know before using a registered model, in Markdown: the version's description, and a file beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.models.contract import ModelContract
from study.tracking.model_package import CARD_FILE
from study.tracking.registry import MAX_DESCRIPTION

PROMOTION_HEADING = "## Promotion"
MAX_CLASSES = 40  # named in the card
# `imagenet` of torchvision. Source: torchvision's README, "Pre-trained Model License"; image-net.org, "Terms of access".
IMAGENET_TERMS = (
    "Started from torchvision's ImageNet weights. torchvision's code is under the BSD 3-Clause licence; of pre-trained weights "
    "torchvision says that they may have licences or terms of their own, derived from the data that they were trained on, and "
    "that it is on you to find out whether you may use them. ImageNet's terms of access allow research and education without "
    "commercial purpose; whether they bind weights is not settled. Ask who answers for this before you use it commercially."
)
TIMM_TERMS = (
    "Started from ImageNet weights of timm. timm's code is under the Apache-2.0 licence; its weights have licences of their "
    "own, named on each model's page (https://huggingface.co/timm), some of them non-commercial."
)
RANDOM_TERMS = "Started from random weights: no foreign weights are in it."


@dataclass(frozen=True)
class ModelFacts:
    """What a card tells beside the contract.

    Attributes:
        question: of the study; "" where it has none.
        data_origin: where the photos come from.
        num_photos: by split.
        objective: what the search improved: val_balanced_accuracy …
        chance: what a model that looks at no photo reaches on it.
        searched: the recipe, as far as it was searched.
        calibration: by name, before and after the temperature; empty for numbers.
        weights: what the recipe says: imagenet, none, a path …
        weights_digest: of the weights that it started from; "random".
    """

    question: str
    data_origin: str
    num_photos: Mapping[str, int]
    objective: str
    chance: float
    searched: Mapping[str, Any]
    calibration: Mapping[str, float]
    weights: str
    weights_digest: str


def model_card(contract: ModelContract, facts: ModelFacts) -> str:
    """The card as it stands when the model is registered; what comes later is under `PROMOTION_HEADING` of the description."""
    sections = [
        f"# {contract.study}, trial {contract.trial_number}",
        facts.question,
        _measured(contract, facts),
        _data(contract, facts),
        _preprocessing(contract),
        _limits(contract),
        f"## Licence of the weights\n\n{terms_of(contract.backbone, facts.weights, facts.weights_digest)}",
        _loading(contract),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def promoted_card(description: str, sentences: Sequence[str]) -> str:
    """A version's description with what its last promotion found."""
    card = description.partition(PROMOTION_HEADING)[0].rstrip()
    told = "\n".join(f"- {sentence}" for sentence in sentences)
    section = f"\n\n{PROMOTION_HEADING}\n\n{told}\n"[:MAX_DESCRIPTION]
    return card[: MAX_DESCRIPTION - len(section)] + section  # what is told last is told whole


def terms_of(backbone: str, weights: str, weights_digest: str) -> str:
    """Under what terms the weights are that a model started from, as far as that is known."""
    if weights_digest == "random":
        return RANDOM_TERMS
    if weights in ("imagenet", "if_available"):
        return TIMM_TERMS if backbone.startswith("timm/") else IMAGENET_TERMS
    return f"Started from the file {weights} (SHA-256 {weights_digest}…), whose terms are not known here."


def _measured(contract: ModelContract, facts: ModelFacts) -> str:
    rows = [f"| {name} | {value:.4f} |" for name, value in contract.metrics.items() if "." not in name]
    by_class = [
        f"| {name} | {_cell(contract, 'recall', name)} | {_cell(contract, 'precision', name)} |"
        for name in contract.classes[:MAX_CLASSES]
    ]
    lines = [
        "## Measured",
        "",
        f"On the validation split, which also chose it: evidence of the search only, until `study promote` says more. "
        f"A model that looks at no photo reaches {facts.objective} {facts.chance:.3f}.",
        "",
        "| metric | value |",
        "|---|---|",
        *rows,
    ]
    if by_class:
        lines += ["", "| class | recall | precision |", "|---|---|---|", *by_class]
    if facts.calibration:
        before, after = (facts.calibration[f"val_calibration_error_{when}"] for when in ("before", "after"))
        lines += [
            "",
            f"Probabilities are calibrated: scores are divided by {contract.temperature:g}, fitted on the validation split; "
            f"the expected calibration error there went from {before:.3f} to {after:.3f}. On other photos expect a larger one.",
        ]
    return "\n".join(lines)


def _cell(contract: ModelContract, metric: str, name: str) -> str:
    value = contract.metrics.get(f"val_{metric}.{name}")
    return "" if value is None else f"{value:.3f}"


def _data(contract: ModelContract, facts: ModelFacts) -> str:
    numbers = ", ".join(f"{count:,} {split}" for split, count in facts.num_photos.items())
    what = f"{len(contract.classes)} classes" if contract.classes else "a number"
    return f"## Data\n\n{facts.data_origin}: {numbers} photos; {what}. Digest of photos and split: `{contract.data_digest}`."


def _preprocessing(contract: ModelContract) -> str:
    normalization = contract.normalization
    how = (
        "each photo by its own mean and standard deviation"
        if normalization.mean is None or normalization.std is None
        else f"by mean {_channels(normalization.mean)} and deviation {_channels(normalization.std)} ({normalization.kind})"
    )
    views = f" An example is {len(contract.example_views)} photos: {', '.join(contract.example_views)}." * bool(
        contract.example_views
    )
    size_px = contract.packed_size or contract.image_size
    smaller = f"resized to {contract.image_size} × {contract.image_size} px, " * (size_px != contract.image_size)
    grey = "turned grey (luma in all three channels), " * (contract.colour_mode == "greyscale")
    return (
        f"## Preprocessing\n\nInside the model. Photos are turned upright, fitted into {size_px} × {size_px} px without "
        f"stretching, padded with RGB {contract.padding}, {smaller}{grey}and normalised {how}.{views}"
    )


def _channels(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in values) + ")"


def _limits(contract: ModelContract) -> str:
    answer = (
        "It answers every photo with one of its classes, whatever the photo shows; `--abstain-below` leaves the unsure open."
        if contract.classes
        else "It answers every photo with a number, whatever the photo shows."
    )
    return (
        f"## Limits\n\n{answer} It was measured on photos like those it was trained on, and on no others. Photos of the same "
        f"thing taken otherwise (light, camera, background) may be told worse; nothing here measures that, nor how errors "
        f"fall on groups of people. The photos' own rights are not known here."
    )


def _loading(contract: ModelContract) -> str:
    name = contract.study
    return (
        "## How to load\n\n```python\nimport mlflow\n\n"
        f'mlflow.pyfunc.load_model("models:/{name}@champion").predict("photo.jpg")\n```\n\n'
        f"```sh\nstudy predict models:/{name}@champion photo.jpg   # or a folder\n"
        f"study pull models:/{name}@champion here              # {CARD_FILE} stays; --onnx writes a graph\n```\n\n"
        f'To train it further: `study.load_model("models:/{name}@champion")`, a `torch.nn.Module`.'
    )
