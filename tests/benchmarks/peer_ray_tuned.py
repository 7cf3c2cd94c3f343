"""Peer: Ray Tune, Optuna and MLflow as an expert tunes them: what can be had without writing a platform.

A class trainable whose process is reused, Tune's own loggers off, as many trials at once as there are cores, and a trial's
MLflow run written by its worker at its end in three calls (created, one `log_batch`, closed).

    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=1 python -m tests.benchmarks.peer_ray_tuned http://127.0.0.1:5000 100

A trial that is killed leaves nothing in MLflow, and one that Ray retries is two. Prints a line of JSON.
"""

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

import mlflow
import ray
from mlflow.entities import Metric, Param
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from tests.benchmarks.peer_contest import Contest, main
from tests.benchmarks.peer_work import OBJECTIVE, space_of, work_of


class Trainable(tune.Trainable):
    """Trial after trial in one process."""

    def setup(self, config: dict[str, Any]) -> None:
        """Once a process."""
        self._client = mlflow.MlflowClient(config["uri"])
        self._seen: list[Metric] = []
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Once a trial."""
        self.cleanup()
        self._given = new_config
        work = work_of(new_config["work"], new_config["num_epochs"], is_tuned=True, root=Path(new_config["root"]))
        self._epochs: Iterator[dict[str, float]] = work(new_config)
        self._epoch = 0
        return True

    def cleanup(self) -> None:
        """What a trial that the scheduler stopped has measured."""
        if self._seen:
            self._record()

    def step(self) -> dict[str, Any]:
        """An epoch, or as many as are reported together."""
        for _ in range(self._given["reports_a_step"]):
            metrics = next(self._epochs)
            self._epoch += 1
            now_ms = time.time_ns() // 1_000_000
            self._seen += [Metric(name, value, now_ms, self._epoch) for name, value in metrics.items()]
            if is_last := self._epoch == self._given["num_epochs"]:
                self._record()
                break
        return {**metrics, "done": is_last}

    def _record(self) -> None:
        given = {name: value for name, value in self._given.items() if name in space_of(self._given["work"])}
        run_id = self._client.create_run(self._given["experiment_id"]).info.run_id
        self._client.log_batch(run_id, self._seen, [Param(name, str(value)) for name, value in given.items()])
        self._client.set_terminated(run_id)
        self._seen = []


def run(contest: Contest) -> list[float]:
    """The last objective of each trial."""
    experiment_id = mlflow.MlflowClient(contest.uri).create_experiment(f"tuned-{time.time_ns()}")
    fixed = {
        "uri": contest.uri,
        "experiment_id": experiment_id,
        "work": contest.work,
        "num_epochs": contest.num_epochs,
        "reports_a_step": contest.reports_a_step,
        "root": str(Path.cwd()),
    }
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(Trainable, {"cpu": 1}),
            param_space={**space_of(contest.work), **fixed},
            tune_config=tune.TuneConfig(
                metric=OBJECTIVE,
                mode="max",
                search_alg=OptunaSearch(seed=contest.seed),
                scheduler=ASHAScheduler(max_t=contest.num_epochs) if contest.is_pruned else None,
                num_samples=contest.num_trials,
                max_concurrent_trials=len(os.sched_getaffinity(0)),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tuned",
                storage_path=folder,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        results = tuner.fit()
    return [float((one.metrics or {})[OBJECTIVE]) for one in (results[number] for number in range(len(results)))]


if __name__ == "__main__":
    main(run, begin=lambda: ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False))
