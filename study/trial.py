"""One trial as plain data: what is asked of it (`TrialConfig`) and what it shows, epoch by epoch (`Measurement`)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Head = Literal["replace", "append"]
ColourMode = Literal["rgb", "greyscale"]
Normalization = Literal["imagenet", "global", "local"]
Imbalance = Literal["none", "weighted_loss", "balanced_subset", "weighted_sampling"]
OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop"]
ScheduleName = Literal["constant", "cosine", "step", "plateau"]
Mixing = Literal["none", "mixup", "cutmix"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
CachePrecision = Literal["auto", "float32", "float16", "off"]


REPETITION_KEYS = ("seed", "fold")  # what repeats a recipe and makes none


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
    """How the trainable parameters are updated. Weight decay spares biases and the parameters of norms."""

    name: OptimizerName = "adam"
    lr: float = Field(default=1e-3, gt=0, description="learning rate of the head")
    backbone_lr_ratio: float = Field(default=1.0, gt=0, description="learning rate of the backbone, as a share of `lr`")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd and rmsprop only")
    nesterov: bool = Field(default=False, description="sgd only")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty, as torch.optim applies it; decoupled for adamw")
    gradient_clip: float | None = Field(default=None, gt=0, description="largest L2 norm of all gradients together")

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("`nesterov` needs `momentum > 0`, but momentum is 0. Raise momentum, or remove nesterov")
        return self


class ScheduleConfig(Plain):
    """How the learning rates change over the epochs."""

    name: ScheduleName = "constant"
    warmup_epochs: int = Field(default=0, ge=0, description="epochs in which it rises to its full height, step by step")
    step_epochs: int = Field(default=10, ge=1, description="step only: epochs between two drops")
    factor: float = Field(default=0.1, gt=0, lt=1, description="step and plateau only: what a drop multiplies by")
    patience: int = Field(default=3, ge=1, description="plateau only: epochs without a better val_loss before a drop")


class AugmentationConfig(Plain):
    """What is done to each training photo, drawn anew for every photo and epoch. 0 is off.

    Stages in front of which a photo changes at random cannot be computed once: any of these but `flip` switches the
    activation cache off.
    """

    flip: float = Field(default=0.0, ge=0, le=1, description="probability of a mirrored photo")
    crop: float = Field(default=0.0, ge=0, lt=1, description="largest share of the side that is cut away; the rest is enlarged")
    rotation: float = Field(default=0.0, ge=0, le=180, description="largest angle, degrees, either way")
    color_jitter: float = Field(default=0.0, ge=0, lt=1, description="largest change of brightness, contrast and saturation")
    cutout: float = Field(default=0.0, ge=0, lt=1, description="side of the square that is blanked, as a share of the photo's")
    mixing: Mixing = Field(default="none", description="blend two photos: as a whole | a box of one in the other")
    mixing_alpha: float = Field(default=0.4, gt=0, description="of the Beta distribution that shares are drawn from")

    @property
    def is_active(self) -> bool:
        """Whether a training photo is ever changed."""
        return self.flip > 0 or self.changes_pixels

    @property
    def changes_pixels(self) -> bool:
        """Whether it is changed by more than a mirror, which has two outcomes that can both be computed once."""
        return any((self.crop, self.rotation, self.color_jitter, self.cutout)) or self.mixing != "none"


class ComputeConfig(Plain):
    """How the arithmetic is carried out; beside rounding, none of these is meant to change a result."""

    precision: Precision = Field(default="auto", description="auto: bfloat16 on GPUs that have it, else float32")
    channels_last: bool = Field(default=True, description="memory layout of images and convolutions")
    compile: bool = Field(default=False, description="torch.compile: minutes of warm-up, for long trainings on a GPU")
    activation_cache: CachePrecision = Field(
        default="auto", description="frozen stages' output; auto: float32 for pooled features, float16 for feature maps"
    )
    micro_batch: int | None = Field(
        default=None, ge=1, description="photos at once; gradients add up to batch_size. Halved when memory runs out"
    )


class TrialConfig(Plain):
    """A recipe: everything that one training depends on, beside the data.

    The dotted names of these fields (`optimizer.lr`) are the keys of a search space and of a run's params in MLflow.
    """

    backbone: str = Field(default="resnet18", description="a torchvision classifier's name, or timm/NAME")
    weights: str = Field(
        default="imagenet",
        min_length=1,
        description="imagenet | none | if_available | path to .safetensors or .pth",
    )
    head: Head = Field(default="replace", description="replace the last layer | keep it and append one")
    dropout: float | None = Field(default=None, ge=0, lt=1, description="before the new layer; default: the backbone's own")
    image_size: int | None = Field(
        default=None, ge=16, le=1024, description="pixels; photos are made so small a batch at a time. Default: as packed"
    )
    colour_mode: ColourMode = Field(
        default="rgb", description="photos as they are | luma in all channels, when training and ever after"
    )
    normalization: Normalization = Field(
        default="imagenet", description="ImageNet's statistics | this training split's | each image's own"
    )
    imbalance: Imbalance = Field(default="none", description="what is done about unequal class sizes")
    freeze_depth: Annotated[float, Field(ge=0, le=1)] = Field(
        default=1.0, description="share of the backbone's stages, from the input, kept frozen"
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of each label spread over all classes")
    ema_decay: float | None = Field(
        default=None, gt=0, lt=1, description="measure and keep a running mean of the weights, with this decay a step"
    )
    epochs: int = Field(default=10, ge=1)
    patience: int | None = Field(default=None, ge=1, description="stop after this many epochs without a better objective")
    train_share: float = Field(
        default=1.0, gt=0, le=1, description="share of each class's training photos that is used; drawn by the seed"
    )
    fold: int = Field(default=0, ge=0, description="which of the data's folds is trained and validated on")
    batch_size: int = Field(default=64, ge=1, description="examples a step")
    seed: int | None = Field(
        default=None, ge=0, lt=2**31, description="None: derived from the study's seed and the trial's number"
    )
    compute: ComputeConfig = ComputeConfig()

    def seen_size(self, packed_size: int) -> int:
        """Side in pixels of what the network sees of photos that are packed at `packed_size`."""
        return self.image_size or packed_size

    @model_validator(mode="after")
    def _warms_up_before_the_end(self) -> Self:
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"`schedule.warmup_epochs < epochs` must hold, but got {self.schedule.warmup_epochs} of {self.epochs}. "
                f"Lower it, or train for more epochs"
            )
        return self


class ConfusionMatrix(Plain):
    """Counts on one split: `counts[i][j]` images of class i were called class j."""

    counts: tuple[tuple[int, ...], ...]


class Measurement(Plain):
    """What one epoch showed.

    Attributes:
        epoch: 1-based.
        metrics: by the fixed names that README.md lists (`train_loss`, `val_balanced_accuracy`, `val_recall.<class>` …).
        timestamp_ms: when it was taken, milliseconds since 1970: written once, so that a repeated delivery is the same record.
        is_last: the training ends here, after all its epochs or because `patience` is at its end.
    """

    epoch: int = Field(ge=1)
    metrics: Mapping[str, float]
    timestamp_ms: int
    is_last: bool = False


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
