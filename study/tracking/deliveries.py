"""What one run is told, as plain data that can be kept in a file and told again: the same delivery twice is one record."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from study.tracking.records import DUPLICATE_TAG, STATE_TAG, params_of, recorded, shortened
from study.trial import Measurement, TrialConfig, TrialState

MAX_POINTS = 1000  # of one `log_batch`, all its params and tags included; MLflow's limit
MAX_PARAMS_AND_TAGS = 100  # each; MLflow's limit


class Point(NamedTuple):
    """One value of a metric. MLflow keeps one record of all four together, however often it is told."""

    metric: str
    value: float
    timestamp_ms: int
    step: int


@dataclass(frozen=True)
class Delivery:
    """Something that one run is told.

    Attributes:
        state: how the run stands from now on; None leaves that as it is.
        at_ms: when it came to stand so, milliseconds since 1970.
    """

    points: Sequence[Point] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    state: TrialState | None = None
    at_ms: int = 0

    @property
    def has_contents(self) -> bool:
        """Whether there is anything beside the state."""
        return bool(self.points or self.params or self.tags)

    def followed_by(self, later: "Delivery") -> "Delivery":
        """Both as one."""
        return Delivery(
            points=[*self.points, *later.points],
            params={**self.params, **later.params},
            tags={**self.tags, **later.tags},
            state=later.state or self.state,
            at_ms=later.at_ms if later.state else self.at_ms,
        )

    def batches(self) -> Iterator["Delivery"]:
        """The contents in parts within MLflow's limits; the state is left out."""
        points, params, tags = iter(self.points), iter(self.params.items()), iter(self.tags.items())
        while True:
            some_params = dict(islice(params, MAX_PARAMS_AND_TAGS))
            some_tags = dict(islice(tags, MAX_PARAMS_AND_TAGS))
            room = MAX_POINTS - len(some_params) - len(some_tags)
            batch = Delivery(tuple(islice(points, room)), some_params, some_tags)
            if not batch.has_contents:
                return
            yield batch

    def to_line(self) -> str:
        """As one line of JSON, with its end."""
        contents = {
            "points": self.points,
            "params": self.params,
            "tags": self.tags,
            "state": self.state,
            "at_ms": self.at_ms,
        }
        return json.dumps({key: value for key, value in contents.items() if value}, separators=(",", ":")) + "\n"

    @staticmethod
    def from_line(line: str | bytes) -> "Delivery":
        """The inverse of `to_line`.

        Raises:
            ValueError: for anything else.
        """
        contents: Any = json.loads(line)
        if not isinstance(contents, dict):
            raise ValueError(f"a delivery must be a JSON object, but got {line[:60]!r}")
        try:
            return Delivery(
                points=tuple(Point(*point) for point in contents.get("points", ())),
                params=contents.get("params", {}),
                tags=contents.get("tags", {}),
                state=TrialState(contents["state"]) if "state" in contents else None,
                at_ms=contents.get("at_ms", 0),
            )
        except TypeError as error:
            raise ValueError(f"a delivery must hold points of four values, but got {line[:60]!r}") from error


def measured(measurements: Sequence[Measurement]) -> Delivery:
    """Measurements, step = epoch.

    Raises:
        TrackingError: if the names of two metrics become one.
    """
    return Delivery(
        points=[
            Point(name, value, measurement.timestamp_ms, measurement.epoch)
            for measurement in measurements
            for name, value in recorded(measurement.metrics).items()
        ]
    )


def begun(config: TrialConfig) -> Delivery:
    """A trial's recipe as params."""
    return Delivery(params=params_of(config))


def ended(state: TrialState, summary: Mapping[str, float], tags: Mapping[str, str]) -> Delivery:
    """The end of a run, with its summary.

    Raises:
        TrackingError: if the names of two metrics become one.
    """
    now_ms = time.time_ns() // 1_000_000
    points = [Point(name, value, now_ms, 0) for name, value in recorded(summary).items()]
    return Delivery(points, tags=shortened(tags), state=state, at_ms=now_ms)


def trial_ended(state: TrialState, summary: Mapping[str, float], tags: Mapping[str, str]) -> Delivery:
    """The end of a trial's run, which a tag tells too: MLflow's statuses have no word for "pruned"."""
    return ended(state, summary, {**tags, STATE_TAG: state.value})


def duplicate(of_run_id: str) -> Delivery:
    """A run that should not be: kept as evidence, closed, and marked so that nobody counts it."""
    return trial_ended(TrialState.INTERRUPTED, {}, {DUPLICATE_TAG: of_run_id})
