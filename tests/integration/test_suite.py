"""A folder of studies as a user runs it: one after the other, one report over all, and conclusions that are true."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from rich.console import Console

from study.analysis.claims import Verdict
from study.analysis.suite import Begun, SuiteState
from study.data.instruments.catalogue import draw_photos_of, instruments
from study.data.tables.source import TableSource
from study.data_definition import DataDefinition
from study.errors import DefinitionError
from study.progress import PlainLines
from study.settings import Settings, settings_from
from study.suites import SuiteRun, definitions_in, run_suite
from study.tuning.launch import StudyListener
from study.tuning.runner import Options

from .conftest import Workplace

OFFLINE = Path(__file__).parents[2] / "search_spaces" / "paper" / "offline"
COLOUR = Path(__file__).parents[2] / "search_spaces" / "beyond" / "offline" / "colour.toml"
EXAMPLE = Path(__file__).parents[2] / "search_spaces" / "paper" / "example"
STUDY = """
name = "NAME"
question = "Does NAME end?"
[data]
generated = "instruments"
target = "view"
num_photos = 60
image_size = 32
[trial]
backbone = "squeezenet1_0"
weights = "none"
epochs = 1
batch_size = 16
[space]
head = { choices = ["replace", "append"] }
[search]
sampler = "grid"
pruner = "none"
[resources]
gpus = 0
[[claims]]
text = "One head is better"
factor = "head"
"""
# As a study on a small budget: the shipped files, with less to draw and to look at.
SMALLER = {"num_photos = 600": "num_photos = 300", "image_size = 48": "image_size = 32"}


@contextmanager
def watching() -> Iterator[StudyListener]:
    with PlainLines(Console(stderr=True, quiet=True)) as listener:
        yield listener


class StopsAtTheSecondTrial(PlainLines):
    """Somebody who presses Ctrl-C."""

    def trial_began(self, trial: Any) -> None:
        if trial.number == 1:
            raise KeyboardInterrupt


@contextmanager
def interrupting() -> Iterator[StudyListener]:
    yield StopsAtTheSecondTrial(Console(quiet=True))


def settings_of(workplace: Workplace) -> Settings:
    return settings_from(workplace.environment, workplace.folder)


def suite_folder(workplace: Workplace, **texts: str) -> Path:
    folder = workplace.folder / "several"
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text.replace("NAME", name), encoding="utf-8")
    return folder


def run_here(folder: Path, workplace: Workplace, listening: Callable[..., Any] = watching) -> SuiteRun:
    return run_suite(folder, settings_of(workplace), listening, Options(in_process=True))


def test_a_study_that_fails_does_not_stop_the_others_and_the_exit_code_says_so(workplace: Workplace) -> None:
    drawn = 'generated = "instruments"\ntarget = "view"\nnum_photos = 60'
    lost = STUDY.replace(drawn, 'folder = "nowhere"')
    folder = suite_folder(workplace, a_broken="name = ", b_lost=lost, c_whole=STUDY)
    (folder / "below").mkdir()
    (folder / "below" / "d.toml").write_text(STUDY, encoding="utf-8")
    shown = json.loads(workplace.run("run", folder, "--in-process", "--json", code=1).stdout)
    assert [(one["study"], one["state"]) for one in shown["studies"]] == [
        ("a_broken", "failed"),
        ("b_lost", "failed"),
        ("c_whole", "complete"),
    ]
    assert "valid TOML" in shown["studies"][0]["reason"]
    assert "nowhere" in shown["studies"][1]["reason"]
    assert [claim["verdict"] for claim in shown["claims"]] == ["not measured", "not shown"]
    page = Path(shown["report"]).read_text(encoding="utf-8")
    assert "Not come to an end, and so not judged: a_broken and b_lost." in page
    assert 'href="../../c_whole/report/report.html"' in page
    assert (Path(shown["report"]).parent / "../../c_whole/report/report.html").resolve().exists()


def test_an_interrupted_suite_goes_on_and_takes_what_is_complete_as_it_is(workplace: Workplace) -> None:
    folder = suite_folder(workplace, first=STUDY, second=STUDY)
    stopped = run_here(folder, workplace, interrupting).suite
    assert [one.state for one in stopped.studies] == [SuiteState.INTERRUPTED, SuiteState.NOT_BEGUN]
    went_on = run_here(folder, workplace).suite
    assert [(one.state, one.begun) for one in went_on.studies] == [
        (SuiteState.COMPLETE, Begun.RESUMED),
        (SuiteState.COMPLETE, Begun.RUN),
    ]
    taken = run_here(folder, workplace, listening=_nobody).suite
    assert [(one.state, one.begun) for one in taken.studies] == [(SuiteState.COMPLETE, Begun.TAKEN)] * 2
    assert [one.answer for one in taken.studies] == [one.answer for one in went_on.studies]
    suite_folder(workplace, first=STUDY.replace("epochs = 1", "epochs = 2"))
    changed = run_here(folder, workplace, listening=_nobody).suite.studies[0]
    assert changed.state is SuiteState.FAILED
    assert "was begun with another" in changed.reason


def test_a_report_that_cannot_be_written_costs_neither_the_result_nor_the_next_study(workplace: Workplace) -> None:
    folder = suite_folder(workplace, a_first=STUDY, b_second=STUDY)
    taken = workplace.folder / "studies" / "a_first" / "report"
    taken.parent.mkdir(parents=True)
    taken.write_text("a plain file where a folder is to be")
    shown = workplace.here("run", folder / "a_first.toml", "--in-process")
    assert "model: models:/a_first@champion" in shown.stdout
    assert f"The report was not written: a command must be able to read and write its files, but got {taken}" in shown.stderr
    first, second = run_here(folder, workplace).suite.studies
    assert (first.state, second.state) == (SuiteState.FAILED, SuiteState.COMPLETE)
    assert str(taken) in first.reason


def _nobody() -> Any:
    raise AssertionError("nothing is to be run")


def test_a_folder_without_definitions_or_with_one_name_twice_is_a_mistake(workplace: Workplace) -> None:
    folder = suite_folder(workplace)
    with pytest.raises(DefinitionError, match=r"no \*.toml"):
        run_here(folder, workplace)
    suite_folder(workplace, one=STUDY.replace("NAME", "same"), two=STUDY.replace("NAME", "same"))
    with pytest.raises(DefinitionError, match="are both 'same'"):
        run_here(folder, workplace)
    assert not (workplace.folder / "studies").exists()


def test_folders_below_are_run_only_where_they_are_asked_for(workplace: Workplace) -> None:
    folder = suite_folder(workplace, b=STUDY, a=STUDY)
    (folder / "a_below").mkdir()
    (folder / "a_below" / "z.toml").write_text(STUDY, encoding="utf-8")
    assert [file.name for file in definitions_in(folder)] == ["a.toml", "b.toml"]
    assert [file.name for file in definitions_in(folder, with_subfolders=True)] == ["a.toml", "z.toml", "b.toml"]
    with pytest.raises(DefinitionError, match="Ask for --subfolders"):
        definitions_in(folder.parent)


def test_subfolders_of_a_file_are_a_mistake(workplace: Workplace, invoke: Callable[..., Result]) -> None:
    shown = invoke(["run", suite_folder(workplace, a=STUDY) / "a.toml", "--subfolders"])
    assert shown.exit_code == 2
    assert "--subfolders is for a folder" in shown.output


def test_a_drawn_collection_passes_the_check_of_the_shipped_example(
    workplace: Workplace, invoke: Callable[..., Result]
) -> None:
    shutil.copytree(EXAMPLE, workplace.folder / "example", ignore=shutil.ignore_patterns("photos"))
    assert invoke(["draw", workplace.folder / "example", "--size", "64"]).exit_code == 0
    checked = invoke(["check", workplace.folder / "example" / "country.toml", "--json"])
    assert checked.exit_code == 0, checked.output


def test_the_conclusions_of_the_offline_suite_are_the_generators_truth(workplace: Workplace) -> None:
    folder = workplace.folder / "offline"
    folder.mkdir()
    for name in ("1_imbalance", "1_imbalance_of_none"):
        text = (OFFLINE / f"{name}.toml").read_text(encoding="utf-8")
        for shipped, smaller in SMALLER.items():
            text = text.replace(shipped, smaller)
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    judgements = run_here(folder, workplace).suite.judgements
    there = [one for one in judgements if one.claim.better == "weighted_loss"]
    absent = [one for one in judgements if one.claim.alike]
    assert [one.verdict for one in there] == [Verdict.CONFIRMED]
    assert len(absent) == 3
    assert Verdict.REFUTED not in {one.verdict for one in absent}, [one.sureness for one in absent]


@pytest.mark.long
def test_the_country_is_told_worse_by_who_never_sees_colour(workplace: Workplace) -> None:
    """As shipped but for half of the seeds, and no repetitions: two minutes of one core. With less, nothing is learnt."""
    text = COLOUR.read_text(encoding="utf-8").replace("[0, 1, 2, 3, 4, 5]", "[0, 1, 2]")
    before, confirm, rest = text.partition("[confirm]")
    assert confirm
    claim = rest[rest.index("[[claims]]") :].split("[[claims]]")[1]
    folder = suite_folder(workplace, colour=f"{before}[resources]\ngpus = 0\n[[claims]]{claim}")
    (judgement,) = run_here(folder, workplace).suite.judgements
    assert judgement.claim.worse == "greyscale"
    assert judgement.verdict is Verdict.CONFIRMED, judgement.sureness


def test_every_place_of_the_shipped_table_is_found_in_the_country_that_was_drawn(tmp_path: Path) -> None:
    table = Path(shutil.copy(EXAMPLE / "instruments.csv", tmp_path))
    draw_photos_of(table, seed=0, size_px=32)
    asked = {
        "images": ["image_top", "image_back"],
        "target": "country",
        "places": {"columns": ["country_made", "city_made"]},
    }
    records = TableSource(table, DataDefinition.model_validate({"table": str(table), **asked}), tmp_path / "cache").records
    with table.open(encoding="utf-8", newline="") as file:
        num_rows = len(list(csv.DictReader(file)))
    drawn = {one[0].instrument_id: one[0].country.replace("England", "United Kingdom") for one in instruments(num_rows, 0)}
    assert len(records.photos) > 60
    for photo, label in zip(records.photos, records.labels, strict=True):
        assert label == drawn[photo.removeprefix("photos/").rsplit("-", 1)[0]]
    assert {fault.reason.value for fault in records.dropped} == {"photo missing", "target missing"}
