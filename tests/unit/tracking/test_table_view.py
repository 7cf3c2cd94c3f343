"""Where MLflow's pages show a study's trials as a table with what was searched."""

import json
import subprocess
import webbrowser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import mlflow
import pytest
from mlflow.entities import Experiment

from study.definition import parse_definition
from study.tracking.addresses import VIEW_KEY
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.pages import serve_pages
from study.tracking.provenance import provenance_tags
from study.tracking.table_view import VIEW_TAG, view_of

PAGES = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
TEXT = """
name = "pets"
data.generated = "instruments"
objective = { metric = "METRIC" }
[space]
head = { choices = ["replace", "append"] }
"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }
"""


def begun(tracker: MlflowTracker, metric: str = "balanced_accuracy") -> str:
    definition = parse_definition(TEXT.replace("METRIC", metric), Path("/somewhere/pets.toml"))
    return tracker.begin_study("pets", "pets", provenance_tags(definition, "digest"), definition.text, "Which?")


def experiment_of(tracker: MlflowTracker) -> Experiment:
    experiment = tracker.connection.client.get_experiment_by_name("pets")
    assert experiment is not None
    return experiment


def note_of(tracker: MlflowTracker, run_id: str) -> str:
    return str(tracker.connection.client.get_run(run_id).data.tags["mlflow.note.content"])


@pytest.mark.parametrize(("metric", "is_ascending"), [("balanced_accuracy", False), ("loss", True)])
def test_the_study_s_page_leads_to_a_table_of_its_trials_with_what_was_searched(
    metric: str, is_ascending: bool, sqlite_uri: str
) -> None:
    tracker = MlflowTracker(sqlite_uri)
    run_id = begun(tracker, metric)
    [line] = [line for line in note_of(tracker, run_id).splitlines() if "All trials" in line]
    table = line.partition("](")[2].partition(")")[0]
    assert table.startswith(f"#/experiments/{experiment_of(tracker).experiment_id}/runs?")
    [key] = parse_qs(urlsplit(table[1:]).query)[VIEW_KEY]
    kept = json.loads(experiment_of(tracker).tags[VIEW_TAG + key])
    assert kept["name"] == "pets: trials"
    state = json.loads(kept["state"])
    assert state["selectedColumns"] == [f"metrics.`best_val_{metric}`", "params.`head`", "params.`optimizer.lr`"]
    assert (state["orderByKey"], state["orderByAsc"]) == (f"metrics.`best_val_{metric}`", is_ascending)
    assert state["searchFilter"] == f"tags.mlflow.parentRunId = '{run_id}'"


def test_a_study_that_is_described_again_keeps_one_table(sqlite_uri: str) -> None:
    tracker = MlflowTracker(sqlite_uri)
    run_id = begun(tracker)
    before = experiment_of(tracker).tags
    tracker.describe(run_id, "This.", "val_balanced_accuracy")
    assert experiment_of(tracker).tags.keys() == before.keys()
    assert note_of(tracker, run_id).startswith("This.\n\n[All trials as a table](#/")


def test_a_study_of_before_the_table_has_its_charts_alone(sqlite_uri: str) -> None:
    tracker = MlflowTracker(sqlite_uri)
    run_id = tracker.begin_study("pets", "pets", {}, "", "Which?")
    assert "All trials as charts" in note_of(tracker, run_id)
    assert "table" not in note_of(tracker, run_id)
    assert not [key for key in experiment_of(tracker).tags if key.startswith(VIEW_TAG)]


def test_study_ui_says_where_the_study_and_its_table_are(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = MlflowTracker(sqlite_uri)
    run_id = begun(tracker)
    monkeypatch.setattr(webbrowser, "open", pytest.fail)
    monkeypatch.setattr(subprocess, "run", lambda *command, **options: None)
    said: list[str] = []
    serve_pages(tracker, "pets", 5099, said.append)
    study, trials, _ = "\n".join(said).splitlines()
    assert study.startswith("http://127.0.0.1:5099/#/experiments/")
    assert f"/runs/{run_id}?" in study
    assert trials.startswith("its trials as a table: http://127.0.0.1:5099/#/experiments/")
    assert f"{VIEW_KEY}={run_id}" in trials


def test_mlflow_s_pages_know_the_words_of_a_kept_view() -> None:
    """Nothing else says what they are; an upgrade that changes them must be noticed here."""
    code = "".join(file.read_text(encoding="utf-8") for file in PAGES.glob("*.js") if file.stat().st_size < 8 * 2**20)
    view = json.loads(view_of("pets", "run", "val_loss", ("head",)))
    words = {f'"{VIEW_TAG}"', f'"{VIEW_KEY}"', *(f'"{field}"' for field in json.loads(view["state"]))}
    words |= {f".{field}" for field in view}
    assert {word for word in words if word not in code} == set()
