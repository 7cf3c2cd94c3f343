"""What a cluster asks of a command that was sent to it, and what it keeps."""

import json
import os
import zipfile
from pathlib import Path

import pytest

from study.errors import DefinitionError
from study.settings import settings_from
from study.tuning.received import (
    RAY_JOB_CONFIG,
    keep_files,
    leave_job_environment,
    require_own_places,
    require_version,
    this_version,
)
from study.tuning.submission import PACKAGE

PLACES = {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "STUDY_STORAGE": "/all/study.journal", "STUDY_OUTPUT": "/all/studies"}


def test_the_same_software_is_taken() -> None:
    require_version(this_version())


def test_other_software_is_refused_in_one_line_with_both_versions() -> None:
    with pytest.raises(DefinitionError, match=r"0\.0\.9 \(abcdef12\) where the command was given") as refused:
        require_version("0.0.9 (abcdef12)")
    assert this_version() in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_cluster_that_names_its_stores_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLACES.items():
        monkeypatch.setenv(name, value)
    require_own_places()


@pytest.mark.parametrize("missing", PLACES)
@pytest.mark.parametrize("value", [None, "here.db"])
def test_a_store_that_would_lie_in_a_job_s_folder_is_refused(
    missing: str, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = f"sqlite:///{value}" if value and missing == "MLFLOW_TRACKING_URI" else value
    for name, place in (PLACES | {missing: value}).items():
        if place is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, place)
    with pytest.raises(DefinitionError, match=f"but {missing} is ") as refused:
        require_own_places()
    assert (repr(value) if value else "is not set") in str(refused.value)


def test_received_files_stay_in_the_study_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = tmp_path / "job"
    job.mkdir()
    with zipfile.ZipFile(job / PACKAGE, "w") as archive:
        archive.writestr("data/cat/1.jpg", b"photo")
    monkeypatch.chdir(job)
    settings = settings_from({"STUDY_OUTPUT": str(tmp_path / "studies")}, tmp_path)
    kept = keep_files("pets", "0123456789abcdef", settings)
    assert kept == tmp_path / "studies" / "pets" / "received" / "0123456789abcdef"
    (job / PACKAGE).unlink()
    assert keep_files("pets", "0123456789abcdef", settings) == kept, "the same files are kept once"
    assert (kept / "data" / "cat" / "1.jpg").read_bytes() == b"photo"
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_trials_are_started_without_the_job_s_runtime_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"runtime_env": {"working_dir": "gcs://x.zip"}, "metadata": {"job_submission_id": "j"}}
    monkeypatch.setenv(RAY_JOB_CONFIG, json.dumps(config))
    leave_job_environment()
    assert json.loads(os.environ[RAY_JOB_CONFIG]) == {"runtime_env": {}, "metadata": {"job_submission_id": "j"}}
