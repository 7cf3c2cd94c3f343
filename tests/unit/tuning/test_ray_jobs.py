"""What Ray's job client raises, in one line of ours; and what it is given. No cluster is asked."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.job_submission
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus

from study.errors import DefinitionError, StudyError
from study.tuning.jobs import JobEnd, JobError, JobRequest
from study.tuning.ray_jobs import RayJobs

HERE = "http://head:8265"


class Client:
    """Ray's client, as far as it is used.

    Attributes:
        error: what any call raises; None for none.
    """

    error: Exception | None = None
    status = JobStatus.RUNNING

    def __init__(self, address: str) -> None:
        self.address = address
        self.environment = dict(os.environ)
        self.submitted: dict[str, Any] = {}

    def submit_job(self, **options: Any) -> None:
        self._fail()
        self.submitted = options

    def get_job_info(self, name: str) -> SimpleNamespace:
        self._fail()
        return SimpleNamespace(status=self.status, driver_exit_code=2, message="failed with exit code 2")

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> RayJobs:
    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Client)
    monkeypatch.setenv("RAY_ADDRESS", "http://another:8265")
    return RayJobs(HERE)


def test_the_address_that_was_asked_for_is_asked_whatever_ray_s_variables_say(jobs: RayJobs) -> None:
    client: Client = jobs._client
    assert client.address == HERE
    assert "RAY_ADDRESS" not in client.environment
    assert os.environ["RAY_ADDRESS"] == "http://another:8265"


def test_a_driver_that_ray_is_asked_to_stop_has_time_to_end_in_good_order(jobs: RayJobs, tmp_path: Path) -> None:
    jobs.submit(JobRequest(("resume", "tiny"), "j", tmp_path, {"study": "tiny"}))
    submitted = jobs._client.submitted
    assert submitted["entrypoint"] == "exec study resume tiny"
    assert submitted["submission_id"] == "j"
    assert submitted["metadata"] == {"study": "tiny"}
    assert submitted["runtime_env"]["working_dir"] == str(tmp_path)
    assert int(submitted["runtime_env"]["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) >= 60


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (
            AuthenticationError("Authentication failed: no. See\nmore."),
            DefinitionError,
            "Authentication failed: no. Set RAY_AUTH",
        ),
        (ConnectionError("Failed to connect to Ray."), DefinitionError, "http://head:8265 does not answer"),
        (requests.exceptions.ReadTimeout("slow"), DefinitionError, "does not answer: slow. Start the cluster"),
        (RuntimeError("needs the ray[default]\ninstallation"), DefinitionError, "pip install 'study[cluster]'"),
        (RuntimeError("status code 500:\nNo available agent"), JobError, "refused: status code 500: No available agent"),
    ],
)
def test_what_ray_raises_is_one_line(
    error: Exception, expected: type[StudyError], said: str, jobs: RayJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "error", error)
    with pytest.raises(expected) as refused:
        jobs.submit(JobRequest(("status",), "j"))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_package_names_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.job_submission", None)
    with pytest.raises(DefinitionError, match=r"pip install 'study\[cluster\]'"):
        RayJobs(HERE)


def test_a_job_s_end_is_known_when_it_has_ended(jobs: RayJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert jobs.end("j") is None
    monkeypatch.setattr(Client, "status", JobStatus.FAILED)
    assert jobs.end("j") == JobEnd(2, "failed with exit code 2")


def test_who_asks_for_an_end_hears_that_the_line_is_lost(jobs: RayJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "error", requests.exceptions.ConnectionError("refused"))
    with pytest.raises(ConnectionError, match="does not answer"):
        jobs.end("j")
