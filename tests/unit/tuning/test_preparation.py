"""What a study is checked for, and the files that its trials read."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from study.definition import StudyDefinition, parse_definition
from study.errors import DataError, DefinitionError
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


def with_own_split(root: Path, splits: tuple[str, ...]) -> str:
    """A definition of photos whose folder says which are for what."""
    generator = np.random.default_rng(0)
    for place in range(6):
        for folder in (root / split / label for split in splits for label in ("cat", "dog")):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{place}.png")
    return TEXT.replace('generated = "instruments"\ntarget = "view"\nnum_photos = 60', f'folder = "{root}"')


def test_repetitions_without_a_test_split_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    text = with_own_split(tmp_path / "photos", ("train", "val"))
    settings = settings_in(tmp_path / "cache")
    for split in ("", "[data.split]\nfolds = 2\n"):
        confirming = parse_definition(text + split + "[confirm]\n", tmp_path / "own.toml")
        with pytest.raises(
            DefinitionError, match=r"\[confirm\] measures on the test split, but .*photos has nothing.*own.toml"
        ):
            prepare(confirming, settings)
    assert len(prepare(parse_definition(text, tmp_path / "own.toml"), settings).data.splits.test) == 0


def test_repetitions_with_a_test_split_are_prepared(tmp_path: Path) -> None:
    text = with_own_split(tmp_path / "photos", ("train", "val", "test")) + "[confirm]\n"
    assert (
        prepare(parse_definition(text, tmp_path / "own.toml"), settings_in(tmp_path / "cache")).definition.confirm is not None
    )


LONG = "a" * 240


@pytest.mark.parametrize(("first", "second"), [("a&b", "a+b"), (LONG + "x", LONG + "y")], ids=["signs", "length"])
def test_classes_whose_metrics_would_be_one_are_refused_when_the_study_is_checked(
    first: str, second: str, tmp_path: Path
) -> None:
    shades = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    for index, shade in enumerate(shades):
        folder = tmp_path / "photos" / (first, second)[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shade).resize((40, 40)).save(folder / f"{index}.png")
    text = TEXT.replace('generated = "instruments"', f'folder = "{tmp_path}/photos"').replace(
        'target = "view"\nnum_photos = 60\n', ""
    )
    asked = parse_definition(text, tmp_path / "prepared.toml")
    with pytest.raises(DataError, match="class names must differ in letters.* Rename one of them") as raised:
        check_study(asked, settings_in(tmp_path), PlainLines(Console(file=StringIO())))
    assert first[-40:] in str(raised.value)
    assert second[-40:] in str(raised.value)
