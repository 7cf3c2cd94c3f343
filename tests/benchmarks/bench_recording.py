"""Recording 100 runs of 10 epochs with 10 metrics from two processes on a real MLflow server, against MLflow's own client.

    python -m tests.benchmarks.bench_recording
    python -m tests.benchmarks.bench_recording --backend postgresql+psycopg2://study@localhost/mlflow

Prints Markdown: the race on a server as `mlflow server` starts it and with one worker, what a caller waits for, and what a
killed process leaves. Peers record fewer runs where they take minutes; rates are compared.
"""

import argparse
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from study.tracking.journaled_tracker import JournaledTracker
from study.tracking.mlflow_tracker import MlflowTracker
from study.trial import Measurement, TrialConfig, TrialState
from tests.benchmarks import peer_recording as peer
from tests.benchmarks.machine import describe_machine

NUM_WRITERS = 2
METRICS_A_RUN = peer.NUM_EPOCHS * peer.NUM_METRICS
CONFIG = TrialConfig(backbone="squeezenet1_0")

Recording = Callable[[str, str, int], float]


@dataclass(frozen=True)
class Contestant:
    """A way to record.

    Attributes:
        share: of the runs that it is given; 1 is all.
        buffering_s: how long MLflow's own queue gathers.
        is_study: records below a study's run; else straight into an experiment.
    """

    name: str
    record: Recording
    share: float = 1.0
    buffering_s: int = 0
    is_study: bool = False


@dataclass(frozen=True)
class Result:
    """What one contestant did on one server."""

    num_metrics: int
    wall_s: float
    blocked_s: float

    @property
    def metrics_a_second(self) -> float:
        """Durable metrics a second, all writers together."""
        return self.num_metrics / self.wall_s


def ours(uri: str, parent_run_id: str, num_runs: int) -> float:
    """A child run, an epoch at a time, and its end, through the outbox: what the peers record, and a trial's tags."""
    return record_study(uri, parent_run_id, num_runs, has_recipe=False)


def ours_with_recipe(uri: str, parent_run_id: str, num_runs: int) -> float:
    """The same with some 40 params a run, as a study has them."""
    return record_study(uri, parent_run_id, num_runs, has_recipe=True)


def record_study(uri: str, parent_run_id: str, num_runs: int, has_recipe: bool) -> float:
    """Records as a study does; seconds that a trainer waited. A run begins on the driver, while others train."""
    held_up_s = 0.0
    with tempfile.TemporaryDirectory() as folder, JournaledTracker(MlflowTracker(uri), Path(folder)) as tracker:
        begin = tracker.begin_trial if has_recipe else tracker.inner.create_trial
        for number in range(num_runs):
            run_id = begin(parent_run_id, os.getpid() * 1000 + number, CONFIG, {})
            started_s = time.perf_counter()
            for epoch in range(1, peer.NUM_EPOCHS + 1):
                measurement = Measurement(epoch=epoch, metrics=peer.values(epoch), timestamp_ms=time.time_ns() // 1_000_000)
                tracker.append(run_id, [measurement])
            tracker.end_trial(run_id, TrialState.COMPLETE, [], {}, {})
            held_up_s += time.perf_counter() - started_s
        tracker.close(600).require_empty()
    return held_up_s


CONTESTANTS = (
    Contestant("ours", ours, is_study=True),
    Contestant("ours, with each run's recipe", ours_with_recipe, is_study=True),
    Contestant("as documented: `log_metric`", peer.documented, share=0.04),
    Contestant("tuned: `log_batch` an epoch", peer.batch_an_epoch, share=0.2),
    Contestant("tuned: `log_batch` a run", peer.batch_a_run),
    Contestant("tuned: asynchronous, gathering 1 s", peer.asynchronous, share=0.2, buffering_s=1),
)


def main() -> None:
    """Prints all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3, help="the best of each contestant's is told")
    parser.add_argument("--backend", default="", help="a database's address; default: an SQLite file a server")
    arguments = parser.parse_args()
    print(f"{describe_machine()}\n")
    print(f"{arguments.runs} runs x {peer.NUM_EPOCHS} epochs x {peer.NUM_METRICS} metrics, {NUM_WRITERS} writers\n")
    for title, options in (("`mlflow server` as it starts", []), ("`mlflow server --workers 1`", ["--workers", "1"])):
        with mlflow_server(options, arguments.backend) as uri:
            print_race(title, uri, arguments.runs, arguments.rounds)
            survive(uri)


def print_race(title: str, uri: str, num_runs: int, num_rounds: int) -> None:
    """Contestants take turns, so a busy machine is busy for all."""
    parent_run_id = MlflowTracker(uri).begin_study(f"recording-{uuid.uuid4().hex[:6]}", "recording", {}, "", "")
    experiment_id = MlflowTracker(uri).connection.client.get_run(parent_run_id).info.experiment_id
    race_one(CONTESTANTS[0], uri, parent_run_id, 4)  # a server's first requests import half of it
    best: dict[str, Result] = {}
    for _ in range(num_rounds):
        for contestant in CONTESTANTS:
            place = parent_run_id if contestant.is_study else experiment_id
            result = race_one(contestant, uri, place, max(int(num_runs * contestant.share / NUM_WRITERS), 2))
            if contestant.name not in best or result.metrics_a_second > best[contestant.name].metrics_a_second:
                best[contestant.name] = result
    print(
        f"| {title} | metrics/s, durable | ours is faster by | ms a run | caller held up, ms an epoch |\n|---|---|---|---|---|"
    )
    for name, result in best.items():
        factor = best["ours"].metrics_a_second / result.metrics_a_second
        num_recorded = result.num_metrics / METRICS_A_RUN
        held_up_ms = 1000 * result.blocked_s / num_recorded / peer.NUM_EPOCHS
        run_ms = 1000 * result.wall_s / num_recorded
        print(f"| {name} | {result.metrics_a_second:,.0f} | {factor:.1f} | {run_ms:.0f} | {held_up_ms:.2f} |")
    print(flush=True)


def race_one(contestant: Contestant, uri: str, place: str, num_runs: int) -> Result:
    """All writers at once; the clock runs from the moment when all are ready."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(NUM_WRITERS + 1), context.SimpleQueue()
    os.environ["MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS"] = str(contestant.buffering_s)
    arguments = (contestant.record, uri, place, num_runs, barrier, results)
    writers = [context.Process(target=write, args=arguments) for _ in range(NUM_WRITERS)]
    for writer in writers:
        writer.start()
    barrier.wait(120)
    started_s = time.perf_counter()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0, contestant.name
    # Of the end of a process, Python's own clearing up is no part of recording: each says when it was done.
    told = [results.get() for _ in writers]
    wall_s = max(done_s for done_s, _ in told) - started_s
    return Result(NUM_WRITERS * num_runs * METRICS_A_RUN, wall_s, sum(blocked_s for _, blocked_s in told))


def write(
    record: Recording,
    uri: str,
    place: str,
    num_runs: int,
    barrier: Barrier,
    results: "multiprocessing.SimpleQueue[tuple[float, float]]",
) -> None:
    """One writer; its first request, which imports half of MLflow, is no part of the race."""
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    MlflowTracker(uri).connection.client.search_experiments(max_results=1)
    MlflowTracker(uri).check()
    barrier.wait(120)
    blocked_s = record(uri, place, num_runs)
    results.put((time.perf_counter(), blocked_s))


def survive(uri: str) -> None:
    """A process that is killed while it records to a server that is away, and what another one finds and sends."""
    tracker = MlflowTracker(uri)
    parent_run_id = tracker.begin_study(f"killed-{uuid.uuid4().hex[:6]}", "recording", {}, "", "")
    run_ids = [tracker.begin_trial(parent_run_id, number, CONFIG, {}) for number in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.benchmarks.bench_recording_victim", folder, *run_ids]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
            assert victim.stdout is not None
            num_told = max(int(victim.stdout.readline()) for _ in range(200))
            victim.send_signal(signal.SIGKILL)
            num_told = max([num_told, *(int(line) for line in victim.stdout if line.endswith("\n"))])
        started_s = time.perf_counter()
        with JournaledTracker(tracker, Path(folder)) as later:
            later.close(120).require_empty()
        elapsed_s = time.perf_counter() - started_s
    num_found = sum(len(tracker.history(run_id, f"metric_{index}")) for run_id in run_ids for index in range(peer.NUM_METRICS))
    print(
        f"Killed (-9) after {num_told * peer.NUM_METRICS:,} metrics with the server away: {num_found:,} of them arrived, "
        f"sent by the next process in {elapsed_s:.1f} s.\n",
        flush=True,
    )
    assert num_found >= num_told * peer.NUM_METRICS


@contextmanager
def mlflow_server(options: Sequence[str], backend: str) -> Iterator[str]:
    """The address of a real `mlflow server` of its own."""
    with running_server(options, backend) as (uri, _):
        yield uri


@contextmanager
def running_server(options: Sequence[str], backend: str = "") -> Iterator[tuple[str, int]]:
    """A real `mlflow server` of its own: its address, and the id of its first process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log.txt").open("w") as log:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *options]
        command += [
            "--backend-store-uri",
            backend or f"sqlite:///{folder}/mlflow.db",
            "--artifacts-destination",
            f"{folder}/files",
        ]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
        try:
            wait_until_healthy(f"http://127.0.0.1:{port}", server, Path(folder) / "log.txt")
            yield f"http://127.0.0.1:{port}", server.pid
        finally:
            if server.poll() is not None:  # what its clients say of it is of no help
                print(f"the MLflow server ended by itself: {server.returncode}\n{_end_of(log.name)}", file=sys.stderr)
            server.terminate()
            server.wait(30)


def wait_until_healthy(uri: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Returns when the server answers."""
    while server.poll() is None:
        try:
            with urlopen(f"{uri}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"the MLflow server did not start:\n{_end_of(log)}")


def _end_of(log: Path | str) -> str:
    return Path(log).read_text()[-2000:]


if __name__ == "__main__":
    main()
