"""One trial as plain data: what is asked of it (`TrialConfig`) and what it shows, epoch by epoch (`Measurement`)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Head = Literal["replace", "append"]
Normalization = Literal["imagenet", "global", "local"]
Imbalance = Literal["none", "weighted_loss", "balanced_subset", "weighted_sampling"]
OptimizerName = Literal["sgd", "adam"]


class TrialState(StrEnum):
    """How a trial ended, in Optuna's words; MLflow is told the same in the tag `study.trial_state`."""

    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"
    INTERRUPTED = "INTERRUPTED"  # Ctrl-C or a dead driver: waits in Optuna for `study resume`


class Plain(BaseModel):
    """Base of everything that comes from a file: frozen, no unknown keys, no silent conversion (`"12"` is no number)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class OptimizerConfig(Plain):
    """How the trainable parameters are updated."""

    name: OptimizerName = "adam"
    lr: float = Field(default=1e-3, gt=0, description="learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd only")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty, as torch.optim applies it")


class TrialConfig(Plain):
    """A recipe: everything that one training depends on, beside the data.

    The dotted names of these fields (`optimizer.lr`) are the keys of a search space and of a run's params in MLflow.
    """

    backbone: str = Field(default="resnet18", description="a torchvision classifier's name")
    weights: str = Field(
        default="imagenet",
        min_length=1,
        description="imagenet | none | if_available | path to .safetensors or .pth",
    )
    head: Head = Field(default="replace", description="replace the last layer | keep it and append one")
    normalization: Normalization = Field(
        default="imagenet", description="ImageNet's statistics | this training split's | each image's own"
    )
    imbalance: Imbalance = Field(default="none", description="what is done about unequal class sizes")
    freeze_depth: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0, description="share of the backbone's stages, from the input, kept frozen"
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    epochs: int = Field(default=10, ge=1)
    fold: int = Field(default=0, ge=0, description="which of the data's folds is trained and validated on")
    batch_size: int = Field(default=64, ge=1, description="images a step")
    seed: int | None = Field(
        default=None, ge=0, lt=2**31, description="None: derived from the study's seed and the trial's number"
    )


class ConfusionMatrix(Plain):
    """Counts on one split: `counts[i][j]` images of class i were called class j."""

    counts: tuple[tuple[int, ...], ...]


class Measurement(Plain):
    """What one epoch showed.

    Attributes:
        epoch: 1-based.
        metrics: by their fixed names: `train_loss`, `val_loss`, `val_accuracy`, `val_balanced_accuracy`, `val_macro_f1`,
            `val_recall.<class>` (shares in [0, 1]) and `train_images_per_s`.
        confusion: of the validation split.
        timestamp_ms: when it was taken, milliseconds since 1970: written once, so that a repeated delivery is the same record.
    """

    epoch: int = Field(ge=1)
    metrics: Mapping[str, float]
    confusion: ConfusionMatrix
    timestamp_ms: int


class Failure(Plain):
    """Why a trial failed: one line, and the traceback where there is one."""

    reason: str
    traceback: str = ""


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys: `{"a": {"b": 1}}` → `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`: `{"a.b": 1}` → `{"a": {"b": 1}}`."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, leaf = path.split(".")
        table = nested
        for parent in parents:
            table = table.setdefault(parent, {})
        table[leaf] = value
    return nested


def dotted_fields(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Every settable dotted path of a model with its default: the keys that a search space may name."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            fields |= dotted_fields(field.annotation, f"{prefix}{name}.")
        else:
            fields[prefix + name] = field.default
    return fields


def with_values(config: TrialConfig, values: Mapping[str, Any]) -> TrialConfig:
    """`config` with some dotted keys set anew, validated.

    Raises:
        pydantic.ValidationError: if a value breaks a rule of `TrialConfig`.
    """
    return TrialConfig.model_validate(nest(flatten(config.model_dump()) | dict(values)))
