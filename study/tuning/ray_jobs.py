"""Ray's job API, as `study.tuning.jobs` asks for it: HTTP, with Ray's own tokens, and its refusals in one line."""

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from study.errors import DefinitionError
from study.tuning.jobs import JobEnd, JobError, JobRequest, last_line

# What a driver may take to mark its trials and hand over what MLflow has not got, when Ray is asked to stop the job.
STOP_WAIT_S = 120
OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")  # by which Ray would replace the address that it is given
ASK_FOR_A_TOKEN = (
    "Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the cluster's token (`ray get-auth-token` there)."
)


class UnansweredError(DefinitionError):
    """Nothing answers at a cluster's address."""


class RayJobs:
    """Ray's job API over HTTP, with Ray's own tokens."""

    def __init__(self, address: str) -> None:
        """Args:
            address: of the cluster's dashboard, as http://HEAD:8265.

        Raises:
            DefinitionError: if nothing answers there, a token is missing or wrong, or a package.
        """
        self.address = address
        self._client = _client_at(address)

    def submit(self, request: JobRequest) -> None:
        """As JobClient says."""
        environment: dict[str, Any] = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}}
        if request.folder is not None:
            environment["working_dir"] = str(request.folder)
        with _in_one_line(self.address):
            self._client.submit_job(
                entrypoint=request.line, submission_id=request.name, runtime_env=environment, metadata=dict(request.notes)
            )

    def output(self, name: str) -> Iterator[str]:
        """As JobClient says."""
        import aiohttp

        with asyncio.Runner() as runner:
            pieces = aiter(self._client.tail_job_logs(name))
            while True:
                try:
                    piece = runner.run(_next(pieces))
                except (aiohttp.ClientError, OSError, RuntimeError) as error:
                    raise ConnectionError(str(error)) from error
                if piece is None:
                    return
                yield piece

    def end(self, name: str) -> JobEnd | None:
        """As JobClient says."""
        try:
            with _in_one_line(self.address):
                details = self._client.get_job_info(name)
        except UnansweredError as error:
            raise ConnectionError(str(error)) from None
        if not details.status.is_terminal():
            return None
        return JobEnd(details.driver_exit_code, details.message or str(details.status))

    def stop(self, name: str) -> None:
        """As JobClient says."""
        with _in_one_line(self.address):
            self._client.stop_job(name)


async def _next(pieces: Any) -> str | None:
    return await anext(pieces, None)


def _client_at(address: str) -> Any:
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise _missing(error) from None
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    for module in ("dashboard_sdk", "job.sdk"):  # which say each step
        logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.CRITICAL)
    with _in_one_line(address), _without(OVERRIDES):
        return JobSubmissionClient(address)


def _missing(error: Exception) -> DefinitionError:
    return DefinitionError(
        f"a study is sent to a cluster with Ray's job client, but a package of it is missing here ({last_line(str(error))}). "
        f"Install them: pip install 'study[cluster]'"
    )


@contextmanager
def _in_one_line(address: str) -> Iterator[None]:
    """What Ray's client raises, as one line of ours."""
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise DefinitionError(
            f"a cluster must know who asks, but {address} does not take this token: {_first_sentence(str(error))} "
            f"{ASK_FOR_A_TOKEN}"
        ) from None
    except (ConnectionError, requests.exceptions.RequestException) as error:
        raise UnansweredError(
            f"--address or RAY_ADDRESS must be a cluster's dashboard, but {address} does not answer: "
            f"{_first_sentence(str(error))} Start the cluster (`ray start --head`, with `pip install 'study[cluster]'`), or "
            f"mend the address."
        ) from None
    except RuntimeError as error:
        if "ray[default]" in str(error):
            raise _missing(error) from None
        raise JobError(f"the cluster at {address} refused: {' '.join(str(error).split())[:400]}") from None


@contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    """The environment without some variables."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _first_sentence(text: str) -> str:
    return text.strip().splitlines()[0].partition(". ")[0].rstrip(".") + "." if text.strip() else "no reason given."
