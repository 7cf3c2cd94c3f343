"""What went into a study, for people: the report as JSON, a contact sheet, the class balance."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from study.data.contact_sheet import save_contact_sheet
from study.data.dataset import prepare_data
from study.data.study_data import StudyData, count_by_class
from study.definition import StudyDefinition
from study.settings import Settings
from study.tracking.figures import save_class_balance


@dataclass(frozen=True)
class DataCard:
    """Packed data, and the folder with their report and pictures."""

    data: StudyData
    folder: Path


def describe_data(
    definition: StudyDefinition, settings: Settings, on_progress: Callable[[int, int], None], *, full_check: bool
) -> DataCard:
    """Packs a definition's photos and writes their card into the study's folder; nothing is trained or recorded.

    Args:
        full_check: reads every photo again, however little it seems to have changed.
    Raises:
        DataError: for photos, labels or a split that cannot be used as asked.
    """
    data = prepare_data(definition, settings.cache_folder, on_progress, full_check=full_check)
    return DataCard(data, write_data_card(data, settings.study_folder(definition.name) / "data"))


def write_data_card(data: StudyData, folder: Path) -> Path:
    """Writes report.json, contact_sheet.png and class_balance.png to `folder`, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(data.report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    save_contact_sheet(data, folder / "contact_sheet.png")
    if data.classes:
        save_class_balance(count_by_class(data), folder)
    return folder
