"""Which source a definition names: the door to the modules that hold one each."""

from pathlib import Path
from typing import cast

from study.data.folder_source import FolderSource as FolderSource
from study.data.instrument_source import InstrumentSource as InstrumentSource
from study.data.instrument_source import Target as Target
from study.data.records import Dropped as Dropped
from study.data.records import Reason as Reason
from study.data.records import Records as Records
from study.data.records import Source as Source
from study.data.tables.source import TableSource as TableSource
from study.data.torchvision_source import TorchvisionSource as TorchvisionSource
from study.definition import StudyDefinition
from study.settings import settings_from


def open_source(definition: StudyDefinition, cache_folder: Path | None = None) -> Source:
    """The source that a definition's `[data]` names.

    Args:
        cache_folder: where data sets are downloaded to, and answers of the online geocoder kept; default: `STUDY_CACHE`.
    Raises:
        DataError: if the source breaks a rule.
    """
    data = definition.data
    cache_folder = cache_folder or settings_from().cache_folder
    if data.folder is not None:
        return FolderSource(definition.path_of(data.folder))
    if data.table is not None:
        return TableSource(definition.path_of(data.table), data, cache_folder)
    if data.torchvision is not None:
        return TorchvisionSource(data.torchvision, cache_folder / "torchvision", data.split)
    target = cast(Target, data.target or "type")  # checked by the definition
    return InstrumentSource(data.num_photos, target, data.seed, data.image_size, data.views)
