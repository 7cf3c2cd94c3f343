"""A study's definition: one TOML file → one frozen, checked `StudyDefinition`."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict, ValidationError, field_validator, model_validator

from study.claim_definition import Claim as Claim
from study.claim_definition import check_claims
from study.confirm_definition import ConfirmDefinition as ConfirmDefinition
from study.data_definition import DataDefinition as DataDefinition
from study.data_definition import SplitDefinition as SplitDefinition
from study.data_definition import Task
from study.errors import DefinitionError
from study.freeze_depths import check_screening
from study.recipe_pairs import check_pairs
from study.search_definition import Constraint, Quantity, parse_constraint
from study.search_definition import PrunerDefinition as PrunerDefinition
from study.search_definition import SearchDefinition as SearchDefinition
from study.space import Range, SearchSpace, check_points, parse_space
from study.trial import Plain, TrialConfig, flatten, nest
from study.validation import explain

Metric = Literal["balanced_accuracy", "accuracy", "macro_f1", "loss", "top5_accuracy", "calibration_error", "mae", "r2"]
Direction = Literal["maximize", "minimize"]
# What can be improved of each task; the first is the default.
METRICS_OF: Mapping[Task, tuple[Metric, ...]] = {
    "class": ("balanced_accuracy", "accuracy", "macro_f1", "loss", "top5_accuracy", "calibration_error"),
    "number": ("mae", "r2", "loss"),
}
MINIMIZED: tuple[Metric, ...] = ("loss", "calibration_error", "mae")
MIN_TOP5_CLASSES = 6  # with 5 or fewer, every answer is among the 5 most probable
# Keys of a trial that change what is learnt of classes, with the value that leaves it alone.
CLASS_KEYS: Mapping[str, Any] = {"imbalance": "none", "label_smoothing": 0.0}
DEFAULT_TRIALS = 20  # twice the random start of TPE, so that half of them are informed
MAX_GRID = 100_000  # past this, a grid is a slip: at one second a trial it runs for a day


class Objective(Plain):
    """What the search improves, measured on the validation split."""

    metric: Metric = Field(default="balanced_accuracy", description="default: mae where the target is a number")
    direction: Direction | None = Field(default=None, description="default: the only one that makes sense for the metric")
    cost: Quantity | None = Field(default=None, description="a second objective, minimised: the answer is a Pareto front")
    constraints: Annotated[tuple[str, ...], Strict(False)] = Field(default=(), description='limits, as "parameters_m <= 30"')

    @field_validator("constraints")
    @classmethod
    def _are_readable(cls, constraints: tuple[str, ...]) -> tuple[str, ...]:
        for text in constraints:
            parse_constraint(text)
        return constraints

    @property
    def limits(self) -> tuple[Constraint, ...]:
        """The constraints, parsed."""
        return tuple(parse_constraint(text) for text in self.constraints)

    @property
    def quantities(self) -> frozenset[str]:
        """What must be known of a trial's model: of its cost and constraints."""
        return frozenset(limit.quantity for limit in self.limits) | ({self.cost} if self.cost else frozenset())

    @model_validator(mode="after")
    def _fits_the_metric(self) -> Self:
        natural: Direction = "maximize" if self.is_maximized else "minimize"
        if self.direction not in (None, natural):
            raise ValueError(f"{self.metric} is better {'higher' if self.is_maximized else 'lower'}. Use {natural!r}")
        return self

    @property
    def is_maximized(self) -> bool:
        """Whether higher is better."""
        return self.metric not in MINIMIZED

    def is_better(self, value: float, other: float) -> bool:
        """Whether `value` beats `other`."""
        return value > other if self.is_maximized else value < other

    @property
    def key(self) -> str:
        """The metric's name in a `Measurement` and in MLflow."""
        return f"val_{self.metric}"

    def check_classes(self, num_classes: int) -> None:
        """Returns if the metric says something about so many classes (0 where the target is a number).

        Raises:
            DefinitionError: for top5_accuracy, if every answer would be right.
        """
        if self.metric == "top5_accuracy" and num_classes < MIN_TOP5_CLASSES:
            raise DefinitionError(
                f"`objective.metric` = 'top5_accuracy' needs {MIN_TOP5_CLASSES} classes or more, but [data] has {num_classes}. "
                f"Use accuracy."
            )


class Resources(Plain):
    """What one trial may use. Without a GPU in the cluster, trials run on the CPU whatever `gpus` says."""

    cpus: int = Field(default=1, ge=1)
    gpus: float = Field(default=1.0, ge=0)
    max_concurrent: int | None = Field(default=None, ge=1, description="trials at once; default: as many as fit")


class StudyDefinition(Plain):
    """One question, and everything needed to answer it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    question: str = ""
    experiment: str | None = Field(default=None, min_length=1, description="MLflow experiment; default: the study's name")
    data: DataDefinition
    objective: Objective = Objective()
    trial: TrialConfig = TrialConfig()
    space: SearchSpace
    search: SearchDefinition = SearchDefinition()
    confirm: ConfirmDefinition | None = None
    resources: Resources = Resources()
    # Not part of the digest: what was said before changes nothing of what is run.
    claims: Annotated[tuple[Claim, ...], Strict(False)] = Field(default=(), exclude=True, description="what was said before")
    file: Path = Field(exclude=True, description="paths in the definition are relative to its folder")
    text: str = Field(exclude=True, description="the file as it was read")

    @property
    def experiment_name(self) -> str:
        """The MLflow experiment that the study's runs go to."""
        return self.experiment or self.name

    @property
    def num_trials(self) -> int:
        """Trials of the search: as asked, or the whole grid; never more than a grid has."""
        if not self.search.sampler.is_exhaustive:
            return self.search.trials or DEFAULT_TRIALS
        num_combinations = sum(1 for _ in self.space.combinations(self.fixed_values))
        return min(self.search.trials or num_combinations, num_combinations)

    @property
    def fixed_values(self) -> dict[str, Any]:
        """`[trial]` by its dotted keys."""
        return flatten(self.trial.model_dump())

    @property
    def digest(self) -> str:
        """Content hash: changes with any value, not with comments or the file's place."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def path_of(self, written: str) -> Path:
        """A path as written in the definition, made absolute."""
        return (self.file.parent / Path(written).expanduser()).resolve()


def load_definition(file: Path) -> StudyDefinition:
    """The checked definition in `file`.

    Raises:
        DefinitionError: in one line, the first thing that is wrong with it.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DefinitionError(f"a definition must be a TOML file, but there is no {file}. Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"{file} cannot be read as UTF-8 text: {error}. Check the path.") from None
    definition = parse_definition(text, file.resolve(), shown_as=str(file))
    # Not of a text that was stored: a study that has begun is shown and goes on, whatever it may still run into.
    check_pairs(definition.space, definition.trial, str(file))
    return definition


def parse_definition(text: str, file: Path, shown_as: str | None = None) -> StudyDefinition:
    """As `load_definition`, from text that was once read from `file` (a resumed study keeps its first text).

    Raises:
        DefinitionError: in one line, the first thing that is wrong with it.
    """
    where = shown_as or str(file)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError(f"a definition must be valid TOML, but {where} is not: {error}. Mend that line.") from None
    try:
        fixed = TrialConfig.model_validate(_by_tables(table.get("trial", {})))
    except ValidationError as error:
        raise explain(error, TrialConfig, where, prefix="trial.") from None
    raw_space = table.get("space", {})
    if not isinstance(raw_space, dict):
        raise DefinitionError(f"`space` must be a table, but is {raw_space!r} in {where}. Write [space].")
    table["space"] = parse_space(raw_space, fixed, where)
    table["objective"] = _with_default_metric(table)
    try:
        definition = StudyDefinition.model_validate(table | {"trial": fixed, "file": file, "text": text})
    except ValidationError as error:
        raise explain(error, StudyDefinition, where) from None
    _check_metric(definition, where)
    _check_class_keys(definition, where)
    _check_image_size(definition, where)
    _check_grid(definition, where)
    _check_claims(definition, where)
    _check_screening(definition, where)
    return definition.model_copy(update={"search": _settled_search(definition, where)})


def _by_tables(trial: Any) -> Any:
    """`[trial]`, unchecked, with keys as [space] writes them ("optimizer.lr", quoted) put into their tables."""
    if not isinstance(trial, dict):
        return trial
    quoted = {key for key in trial if "." in key and isinstance(trial.get(key.split(".")[0], {}), dict)}
    plain = {key: value for key, value in trial.items() if key not in quoted}
    return nest(flatten(plain) | {key: trial[key] for key in quoted}) if quoted else trial


def _settled_search(definition: StudyDefinition, where: str) -> SearchDefinition:
    """`[search]` as it is carried out: its points checked and by dotted keys, no pruner beside two objectives."""
    search = definition.search
    points = check_points(search.enqueue, definition.space, definition.fixed_values, where)
    if len(points) > definition.num_trials:
        raise DefinitionError(
            f"points to try first must be at most as many as trials, but {where} has {len(points)} [[search.enqueue]] and "
            f"{definition.num_trials} trials. Raise `search.trials`, or remove points."
        )
    changes: dict[str, Any] = {"enqueue": points}
    if definition.objective.cost is not None:
        if "pruner" in search.model_fields_set and search.pruner.name != "none":
            raise DefinitionError(
                f"a pruner needs a single objective, but {where} has `objective.cost` and the pruner {search.pruner.name!r}. "
                f'Remove one; `constraints = ["{definition.objective.cost} <= ..."]` bounds the cost and keeps the pruner.'
            )
        changes["pruner"] = PrunerDefinition(name="none")
    return search.model_copy(update=changes)


def _with_default_metric(table: Mapping[str, Any]) -> Any:
    """`[objective]`, unchecked, with the metric that a target of numbers has by default."""
    objective, data = table.get("objective", {}), table.get("data")
    is_number = isinstance(data, dict) and data.get("task") == "number"
    return {"metric": METRICS_OF["number"][0]} | objective if is_number and isinstance(objective, dict) else objective


def _check_metric(definition: StudyDefinition, where: str) -> None:
    task, metric = definition.data.task, definition.objective.metric
    metrics = METRICS_OF[task]
    if metric not in metrics:
        raise DefinitionError(
            f"`objective.metric` must be one of {', '.join(metrics)} where [data] has task = {task!r}, but is {metric!r} in "
            f"{where}. Use {metrics[0]}."
        )


def _check_class_keys(definition: StudyDefinition, where: str) -> None:
    if definition.data.task == "class":
        return
    for key, neutral in CLASS_KEYS.items():
        searched = definition.space.parameters.get(key)
        asked = [("[trial]", definition.fixed_values[key])]
        asked += [("[space]", value) for value in searched.examples()] if searched else []
        for table, value in asked:
            if value != neutral:
                raise DefinitionError(
                    f"`{key}` is for classes only, but is {value!r} in {where} {table} where [data] has task = 'number'. "
                    f"Remove it."
                )


def _check_image_size(definition: StudyDefinition, where: str) -> None:
    searched = definition.space.parameters.get("image_size")
    asked = [("[trial]", definition.trial.image_size)] if searched is None or searched.when else []
    asked += [("[space]", int(value)) for value in searched.examples()] if searched else []
    for table, size in asked:
        if size is not None and size > definition.data.image_size:
            raise DefinitionError(
                f"`image_size` of a trial must be at most that of [data], at which photos are packed, "
                f"{definition.data.image_size}, but is {size} in {where} {table}. Lower it, or raise image_size in [data]."
            )


def _check_claims(definition: StudyDefinition, where: str) -> None:
    altered = definition.confirm.altered_tests if definition.confirm is not None else ()
    mistake = check_claims(definition.claims, definition.space.parameters, altered)
    if mistake is not None:
        raise DefinitionError(f"[[claims]] in {where}: {mistake}")


def _check_grid(definition: StudyDefinition, where: str) -> None:
    if not definition.search.sampler.is_exhaustive:
        return
    endless = [
        key for key, distribution in definition.space.items() if isinstance(distribution, Range) and distribution.is_endless
    ]
    if endless:
        raise DefinitionError(
            f"a grid must be finite, but `{endless[0]}` in {where} [space] is a range without a step. "
            f"Give it choices or a step, or use another sampler."
        )
    if next(islice(definition.space.combinations(definition.fixed_values), MAX_GRID, None), None) is not None:
        raise DefinitionError(
            f"a grid must have at most {MAX_GRID:,} recipes, but [space] in {where} has more. "
            f"Search fewer values, or use another sampler."
        )


def _check_screening(definition: StudyDefinition, where: str) -> None:
    has_cost = definition.objective.cost is not None
    mistake = check_screening(definition.search, definition.space, definition.num_trials, has_cost=has_cost)
    if mistake is not None:
        raise DefinitionError(f"[search.screening] in {where}: {mistake}.")
