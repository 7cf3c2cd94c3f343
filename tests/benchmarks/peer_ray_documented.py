"""Peer: Ray Tune as its documentation writes it: a function trainable, `OptunaSearch`, and `MLflowLoggerCallback` over REST.

    python -m tests.benchmarks.peer_ray_documented http://127.0.0.1:5000 4

Sources: docs.ray.io/en/latest/tune/examples/optuna_example.html and …/tune/examples/tune-mlflow.html. Prints a line of JSON.
"""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch

from tests.benchmarks.peer_contest import Contest, main
from tests.benchmarks.peer_work import OBJECTIVE, space_of, work_of


def run(contest: Contest) -> list[float]:
    """The best objective of each trial."""
    work = work_of(contest.work, contest.num_epochs, is_tuned=False, root=Path.cwd())

    def trainable(config: Mapping[str, Any]) -> None:
        for metrics in work(config):
            tune.report(metrics)

    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space=space_of(contest.work),
            tune_config=tune.TuneConfig(
                metric=OBJECTIVE, mode="max", search_alg=OptunaSearch(), num_samples=contest.num_trials
            ),
            run_config=tune.RunConfig(
                name="documented",
                storage_path=folder,
                verbose=0,
                callbacks=[MLflowLoggerCallback(tracking_uri=contest.uri, experiment_name="documented")],
            ),
        )
        results = tuner.fit()
    frames = [results[number].metrics_dataframe for number in range(len(results))]
    return [float(frame[OBJECTIVE].max()) for frame in frames if frame is not None]


if __name__ == "__main__":
    main(run, begin=lambda: ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False))
