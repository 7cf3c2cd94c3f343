"""A study's answer: compared, written as a report, and told where people look: on the disk, and on its run in MLflow."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from study.analysis.comparison import compare
from study.analysis.evidence import StudyEvidence
from study.analysis.findings import Comparison
from study.analysis.note import note_of
from study.analysis.reading import read_studies
from study.analysis.report.gathering import gather_extras
from study.analysis.report.page import write_report
from study.search.storages import open_storage
from study.settings import Settings
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.tracker import Tracker

MAX_FOLDER_NAME = 100  # characters; file systems take 255 bytes
REPORT_FOLDER = "report"  # in a study's folder, and among its run's artifacts


@dataclass(frozen=True)
class Answer:
    """What one or several studies showed.

    Attributes:
        report: one HTML page that opens from the file.
    """

    comparison: Comparison
    report: Path


def answer(names: Sequence[str], settings: Settings) -> Answer:
    """Compares studies, writes their report, and logs it on their runs; a single study's page in MLflow tells the answer too.

    Args:
        names: of studies, or of MLflow experiments for all studies in them.
    Raises:
        StudyError: for a name that is neither, objectives that differ, or a store that cannot be read or written.
    """
    tracker = MlflowTracker(settings.tracking_uri)
    tracker.check()
    evidence = read_studies(names, tracker, open_storage(settings.storage))
    comparison = compare(evidence)
    folder = _folder(evidence, settings)
    report = write_report(evidence, comparison, folder, gather_extras(evidence, comparison, tracker, settings))
    _tell(evidence, comparison, folder, tracker)
    return Answer(comparison, report)


def _folder(evidence: Sequence[StudyEvidence], settings: Settings) -> Path:
    """In the study's folder; of several, in one that all their names name, in whatever order they were given."""
    names = sorted(one.name for one in evidence)
    together = "+".join(names)
    if len(together) > MAX_FOLDER_NAME:
        together = f"{names[0]}+{len(names) - 1}-{sha256(together.encode()).hexdigest()[:8]}"
    return settings.study_folder(together) / REPORT_FOLDER


def _tell(evidence: Sequence[StudyEvidence], comparison: Comparison, folder: Path, tracker: Tracker) -> None:
    """Puts the report on each study's run that MLflow still has; of one study alone, its note as well."""
    recorded = {record.run_id for record in tracker.studies()}
    for study in evidence:
        if study.run_id in recorded:
            artifact_path = REPORT_FOLDER if len(evidence) == 1 else f"{REPORT_FOLDER}/{folder.parent.name}"
            tracker.log_artifacts(study.run_id, folder, artifact_path)
    if len(evidence) == 1 and evidence[0].run_id in recorded:
        tracker.describe(evidence[0].run_id, note_of(evidence[0], comparison), comparison.objective)
