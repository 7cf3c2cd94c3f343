"""What must hold before a new study begins: places that answer, and a name that no other study has."""

import socket

from study.definition import StudyDefinition
from study.errors import DefinitionError, SearchError, TrackingError
from study.search.algorithms import is_fresh, open_storage
from study.search.notes import is_begun
from study.search.warm_start import check_warm_start
from study.settings import Settings
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.tracker import Tracker
from study.tuning.placement import check_gpus

CLUSTER_PROBE_S = 5.0


def check_places(definition: StudyDefinition, settings: Settings) -> None:
    """Returns where every place of a new study answers and none has one of its name: all that is known without its photos.

    Raises:
        StudyError: in one line, the first thing that is wrong.
    """
    check_gpus(definition.resources)
    tracker = MlflowTracker(settings.tracking_uri)
    if tracker.connection.is_server:
        tracker.check()  # a server that is not there is news before the photos are packed
    _require_cluster(settings.ray_address)
    _require_new_in_optuna(definition, settings)
    if definition.search.warm_start:
        check_warm_start(definition, open_storage(settings.storage))


def require_new_in_mlflow(definition: StudyDefinition, tracker: Tracker) -> None:
    """Nothing, where MLflow has no trial of a study of this name; that Optuna has none is known.

    Raises:
        TrackingError: if it has: the models of two studies would be versions of one.
    """
    launches = [study for study in tracker.studies() if study.name == definition.name]
    if any(tracker.trial_runs(launch.run_id) for launch in launches):
        raise TrackingError(
            f"a study's name must be new, but {definition.name!r} exists in MLflow, with trials that are not in this "
            f"STUDY_STORAGE. Set STUDY_STORAGE to where it was begun and go on with it (`study resume {definition.name}`), or "
            f"change `name` in {definition.file}."
        )


def _require_cluster(ray_address: str | None) -> None:
    """Ray itself tries an address where nothing listens for two minutes, and prints as it does."""
    host, _, port = (ray_address or "").removeprefix("ray://").partition(":")
    if not port.isdecimal():
        return  # none, or a name such as "auto" that only Ray understands
    try:
        socket.create_connection((host, int(port)), timeout=CLUSTER_PROBE_S).close()
    except OSError as error:
        raise DefinitionError(
            f"RAY_ADDRESS or --address must be a running Ray cluster, but nothing answers at {ray_address} ({error}). "
            f"Start it (`ray start --head`), or leave both out."
        ) from None


def _require_new_in_optuna(definition: StudyDefinition, settings: Settings) -> None:
    if not is_fresh(settings.storage) and is_begun(definition.name, open_storage(settings.storage)):
        raise SearchError(
            f"a study's name must be new, but {definition.name!r} exists in Optuna's storage. "
            f"Go on with it (`study resume {definition.name}`), or change `name` in {definition.file}."
        )
