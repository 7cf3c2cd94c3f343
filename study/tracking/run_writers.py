"""The three calls that a run is made of: created, told, closed. To a server as plain requests, to a file by MLflow's client."""

import math
from collections.abc import Mapping
from typing import Protocol

from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_USER

from study.tracking.connection import Connection
from study.tracking.deliveries import Delivery
from study.tracking.records import STATUS
from study.tracking.rest import post
from study.trial import TrialState


class RunWriter(Protocol):
    """Writes to one store; each call tries once, and raises what MLflow does."""

    def create(self, experiment_id: str, name: str, tags: Mapping[str, str], started_ms: int) -> str:
        """Run id of a new run."""

    def write(self, run_id: str, delivery: Delivery) -> None:
        """Tells a run: one call a batch, and one if its state changes."""


def run_writer(connection: Connection) -> RunWriter:
    """The writer for the connection's kind of store."""
    return ServerWriter(connection.uri) if connection.is_server else FileWriter(connection)


class ServerWriter:
    """A `RunWriter` to a server."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def create(self, experiment_id: str, name: str, tags: Mapping[str, str], started_ms: int) -> str:
        """See `RunWriter.create`."""
        contents = {
            "experiment_id": experiment_id,
            "user_id": tags.get(MLFLOW_USER, "unknown"),
            "run_name": name,
            "start_time": started_ms,
            "tags": _pairs(tags),
        }
        return str(post(self._uri, "runs/create", contents)["run"]["info"]["run_id"])

    def write(self, run_id: str, delivery: Delivery) -> None:
        """See `RunWriter.write`."""
        for batch in delivery.batches():
            metrics = [
                {"key": name, "value": _number(value), "timestamp": timestamp_ms, "step": step}
                for name, value, timestamp_ms, step in batch.points
            ]
            contents = {"run_id": run_id, "metrics": metrics, "params": _pairs(batch.params), "tags": _pairs(batch.tags)}
            post(self._uri, "runs/log-batch", contents)
        if delivery.state is not None:
            status = {"run_id": run_id, "status": STATUS[delivery.state]}
            is_over = delivery.state is not TrialState.RUNNING
            post(self._uri, "runs/update", status | ({"end_time": delivery.at_ms} if is_over else {}))


class FileWriter:
    """A `RunWriter` to an SQLite file."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, experiment_id: str, name: str, tags: Mapping[str, str], started_ms: int) -> str:
        """See `RunWriter.create`."""
        client = self._connection.client
        return str(client.create_run(experiment_id, started_ms, tags=dict(tags), run_name=name).info.run_id)

    def write(self, run_id: str, delivery: Delivery) -> None:
        """See `RunWriter.write`."""
        client = self._connection.client
        for batch in delivery.batches():
            client.log_batch(
                run_id,
                metrics=[Metric(*point) for point in batch.points],
                params=[Param(key, value) for key, value in batch.params.items()],
                tags=[RunTag(key, value) for key, value in batch.tags.items()],
            )
        if delivery.state is TrialState.RUNNING:
            client.update_run(run_id, status=STATUS[delivery.state])
        elif delivery.state is not None:
            client.set_terminated(run_id, STATUS[delivery.state], delivery.at_ms)


def _pairs(texts: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in texts.items()]


def _number(value: float) -> float | str:
    """As protocol buffers' JSON has it, where plain JSON has no word for what is no number."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
