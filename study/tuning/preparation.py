"""Everything that can be wrong is found here, before the first trial: names, photos, weights, options."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.confirm_definition import Alteration, prefix_of
from study.data.dataset import prepare_data
from study.data.examples import examples_of
from study.data.sources import open_source
from study.data.stored_data import ARRAYS_FILE, DATA_FILE, read_file
from study.data.study_data import StudyData
from study.definition import StudyDefinition
from study.errors import DataError, DefinitionError
from study.models.backbones import check_backbone
from study.models.weights import ResolvedWeights, resolve_weights
from study.search.pruners import build_pruner, most_epochs
from study.search.samplers import rehearse_sampler
from study.settings import Settings
from study.space import Choices
from study.tracking.records import MAX_NAME, recorded_name
from study.trial import TrialConfig
from study.tuning.ledger import TrialProgress
from study.tuning.shared_files import SharedFiles
from study.tuning.trial_task import TrialTask

Recipe = tuple[str, str]  # backbone and what `weights` says


@dataclass(frozen=True)
class TrialFile:
    """A file that trials read on their node.

    Attributes:
        digest: the first digits of its SHA-256, where another file may lie at its path; "" where the path has a digest.
    """

    path: Path
    digest: str = ""


@dataclass(frozen=True)
class PreparedStudy:
    """A definition whose data are packed and whose weights are at hand.

    Attributes:
        reads_test: its trials end with the test split; those of a search never do.
        altered_tests: copies of the test split that they are measured on as well.
    """

    definition: StudyDefinition
    settings: Settings
    data: StudyData
    weights: Mapping[Recipe, ResolvedWeights]
    reads_test: bool = False
    altered_tests: tuple[Alteration, ...] = ()

    def weights_of(self, config: TrialConfig) -> ResolvedWeights:
        """The weights that a trial of this recipe starts from."""
        return self.weights[config.backbone, config.weights]

    @property
    def files(self) -> list[TrialFile]:
        """What trials read on their node: the packed photos, and the weights that they start from."""
        folder = self.data.folder
        photos = Path(os.path.normpath(folder / read_file(folder).images))  # not resolved: a node may not have our links
        weights = {TrialFile(one.path, one.digest) for one in self.weights.values() if one.path is not None}
        data = [TrialFile(folder / name) for name in (ARRAYS_FILE, DATA_FILE)]  # what says that the data are whole comes last
        return [TrialFile(photos), *sorted(weights, key=lambda file: file.path), *data]

    def task_of(self, trial: TrialProgress, num_threads: int, *, uses_gpu: bool) -> TrialTask:
        """What a worker needs to run the trial."""
        return TrialTask(
            number=trial.number,
            run_id=trial.run_id,
            config=trial.config,
            weights=self.weights_of(trial.config),
            objective=self.definition.objective,
            data_folder=str(self.data.folder),
            activations_folder=str(self.settings.cache_folder / "activations"),
            output_folder=str(self._trials_folder),
            tracking_uri=self.settings.tracking_uri,
            num_threads=num_threads,
            uses_gpu=uses_gpu,
            report_epochs=trial.report_epochs,
            reads_test=self.reads_test,
            altered_tests=self.altered_tests,
            shared_address=self.settings.shared_address,
        )

    @property
    def shared(self) -> SharedFiles:
        """Where trials' files are, if nodes have no folder in common."""
        return SharedFiles(self.settings.shared_address, self.definition.name)

    @property
    def _trials_folder(self) -> Path:
        """Where a trial writes on its node."""
        return self.settings.node_folder(self.definition.name)


def prepare(
    definition: StudyDefinition, settings: Settings, on_progress: Callable[[int, int], None] | None = None
) -> PreparedStudy:
    """Checks what the definition names and packs its photos (a second study on the same data reads none).

    Args:
        on_progress: called with photos packed and photos in all.
    Raises:
        StudyError: in one line, the first thing that is wrong.
    """
    rehearse_sampler(definition)
    build_pruner(definition.search.pruner, most_epochs(definition))
    _check_folds(definition)
    SharedFiles(settings.shared_address, definition.name).check()
    open_source(definition, settings.cache_folder)  # lists the photos: a missing folder is news before weights are fetched
    for backbone in _values_of("backbone", definition):
        for size_px in sorted(_sizes_with(backbone, definition)):
            check_backbone(backbone, size_px)
    weights = {
        (backbone, written): resolve_weights(backbone, written, definition.file.parent)
        for backbone in _values_of("backbone", definition)
        for written in _values_of("weights", definition)
    }
    data = prepare_data(definition, settings.cache_folder, on_progress)
    if data.classes:
        definition.objective.check_classes(data.num_classes)
        _check_class_names(data.classes, definition)
    _check_test(definition, data)
    return PreparedStudy(definition, settings, data, weights)


def _check_folds(definition: StudyDefinition) -> None:
    num_folds = definition.data.split.folds * definition.data.split.repeats
    distribution = definition.space.parameters.get("fold")
    asked = [definition.trial.fold] if distribution is None else [int(value) for value in distribution.examples()]
    if max(asked) >= num_folds:
        raise DefinitionError(
            f"`fold` must be under the number of folds, {num_folds}, but {definition.file} asks for {max(asked)}. "
            f"Set folds in [data.split], or ask for less."
        )


def _check_test(definition: StudyDefinition, data: StudyData) -> None:
    """A source may bring a split of its own without test photos: the search has no use for them, the repetitions have."""
    if definition.confirm is None:
        return
    if any(len(examples_of(data.with_fold(fold)).test) == 0 for fold in range(len(data.folds))):
        raise DefinitionError(
            f"[confirm] measures on the test split, but {data.report.origin} has nothing in it ({definition.file}). "
            f"Bring test photos (in a folder, test/ beside train/ and val/), or run a study without [confirm]."
        )


def _check_class_names(classes: Sequence[str], definition: StudyDefinition) -> None:
    """Each class has metrics of its own, which MLflow knows by fewer characters than a name may have."""
    splits = ["val", *([prefix_of(), *map(prefix_of, definition.confirm.altered_tests)] if definition.confirm else [])]
    longest = f"{max(splits, key=len)}_precision."
    class_of: dict[str, str] = {}
    for name in classes:
        other = class_of.setdefault(recorded_name(longest + name), name)
        if other != name:
            raise DataError(
                f"class names must differ in letters, digits and `_.-: ` within {MAX_NAME - len(longest)} characters, by which "
                f"MLflow knows their metrics, but {_shown(other)} and {_shown(name)} of {definition.file} do not. "
                f"Rename one of them."
            )


def _shown(name: str) -> str:
    """A class's name; of a long one its beginning and end."""
    return repr(name if len(name) <= 80 else f"{name[:40]}…{name[-40:]}")


def _sizes_with(backbone: str, definition: StudyDefinition) -> set[int]:
    """Every side of the photos that a trial with this backbone may see."""
    fixed = definition.trial.seen_size(definition.data.image_size)
    searched = definition.space.parameters.get("image_size")
    if searched is None or backbone not in searched.when.get("backbone", (backbone,)):
        return {fixed}
    return {*map(int, searched.grid()), *((fixed,) if searched.when else ())}


def _values_of(key: str, definition: StudyDefinition) -> tuple[str, ...]:
    """Every value of a key that a trial may have."""
    distribution = definition.space.parameters.get(key)
    if isinstance(distribution, Choices):
        return tuple(str(choice) for choice in distribution.choices)
    return (str(definition.fixed_values[key]),)
