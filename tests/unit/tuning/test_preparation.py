"""What a study is checked for, and the files that its trials read."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from study.definition import StudyDefinition, parse_definition
from study.errors import DefinitionError
from study.models.weights import ResolvedWeights
from study.progress import PlainLines
from study.settings import Settings, settings_from
from study.tuning.preparation import PreparedStudy, TrialFile, prepare
from study.tuning.runner import check_study

TEXT = """
name = "prepared"
[data]
generated = "instruments"
target = "view"
num_photos = 60
image_size = 32
[trial]
backbone = "squeezenet1_0"
weights = "none"
[space]
"optimizer.lr" = { low = 1e-4, high = 1e-2, log = true }
[search]
trials = 2
"""


def definition_with(text: str = "") -> StudyDefinition:
    return parse_definition(TEXT + text, Path("/somewhere/prepared.toml"))


def settings_in(folder: Path) -> Settings:
    return settings_from({"STUDY_CACHE": str(folder)}, folder)


def prepared_in(folder: Path) -> PreparedStudy:
    return prepare(definition_with(), settings_in(folder))


def test_files_name_the_weights_with_their_digest_and_end_with_what_says_that_the_data_are_whole(tmp_path: Path) -> None:
    prepared = prepared_in(tmp_path)
    weights = {("a", "x"): ResolvedWeights(Path("/w/a.pth"), "0123"), ("b", "none"): ResolvedWeights(None, "random")}
    photos, *others = PreparedStudy(prepared.definition, prepared.settings, prepared.data, weights).files
    assert photos.path.samefile(Path(str(prepared.data.images.filename)))  # type: ignore[attr-defined]  # a memory map
    folder = prepared.data.folder
    assert others == [
        TrialFile(Path("/w/a.pth"), "0123"),
        TrialFile(folder / "arrays.npz"),
        TrialFile(folder / "data.json"),
    ]


def test_all_files_of_the_data_lie_under_the_cache_as_it_is_written(tmp_path: Path) -> None:
    """A node makes what it is sent where the paths say; the driver's links are not there."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    files = prepared_in(tmp_path / "cache").files
    assert len(files) == 3
    for file in files:
        assert file.path.is_relative_to(tmp_path / "cache")
        assert ".." not in file.path.parts
        assert file.path.is_file()


def test_a_study_that_began_when_trials_took_several_gpus_is_still_prepared(tmp_path: Path) -> None:
    assert prepare(definition_with("[resources]\ngpus = 2\n"), settings_in(tmp_path)).definition.resources.gpus == 2


def test_a_new_study_of_several_gpus_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="one GPU at most, but .* gpus = 2"):
        check_study(definition_with("[resources]\ngpus = 2\n"), settings_in(tmp_path), PlainLines(Console(file=StringIO())))
    assert list(tmp_path.iterdir()) == []
