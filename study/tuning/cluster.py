"""Ray itself: connecting to a cluster or starting one here, what it has, and running the ledger's trials on it."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

# Read by Ray when it is imported. What each keeps away:
RAY_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run`, uploading this folder and installing it again in every worker
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a warning about a default that changes
    "RAY_USAGE_STATS_ENABLED": "0",  # a call home, and a paragraph about it
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints its configuration even with verbose=0
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # JSON, CSV and TensorBoard files of every trial: 100 ms a trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: it must mark the runs first
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a second Ray, by a thread that asks something after the first was left
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # snapshots of an experiment that nobody restores: Optuna's storage is the truth
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
os.environ.update({key: os.environ.get(key, value) for key, value in RAY_ENVIRONMENT.items()})

import ray  # noqa: E402  the environment first
from ray import tune  # noqa: E402

from study.errors import DefinitionError  # noqa: E402
from study.tuning.ledger import Ledger, TrialProgress  # noqa: E402
from study.tuning.metrics_export import exported  # noqa: E402
from study.tuning.newcomers import Newcomers  # noqa: E402
from study.tuning.nodes import Node, living_nodes, prepare_nodes  # noqa: E402
from study.tuning.placement import Placement, place  # noqa: E402
from study.tuning.platform_metrics import StudyMetrics  # noqa: E402
from study.tuning.preparation import PreparedStudy  # noqa: E402
from study.tuning.ray_adapters import (  # noqa: E402
    MAX_RETRIES,
    LedgerScheduler,
    LedgerSearcher,
    RoomLimiter,
    StudyTrainable,
    TrialBundle,
)
from study.tuning.trial_task import TrialTask  # noqa: E402

logger = logging.getLogger(__name__)

SETTLE_S = 10.0  # a new node is asked for its versions within seconds; until then a trial may be placed there again
LOCAL_OBJECT_STORE_BYTES = 256 * 2**20  # trials get their data by memory map, not through Ray's object store


@contextmanager
def connected(address: str | None, is_verbose: bool) -> Iterator[None]:
    """A connection to the cluster at `address`, or to one started on this machine and stopped afterwards.

    Raises:
        DefinitionError: if there is no cluster at the address.
    """
    level = logging.INFO if is_verbose else logging.CRITICAL
    terminate = signal.getsignal(signal.SIGTERM)
    local_options: dict[str, Any] = {"include_dashboard": False, "object_store_memory": LOCAL_OBJECT_STORE_BYTES}
    try:
        ray.init(
            address=address or "local",
            logging_level=level,
            log_to_driver=is_verbose,
            **({} if address else local_options),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        if "Version mismatch" in reason:
            raise DefinitionError(
                f"the driver must have the cluster's versions of Ray and Python, but: {' '.join(str(error).split())}. "
                f"Run the command in the environment that the cluster was started in."
            ) from None
        raise DefinitionError(
            f"RAY_ADDRESS must be a running Ray cluster, but {address} is not: {reason}. Start it, unset RAY_ADDRESS, or "
            f"set RAY_AUTH_MODE=token where the cluster asks for a token (`ray get-auth-token`)."
        ) from None
    logging.getLogger("ray").setLevel(level)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)  # Ray has put its own there, which leaves at once
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class RayExecutor:
    """Runs a ledger's trials on the connected cluster.

    Attributes:
        newcomers: the nodes that trials may run on.
        trainable: what runs a trial in its process.
    """

    prepared: PreparedStudy
    placement: Placement
    newcomers: Newcomers
    is_verbose: bool
    trainable: type[tune.Trainable] = StudyTrainable

    @property
    def num_concurrent(self) -> int:
        """Trials that run at once."""
        return self.placement.num_concurrent

    @property
    def gpus(self) -> float:
        """Of each trial."""
        return self.placement.gpus

    def for_study(self, prepared: PreparedStudy) -> "RayExecutor":
        """The same place for another study's trials."""
        return replace(self, prepared=prepared)

    def run(self, ledger: Ledger) -> None:
        """Runs trials until the ledger has none left or is interrupted.

        Raises:
            StudyError: if a store could not be written; what was running is left for `study resume`.
        """
        scheduler = LedgerScheduler(ledger, _stop_tune, self._num_retries)
        searcher = LedgerSearcher(ledger, self._task_of)
        with _interruptible(ledger), exported(self._metrics_of(ledger)):
            tune.run(
                self.trainable,
                name="ray",
                storage_path=str(self.prepared.settings.study_folder(self.prepared.definition.name)),
                search_alg=RoomLimiter(searcher, lambda: self.newcomers.num_concurrent),
                scheduler=scheduler,
                num_samples=sys.maxsize,  # the ledger says when it is enough
                # No preference for a node that holds a trial's activations. Tune could be given one (a PlacementGroupFactory of
                # each trial's own passes `_soft_target_node_id` or `bundle_label_selector` on), but it reuses an actor only
                # for trials of an equal factory (`_ObjectCache`, Ray 2.60): each preference would start a process, which takes
                # seconds, and must be uttered before it is known which node is free. Every node computes a prefix once at
                # most, and none of them twice where STUDY_CACHE is shared.
                resources_per_trial=TrialBundle(self.placement.cpus, self.placement.gpus, lambda: self.newcomers.refused),
                reuse_actors=True,
                max_failures=MAX_RETRIES,
                raise_on_failed_trial=False,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
                verbose=2 if self.is_verbose else 0,
            )
        if scheduler.error is not None:
            raise scheduler.error

    def _metrics_of(self, ledger: Ledger) -> StudyMetrics:
        """The study's metrics, listening to the ledger."""
        metrics = StudyMetrics(
            self.prepared.definition,
            self.placement,
            ledger.outcomes(),
            ledger.stopwatch,
            ledger.num_unsent,
            num_slots=lambda: self.newcomers.num_concurrent,
        )
        ledger.listen(metrics)
        return metrics

    def _num_retries(self) -> int:
        """Of a trial: a node that turned out to be unfit costs it none."""
        self.newcomers.settle(SETTLE_S)
        return MAX_RETRIES + len(self.newcomers.refused)

    def _task_of(self, trial: TrialProgress) -> TrialTask:
        return self.prepared.task_of(trial, num_threads=self.placement.cpus, uses_gpu=self.placement.gpus > 0)


@contextmanager
def ray_executor(
    prepared: PreparedStudy, is_verbose: bool, notice: Callable[[str], None] = logger.warning
) -> Iterator[RayExecutor]:
    """The executor on the cluster at the settings' address, or on one of this machine that ends with it.

    Args:
        notice: told of nodes that join later.
    Raises:
        StudyError: if there is no cluster, a trial fits none of its nodes, or a node cannot take part.
    """
    settings, definition = prepared.settings, prepared.definition

    def prepare_some(nodes: Sequence[Node]) -> None:
        prepare_nodes(nodes, settings.study_folder(definition.name), prepared.files, prepared.shared)

    with connected(settings.ray_address, is_verbose):
        nodes = living_nodes()
        placement = place(definition.resources, [node.resources for node in nodes])
        if settings.ray_address is not None:
            prepare_some([node for node in nodes if placement.fits(node.resources)])
        with Newcomers(nodes, placement, lambda node: prepare_some([node]), notice) as newcomers:
            yield RayExecutor(prepared, placement, newcomers, is_verbose)


def _trial_name(trial: tune.experiment.Trial) -> str:
    return f"trial_{trial.config['number']:05d}_{trial.trial_id}"


def _stop_tune() -> None:
    """Asks Tune to end its run after the present step: SIGUSR1 is its own signal for that."""
    os.kill(os.getpid(), signal.SIGUSR1)


@contextmanager
def _interruptible(ledger: Ledger) -> Iterator[None]:
    """While it lasts, the first Ctrl-C ends the run in good order; a second one ends it at once."""

    def interrupt(signal_number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, previous)
        ledger.is_interrupted = True
        _stop_tune()

    # Until Tune handles its own signal, SIGUSR1 would end this process; the ledger's word ends the run all the same.
    before_tune = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        signal.signal(signal.SIGUSR1, before_tune)
