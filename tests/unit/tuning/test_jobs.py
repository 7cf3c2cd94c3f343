"""A job's output and end, as the submitting side sees them; the cluster is a double that keeps Ray's habits."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from study.tuning import jobs
from study.tuning.job_lines import ACCEPTED, BEGIN, OTHER_MARKS, OUT, MarkedOutput, Stream, announced
from study.tuning.jobs import JobClient, JobEnd, JobError, JobRequest, follow_job

BEGUN = f"{announced()}\n{BEGIN}\n{ACCEPTED}\n"
RAY_SAYS = "2026-11-23 03:08:59 INFO job_manager.py -- Runtime env is setting up.\nRunning entrypoint for job j: exec study\n"


@dataclass
class ScriptedJobs:
    """A cluster whose one job says what it is told; each connection tells everything from its beginning, as Ray's does.

    Attributes:
        connections: the pieces that each connection gives; the last is repeated. An error among them loses the line.
        ends: what is answered to who asks for the job's end, the last again and again.
    """

    connections: list[list[str | ConnectionError]]
    ends: list[JobEnd | None] = field(default_factory=lambda: [JobEnd(0)])
    submitted: list[JobRequest] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def submit(self, request: JobRequest) -> None:
        self.submitted.append(request)

    def output(self, name: str) -> Iterator[str]:
        pieces = self.connections.pop(0) if len(self.connections) > 1 else self.connections[0]
        for piece in pieces:
            if isinstance(piece, ConnectionError):
                raise piece
            yield piece

    def end(self, name: str) -> JobEnd | None:
        return self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]

    def stop(self, name: str) -> None:
        self.stopped.append(name)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PAUSE_S", 0.0)


def followed(client: JobClient, *, until_accepted: bool = False) -> tuple[int, list[tuple[Stream, str]]]:
    shown: list[tuple[Stream, str]] = []
    code = follow_job(client, "j", lambda stream, line: shown.append((stream, line)), until_accepted=until_accepted)
    return code, shown


def job(text: str, end: JobEnd | None = None) -> ScriptedJobs:
    return ScriptedJobs([[f"{RAY_SAYS}{BEGUN}{text}"]], [end or JobEnd(0)])


def test_the_two_streams_of_a_command_are_told_apart_and_ray_s_own_lines_left_out() -> None:
    code, shown = followed(job(f'{OUT}{{"a": 1}}\nsome warning\n{OUT.rstrip()}\n{OUT}last'))
    assert code == 0
    assert shown == [(Stream.OUT, '{"a": 1}'), (Stream.ERR, "some warning"), (Stream.OUT, ""), (Stream.OUT, "last")]


def test_what_a_command_writes_in_any_pieces_comes_back_as_its_lines() -> None:
    file = io.BytesIO()
    output = io.TextIOWrapper(io.BufferedWriter(MarkedOutput(file)), encoding="utf-8", line_buffering=True)
    for piece in ("one", " line\n", "\n", "two\nthree", "\n", "ünfinished"):
        output.write(piece)
        output.flush()
    _, shown = followed(job(file.getvalue().decode()))
    assert shown == [(Stream.OUT, line) for line in ("one line", "", "two", "three", "ünfinished")]
    output.detach()


def test_a_table_on_standard_error_stays_there_with_its_bars() -> None:
    lines = ("| a | b |", "|", "||")
    assert followed(job("\n".join(lines)))[1] == [(Stream.ERR, line) for line in lines]


def test_lines_of_a_cluster_that_marks_them_in_another_way_are_shown_without_its_marks() -> None:
    client = ScriptedJobs([[f"{RAY_SAYS}{announced('> ')}\n{BEGIN}\n{ACCEPTED}\n> one\n>\n{OUT}a warning\n"]])
    assert followed(client)[1] == [(Stream.OUT, "one"), (Stream.OUT, ""), (Stream.ERR, f"{OUT}a warning")]


def test_who_asks_a_cluster_that_does_not_say_how_it_marks_its_lines_is_told_once() -> None:
    client = ScriptedJobs([[f"{RAY_SAYS}{BEGIN}\n{ACCEPTED}\n| one\n| two\n"]])
    assert followed(client)[1] == [(Stream.ERR, OTHER_MARKS), (Stream.ERR, "| one"), (Stream.ERR, "| two")]
    assert "\n" not in OTHER_MARKS


def test_a_cluster_that_refuses_a_command_is_heard_alone() -> None:
    client = ScriptedJobs([[f"{BEGIN}\nError: another version\n"]], [JobEnd(2)])
    assert followed(client) == (2, [(Stream.ERR, "Error: another version")])


def test_a_line_that_comes_in_pieces_is_shown_whole() -> None:
    client = ScriptedJobs([[RAY_SAYS[:30], RAY_SAYS[30:], f"{BEGIN}\n{OUT}on", f"e\n{OUT}tw", "o\n"]])
    assert followed(client)[1] == [(Stream.OUT, "one"), (Stream.OUT, "two")]


def test_a_command_s_exit_code_is_ours() -> None:
    assert followed(job("", JobEnd(2)))[0] == 2


def test_a_lost_line_is_taken_up_again_and_nothing_is_shown_twice() -> None:
    begin = f"{BEGIN}\n{OUT}one\n{OUT}tw"
    client = ScriptedJobs([[begin, ConnectionError("reset")], [ConnectionError("refused")], [begin + "o\n", f"{OUT}three\n"]])
    assert followed(client) == (0, [(Stream.OUT, "one"), (Stream.OUT, "two"), (Stream.OUT, "three")])


def test_where_the_web_server_goes_away_in_good_order_the_job_is_followed_on() -> None:
    client = ScriptedJobs([[f"{BEGIN}\n{OUT}one\n"], [f"{BEGIN}\n{OUT}one\n{OUT}two\n"]], [None, JobEnd(0)])
    assert followed(client)[1] == [(Stream.OUT, "one"), (Stream.OUT, "two")]


def test_a_line_that_stays_lost_says_that_the_job_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LOST_S", 0.0)
    with pytest.raises(JobError, match="the job j goes on there"):
        followed(ScriptedJobs([[ConnectionError("refused")]]))


def test_where_study_is_not_installed_one_line_says_so() -> None:
    client = ScriptedJobs([[f"{RAY_SAYS}sh: 1: exec: study: not found\n"]], [JobEnd(127, "failed with exit code 127")])
    with pytest.raises(JobError, match="`study` must be installed on the cluster's head"):
        followed(client)


def test_a_job_that_never_began_is_told_in_ray_s_last_words() -> None:
    client = ScriptedJobs([["Failed to download the package\n"]], [JobEnd(None, "RUNTIME_ENV_SETUP_FAILURE")])
    with pytest.raises(JobError, match="did not: Failed to download the package Look at"):
        followed(client)


def test_a_job_that_was_killed_is_no_success() -> None:
    with pytest.raises(JobError, match="ended on the cluster before its time: STOPPED"):
        followed(job(f"{OUT}half\n", JobEnd(None, "STOPPED")))


def test_who_waits_for_the_acceptance_only_is_let_go_there() -> None:
    client = ScriptedJobs([[BEGUN, ConnectionError("not asked for")]])
    assert followed(client, until_accepted=True) == (0, [])


def test_who_waits_for_the_acceptance_hears_of_a_refusal() -> None:
    client = ScriptedJobs([[f"{BEGIN}\nError: another version\n"]], [JobEnd(2)])
    assert followed(client, until_accepted=True) == (2, [(Stream.ERR, "Error: another version")])


def test_a_line_for_the_shell_is_quoted() -> None:
    assert JobRequest(("run", "my file.toml"), "j").line == "exec study run 'my file.toml'"
