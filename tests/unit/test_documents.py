"""What the README and the shipped definitions say is what the software does."""

import re
from pathlib import Path

import pytest

from study.cli import main
from study.definition import load_definition, parse_definition
from study.settings import settings_from
from study.trial import TrialConfig, dotted_fields

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
SHIPPED = sorted((PROJECT / "search_spaces").rglob("*.toml"))


def test_the_readmes_definition_is_a_definition() -> None:
    whole, data = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    assert parse_definition(whole, PROJECT / "pets.toml").num_trials == 48
    assert parse_definition(f'name = "table"\n{data}', PROJECT / "table.toml").data.split.folds == 5


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_definition_loads_and_says_its_question_and_command(file: Path) -> None:
    assert load_definition(file).question
    assert f"uv run study run {file.relative_to(PROJECT)}" in file.read_text(encoding="utf-8")


def test_the_readme_names_every_command() -> None:
    documented = set(re.findall(r"`study ([a-z]+)", README))
    assert documented == {name for name, command in main.commands.items() if not command.hidden}


def test_the_readme_names_every_param_of_a_trial() -> None:
    for key in dotted_fields(TrialConfig):
        assert f"`{key}`" in README


def test_the_defaults_in_the_readme_are_the_defaults(tmp_path: Path) -> None:
    settings = settings_from({"HOME": str(tmp_path)}, tmp_path)
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert settings.storage == str(tmp_path / "study.journal")
    assert settings.output_folder == tmp_path / "studies"
    assert settings.cache_folder.parts[-2:] == (".cache", "study")
    assert settings.ray_address is None


def test_variables_in_the_environment_replace_the_defaults(tmp_path: Path) -> None:
    environment = {"MLFLOW_TRACKING_URI": "http://host:5000", "STUDY_STORAGE": "postgresql://u@h/d", "RAY_ADDRESS": "h:6379"}
    settings = settings_from(environment, tmp_path)
    assert (settings.tracking_uri, settings.storage, settings.ray_address) == (
        "http://host:5000",
        "postgresql://u@h/d",
        "h:6379",
    )
