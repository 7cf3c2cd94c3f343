"""What a report shows beside the trials, from where the study left it: its run, its folder, the packed photos."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from study.analysis.evidence import StudyEvidence
from study.analysis.findings import Comparison
from study.analysis.report.extras import (
    Calibration,
    CalibrationBin,
    Confusion,
    ReportExtras,
    SaliencyExample,
    ToldNumbers,
)
from study.analysis.saliency_examples import saliency_examples
from study.data.examples import Examples, examples_of
from study.data.report import DataReport
from study.data.study_data import StudyData, open_data
from study.errors import TrackingError
from study.models.exported import Example, ExportedModel, load_exported
from study.settings import Settings
from study.tracking.tracker import Tracker

Probabilities = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

# Where study/tuning puts them: the winner's model in the study's folder, reports and figures on the study's run.
MODEL_FOLDER = "champion"
DATA_REPORT = "data/report.json"
CONFUSION = "figures/confusion.json"
NUM_BINS = 15  # of confidence. Source: Guo et al. 2017, section 5
NUM_EXAMPLES = 4  # right answers, and wrong ones, that are looked into
SMALLEST = 1e-30  # a probability that float32 rounded to 0 has a logarithm all the same


@dataclass(frozen=True, eq=False)
class _Answers:
    """What a model says of the validation split.

    Attributes:
        photos: of each example, uint8 [size, size, 3]; of several views tuples of them. They stay where they are packed.
        probabilities: float64 [num_examples, num_classes]; of a model of numbers what it tells, [num_examples].
        labels: class positions, int64 [num_examples]; of a model of numbers the true ones, float64, in the target's unit.
        whose: in words.
    """

    model: ExportedModel
    photos: Sequence[Example]
    probabilities: Probabilities
    labels: Labels | Numbers
    whose: str

    @property
    def positions(self) -> Labels:
        """The labels of a model of classes."""
        return self.labels.astype(np.int64)


def gather_extras(
    evidence: Sequence[StudyEvidence], comparison: Comparison, tracker: Tracker, settings: Settings
) -> ReportExtras:
    """Everything that can still be found. Of several studies, the model of the recommended one is looked at, or none.

    The test split is not read: it is the confirmation's alone.

    Raises:
        ModelError: if the study's model is there, but damaged.
        DataError: if its packed photos are.
    """
    name = comparison.recommended_study or (evidence[0].name if len(evidence) == 1 else "")
    study = next((one for one in evidence if one.name == name), None)
    reports = {one.name: report for one in evidence if (report := _data_report(one, tracker)) is not None}
    address = tracker.address(study.run_id) if study else None
    if study is None:
        return ReportExtras(data=reports)
    answers = _answers(study, settings)
    if answers is None:
        return ReportExtras(confusion=_recorded_confusion(study, tracker), data=reports, mlflow_address=address)
    saliency = saliency_of(answers)
    if not answers.model.classes:
        return ReportExtras(saliency=saliency, data=reports, mlflow_address=address, numbers=numbers_of(answers, study))
    return ReportExtras(confusion_of(answers), calibration_of(answers), saliency, reports, address)


def _read(study: StudyEvidence, tracker: Tracker, artifact: str) -> str | None:
    """An artifact of the study's run; None where it has none."""
    try:
        return tracker.read_text(study.run_id, artifact)
    except TrackingError:
        return None


def _data_report(study: StudyEvidence, tracker: Tracker) -> DataReport | None:
    text = _read(study, tracker, DATA_REPORT)
    try:
        return None if text is None else DataReport.model_validate_json(text)
    except ValidationError:  # of another version of the program
        return None


def _recorded_confusion(study: StudyEvidence, tracker: Tracker) -> Confusion | None:
    text = _read(study, tracker, CONFUSION)
    if text is None:
        return None
    content = json.loads(text)
    return Confusion(content["classes"], content["counts"], "the best trial's model, on the validation split")


def _answers(study: StudyEvidence, settings: Settings) -> _Answers | None:
    """None where the model or the photos are not on this machine any more."""
    folder = settings.study_folder(study.name) / MODEL_FOLDER
    data_folder = settings.cache_folder / "data" / study.data_digest
    if not study.data_digest or not folder.is_dir() or not data_folder.is_dir():
        return None
    model = load_exported(folder)
    if model.contract.data_digest != study.data_digest:
        return None
    number = model.contract.trial_number
    fold = next((int(trial.recipe.get("fold") or 0) for trial in study.trials if trial.number == number), 0)
    data = open_data(data_folder).with_fold(fold)
    examples = examples_of(data)
    photos = [_photos(data, positions) for positions in examples.photos[examples.val].tolist()]
    whose = f"the study's registered model (trial {number}), on the validation split"
    return _Answers(model, photos, model.predict(photos).astype(np.float64), _truth(data, examples), whose)


def _truth(data: StudyData, examples: Examples) -> Labels | Numbers:
    """Of the validation split: class positions, or numbers in the target's unit."""
    if examples.values is None:
        return examples.labels[examples.val]
    values: Numbers = examples.values[examples.val].astype(np.float64)
    return np.exp(values) if data.is_log else values


def _photos(data: StudyData, positions: Sequence[int]) -> Example:
    views = tuple(data.images[position] for position in positions)
    return views if data.example_views else views[0]


def confusion_of(answers: _Answers) -> Confusion:
    """What the examples of each class were called."""
    num_classes = len(answers.model.classes)
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (answers.positions, answers.probabilities.argmax(axis=1)), 1)
    return Confusion(answers.model.classes, counts.tolist(), answers.whose)


def numbers_of(answers: _Answers, study: StudyEvidence) -> ToldNumbers:
    """What a model of numbers told, beside the truth."""
    target, is_log = study.definition.data.target, study.definition.data.log_target
    return ToldNumbers(target or "number", answers.labels.tolist(), answers.probabilities.tolist(), is_log, answers.whose)


def calibration_of(answers: _Answers) -> Calibration | None:
    """Confidence against accuracy, without the model's temperature and, where it has one, with it."""
    if not len(answers.labels):
        return None
    temperature = answers.model.contract.temperature
    told = bins_of(answers.probabilities, answers.positions)
    if temperature == 1:
        return Calibration(told, whose=answers.whose)
    return Calibration(bins_of(heated(answers.probabilities, temperature), answers.positions), told, temperature, answers.whose)


def heated(probabilities: Probabilities, temperature: float) -> Probabilities:
    """What the probabilities were before their scores were divided by `temperature`: their powers, summing to 1."""
    logarithms = temperature * np.log(np.maximum(probabilities, SMALLEST))
    powers: Probabilities = np.exp(logarithms - logarithms.max(axis=1, keepdims=True))
    shares: Probabilities = powers / powers.sum(axis=1, keepdims=True)
    return shares


def saliency_of(answers: _Answers) -> list[SaliencyExample]:
    """The surest right answers of different classes, and the surest wrong ones, each with what the network looked at.

    Of numbers the nearest, and the farthest.
    """
    drawn = saliency_examples(answers.model, answers.photos, answers.labels, answers.probabilities, NUM_EXAMPLES, NUM_EXAMPLES)
    if not answers.model.classes:
        return [SaliencyExample(png, caption) for png, caption in drawn]
    is_right = answers.probabilities.argmax(axis=1) == answers.labels
    num_right = min(NUM_EXAMPLES, int(is_right.sum()))
    return [SaliencyExample(png, caption, place < num_right) for place, (png, caption) in enumerate(drawn)]


def bins_of(probabilities: Probabilities, labels: Labels) -> list[CalibrationBin]:
    """Answers by confidence in bins of equal width; a confidence on an edge belongs to the bin below. Empty bins are left out.

    Args:
        probabilities: [num_examples, num_classes], rows sum to 1.
        labels: class positions, int64 [num_examples].
    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    confidences = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    bins = np.searchsorted(np.linspace(0, 1, NUM_BINS + 1)[1:-1], confidences)
    found = [bins == place for place in range(NUM_BINS)]
    return [
        CalibrationBin(float(confidences[members].mean()), float(is_right[members].mean()), int(members.sum()))
        for members in found
        if members.any()
    ]
