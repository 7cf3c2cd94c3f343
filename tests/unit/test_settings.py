"""Where things are kept, as the environment says."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from study.cli import main
from study.errors import DefinitionError
from study.settings import settings_from


@pytest.mark.parametrize("name", ["STUDY_OUTPUT", "STUDY_CACHE"])
def test_a_bucket_where_a_folder_must_be_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=f"{name} must be a folder, but is s3://bucket/studies") as raised:
        settings_from({name: "s3://bucket/studies"}, tmp_path)
    assert "\n" not in str(raised.value)


def test_a_command_ends_with_that_line_and_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["list"], env={"STUDY_OUTPUT": "s3://bucket/studies"})
    assert result.exit_code == 2
    assert "STUDY_OUTPUT must be a folder" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_relative_folders_are_made_absolute_for_other_processes(tmp_path: Path) -> None:
    settings = settings_from({"STUDY_OUTPUT": "out", "STUDY_CACHE": "/mnt/cache"}, tmp_path)
    assert (settings.output_folder, settings.cache_folder) == (tmp_path / "out", Path("/mnt/cache"))
    assert settings.study_folder("pets") == tmp_path / "out" / "pets"
