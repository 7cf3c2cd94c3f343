"""The peers of bench_recording.py: MLflow as its documentation writes it, and as an expert tunes it.

Each records `num_runs` runs of `NUM_EPOCHS` epochs with `NUM_METRICS` metrics in the experiment, and returns the seconds that
its caller was held up by recording. When it returns, everything is durable.
"""

import time

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric

NUM_EPOCHS = 10
NUM_METRICS = 10


def values(epoch: int) -> dict[str, float]:
    """What an epoch shows."""
    return {f"metric_{index}": epoch + index / NUM_METRICS for index in range(NUM_METRICS)}


def documented(uri: str, experiment_id: str, num_runs: int) -> float:
    """https://mlflow.org/docs/latest/ml/tracking/: a `with start_run()` and a `log_metric` for each metric."""
    mlflow.set_tracking_uri(uri)
    started_s = time.perf_counter()
    for _ in range(num_runs):
        with mlflow.start_run(experiment_id=experiment_id):
            for epoch in range(1, NUM_EPOCHS + 1):
                for name, value in values(epoch).items():
                    mlflow.log_metric(name, value, step=epoch)
    return time.perf_counter() - started_s


def batch_an_epoch(uri: str, experiment_id: str, num_runs: int) -> float:
    """The client without globals, one `log_batch` an epoch."""
    client = MlflowClient(uri)
    started_s = time.perf_counter()
    for _ in range(num_runs):
        run_id = client.create_run(experiment_id).info.run_id
        for epoch in range(1, NUM_EPOCHS + 1):
            now_ms = time.time_ns() // 1_000_000
            client.log_batch(run_id, [Metric(name, value, now_ms, epoch) for name, value in values(epoch).items()])
        client.set_terminated(run_id)
    return time.perf_counter() - started_s


def batch_a_run(uri: str, experiment_id: str, num_runs: int) -> float:
    """All of a run at its end: nothing is seen while it trains, and a crash loses it whole."""
    client = MlflowClient(uri)
    started_s = time.perf_counter()
    for _ in range(num_runs):
        run_id = client.create_run(experiment_id).info.run_id
        metrics = [
            Metric(name, value, time.time_ns() // 1_000_000, epoch)
            for epoch in range(1, NUM_EPOCHS + 1)
            for name, value in values(epoch).items()
        ]
        client.log_batch(run_id, metrics)
        client.set_terminated(run_id)
    return time.perf_counter() - started_s


def asynchronous(uri: str, experiment_id: str, num_runs: int) -> float:
    """MLflow's own queue; with MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS=1 it gathers for a second. It dies with the process."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    blocked_s = 0.0
    runs = []
    for _ in range(num_runs):
        started_s = time.perf_counter()
        run_id = client.create_run(experiment_id).info.run_id
        runs.append(run_id)
        for epoch in range(1, NUM_EPOCHS + 1):
            mlflow.log_metrics(values(epoch), step=epoch, run_id=run_id, synchronous=False)
        blocked_s += time.perf_counter() - started_s
    mlflow.flush_async_logging()
    for run_id in runs:
        client.set_terminated(run_id)
    return blocked_s
