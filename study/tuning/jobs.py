"""A command line of ours, run on a cluster as a Ray job: its output comes here, and its exit code is ours."""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from study.errors import StudyError
from study.tuning.job_lines import Stream, Streams

LOST_S = 60.0  # the head's web server restarts within that, or the line is given up
PAUSE_S = 1.0
NOT_FOUND = 127  # a shell's exit code for a command that is not there


class JobError(StudyError):
    """The cluster did not run a command."""

    exit_code = 1


@dataclass(frozen=True)
class JobRequest:
    """What is run.

    Attributes:
        arguments: of `study`, without its name.
        name: of the job, unique on the cluster.
        folder: whose content is the job's present folder; None for a command that needs no files.
        notes: kept with the job, for who lists jobs.
    """

    arguments: tuple[str, ...]
    name: str
    folder: Path | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """For the shell, which `exec` replaces: signals then reach the command itself."""
        return f"exec {shlex.join(['study', *self.arguments])}"


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Attributes:
        exit_code: of the command; None if it never ran, or was stopped.
        message: Ray's words.
    """

    exit_code: int | None
    message: str = ""


class JobClient(Protocol):
    """A cluster's job API."""

    def submit(self, request: JobRequest) -> None:
        """Hands a command over; it begins within seconds."""

    def output(self, name: str) -> Iterator[str]:
        """The job's output from its beginning, in pieces as they come, until the job ends.

        Raises:
            ConnectionError: if the line is lost.
        """

    def end(self, name: str) -> JobEnd | None:
        """How a job ended; None while it has not.

        Raises:
            ConnectionError: if the line is lost.
        """

    def stop(self, name: str) -> None:
        """Asks a job to end."""


def follow_job(client: JobClient, name: str, show: Callable[[Stream, str], None], *, until_accepted: bool = False) -> int:
    """Shows a job's output from its beginning to its end; the command's exit code.

    Args:
        show: called with each line that the command prints.
        until_accepted: no longer than until the cluster has nothing against the command; 0 then.
    Raises:
        JobError: if the command did not run, or the line to the cluster is lost for good.
    """
    streams, followed = Streams(), _Followed(client, name)
    for line in followed.lines():
        shown = streams.take(line)
        if shown is not None:
            show(*shown)
        if until_accepted and streams.is_accepted:
            return 0
    assert followed.end is not None, "there are no more lines"
    return _exit_code(followed.end, streams)


def _exit_code(end: JobEnd, streams: Streams) -> int:
    if end.exit_code is not None and (streams.has_begun or end.exit_code == 0):
        return end.exit_code
    if end.exit_code == NOT_FOUND:
        raise JobError(
            "`study` must be installed on the cluster's head, in the environment of `ray start`, but its shell knows no such "
            "command. Install it there, or put its folder on the PATH before `ray start`."
        )
    if streams.has_begun:
        raise JobError(f"the command was ended on the cluster before its time: {last_line(end.message)}")
    said = streams.preamble[-1] if streams.preamble else last_line(end.message)
    raise JobError(f"the cluster must run the command, but did not: {said} Look at the job in Ray's dashboard.")


class _Followed:
    """A job's lines, each once: where the line to the cluster is lost, it is taken up again.

    Attributes:
        end: how the job ended, after its last line.
    """

    def __init__(self, client: JobClient, name: str) -> None:
        self._client = client
        self._name = name
        self._num_seen = 0
        self._lost_s: float | None = None
        self.end: JobEnd | None = None

    def lines(self) -> Iterator[str]:
        unfinished = ""
        while self.end is None:
            try:
                for new in self._new_pieces():
                    *lines, unfinished = (unfinished + new).split("\n")
                    yield from lines
                self.end = self._client.end(self._name)  # None: the cluster's web server went away, the job did not
            except ConnectionError as error:
                self._wait(error)
        if unfinished:
            yield unfinished

    def _new_pieces(self) -> Iterator[str]:
        """A new connection tells everything again: what was seen is left out."""
        to_skip = self._num_seen
        for piece in self._client.output(self._name):
            self._lost_s = None
            new, to_skip = piece[to_skip:], max(0, to_skip - len(piece))
            self._num_seen += len(new)
            yield new

    def _wait(self, error: ConnectionError) -> None:
        now_s = time.monotonic()
        self._lost_s = self._lost_s or now_s
        if now_s - self._lost_s > LOST_S:
            raise JobError(
                f"the line to the cluster is lost for {LOST_S:g} s ({error}); the job {self._name} goes on there. "
                f"Look again with `study status` and `study logs`, with the same --address."
            ) from None
        time.sleep(PAUSE_S)


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")
