"""The champion of a real study: confirmed, challenged, overruled, put back."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from study.cli import main
from study.tracking.registry import Registry

from .conftest import TINY, Workplace

CONFIRMED = TINY.replace("trials = 6", "trials = 3") + "[confirm]\ntop = 2\nseeds = 2\n"


def registry_of(workplace: Workplace) -> Registry:
    return Registry(workplace.environment["MLFLOW_TRACKING_URI"])


def promote(workplace: Workplace, *arguments: str, code: int = 0) -> Result:
    """`study promote` in this process: importing torch anew for each would be most of the test."""
    result = CliRunner().invoke(main, ["promote", *arguments], env=dict(workplace.environment))
    assert result.exit_code == code, result.output
    return result


def told(workplace: Workplace, *arguments: str, code: int = 0) -> Any:
    return json.loads(promote(workplace, *arguments, "--json", code=code).stdout)


def aliases(workplace: Workplace, name: str) -> dict[str, str]:
    return {alias: version.version for version in registry_of(workplace).versions(name) for alias in version.aliases}


@pytest.fixture(scope="module")
def workplace(make_workplace: Callable[..., Workplace]) -> Workplace:
    """A study that was searched only, and one that was confirmed."""
    made = make_workplace()
    hasty = TINY.replace("trials = 6", "trials = 1\nseed = 5").replace('"tiny"', '"hasty"')  # another seed: another model
    made.run("run", made.write(hasty), "--in-process")
    made.run("run", made.write(CONFIRMED, "confirmed.toml"), "--in-process")
    return made


def test_a_search_makes_the_first_champion_and_says_what_it_rests_on(workplace: Workplace) -> None:
    [version] = registry_of(workplace).versions("hasty")
    assert version.aliases == ("champion",)
    assert version.tags["study.evidence"] == "search only"
    for tag in ("data_digest", "definition_digest", "content_digest", "package_digest", "weights_digest", "temperature"):
        assert version.tags[f"study.{tag}"]
    assert {"val_calibration_error_before", "val_calibration_error_after"} <= {
        tag.removeprefix("study.") for tag in version.tags
    }
    assert "## Licence of the weights" in version.description


def test_a_search_alone_promotes_nothing_over_a_champion(workplace: Workplace) -> None:
    refused = told(workplace, "hasty", "--model", "in-use", code=1)
    assert refused["rule"] == "must be confirmed on the test split"
    assert aliases(workplace, "in-use") == {"challenger": "1"}


def test_a_confirmed_recipe_stays_or_becomes_champion_with_its_figures(workplace: Workplace) -> None:
    ended = CliRunner().invoke(main, ["promote", "tiny", "--json"], env=dict(workplace.environment))
    result = json.loads(ended.stdout)
    assert ended.exit_code == (0 if result["is_promoted"] else 1)
    granting = {"is the champion already", "there is no champion yet", "is better beyond the interval", "is equal and cheaper"}
    assert result["is_promoted"] == (result["rule"] in granting)
    champion = registry_of(workplace).version_at("models:/tiny@champion")
    assert champion.version == result["champion"]
    confirmation = json.loads(champion.tags["study.confirmation"])
    assert (champion.tags["study.evidence"], confirmation["test"]["n"]) == ("confirmed", 2)
    assert confirmation["metric"] == "test_balanced_accuracy"
    candidate = registry_of(workplace).version_at(f"models:/tiny/{result['version']}")
    assert "## Promotion" in candidate.description
    assert result["is_promoted"] == (candidate.version == champion.version)


def test_force_needs_a_reason_keeps_it_and_a_rollback_undoes_it(workplace: Workplace) -> None:
    name = "overruled"
    assert told(workplace, "tiny", "--model", name)["rule"] == "there is no champion yet"
    promote(workplace, "hasty", "--model", name, code=1)
    assert aliases(workplace, name) == {"champion": "1", "challenger": "2"}
    assert "--reason is missing" in promote(workplace, "hasty", "--model", name, "--force", code=2).stderr
    forced = told(workplace, "hasty", "--model", name, "--force", "--reason", "a demonstration")
    assert forced["sentences"][-1] == "Forced: a demonstration"
    assert aliases(workplace, name) == {"champion": "2", "previous": "1"}
    assert registry_of(workplace).version_at(f"models:/{name}/2").tags["study.forced_reason"] == "a demonstration"
    shown = promote(workplace, name, "--rollback", "--reason", "enough").stdout
    assert "Version 1 is champion again" in shown
    assert aliases(workplace, name) == {"champion": "1", "challenger": "2"}
    assert "alias `previous`" in promote(workplace, name, "--rollback", code=2).stderr


def test_a_model_that_does_not_answer_is_not_promoted(workplace: Workplace) -> None:
    registry = registry_of(workplace)
    version = registry.versions("hasty")[0]
    location = registry.connection.client.get_model_version_download_uri("hasty", version.version)
    code = location.removeprefix("file://") + "/packaged_model.py"
    with open(code, "a") as file:
        file.write("raise SystemExit('planted')\n")
    refused = promote(workplace, "hasty", "--force", "--reason", "x", "--model", "broken", code=2)
    assert "one was added or changed, and none was run" in refused.stderr
    assert "champion" not in aliases(workplace, "broken")
