"""Peer: Optuna's `study.optimize` with MLflow's calls in the objective, as MLflow's guide to hyperparameter search writes it.

In its favour: one `log_metrics` a report instead of one call a metric, and a study in memory, which a crash loses.
Source: mlflow.org/docs/latest/ml/getting-started/hyperparameter-tuning. Prints a line of JSON.

    python -m tests.benchmarks.peer_optuna_loop http://127.0.0.1:5000 20
"""

import os
from pathlib import Path
from typing import Any

import mlflow
import optuna
from ray.tune.search.optuna import OptunaSearch

from tests.benchmarks.peer_contest import Contest, main
from tests.benchmarks.peer_work import OBJECTIVE, space_of, work_of


def run(contest: Contest) -> list[float]:
    """The best objective of each trial."""
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    mlflow.set_tracking_uri(contest.uri)
    mlflow.set_experiment("optuna-loop")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = OptunaSearch.convert_search_space(space_of(contest.work))
    work = work_of(contest.work, contest.num_epochs, is_tuned=False, root=Path.cwd())

    def objective(trial: optuna.Trial) -> float:
        with mlflow.start_run(nested=True, run_name=f"trial_{trial.number}"):
            params: dict[str, Any] = {name: trial._suggest(name, distribution) for name, distribution in space.items()}
            mlflow.log_params(params)
            best = 0.0
            for epoch, metrics in enumerate(work(params), start=1):
                mlflow.log_metrics(metrics, step=epoch)
                trial.report(metrics[OBJECTIVE], epoch)
                best = max(best, metrics[OBJECTIVE])
                if contest.is_pruned and trial.should_prune():
                    raise optuna.TrialPruned
            return best

    pruner = optuna.pruners.HyperbandPruner(max_resource=contest.num_epochs) if contest.is_pruned else None
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=contest.seed), pruner=pruner)
    with mlflow.start_run(run_name="study"):
        study.optimize(objective, n_trials=contest.num_trials)
        mlflow.log_metric("best", study.best_value)
    return [trial.value or 0.0 for trial in study.trials]


if __name__ == "__main__":
    main(run)
