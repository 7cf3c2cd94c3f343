"""What becomes of records when the store is away, or its replies are lost: in memory, and on a real server behind a proxy."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from study.errors import TrackingError
from study.tracking.failures import RecordRefusedError, StoreAwayError
from study.tracking.journaled_tracker import JournaledTracker
from study.tracking.mlflow_tracker import MlflowTracker
from study.tracking.patience import Patience
from study.tracking.tracker import DirectTracker, MemoryTracker
from study.trial import Measurement, TrialConfig, TrialState
from tests.stores import FaultyNetwork, faulty_network

CONFIG = TrialConfig(backbone="alexnet")
LONG_ENOUGH = Patience(30.0)


@dataclass
class Store:
    """A tracker whose store can be sent away."""

    tracker: DirectTracker
    network: FaultyNetwork | None = None

    def set_away(self, is_away: bool) -> None:
        if self.network is not None:
            self.network.is_down = is_away
        else:
            assert isinstance(self.tracker, MemoryTracker)
            self.tracker.is_away = is_away

    def lose_reply(self) -> None:
        if self.network is not None:
            self.network.lost_replies.append("runs/create")
        else:
            assert isinstance(self.tracker, MemoryTracker)
            self.tracker.num_lost_replies = 1

    def back_after(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self.set_away, [False])
        timer.start()
        return timer


@pytest.fixture(params=["memory", "server"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        yield Store(MemoryTracker(LONG_ENOUGH))
        return
    with faulty_network(request.getfixturevalue("server_uri")) as network:
        yield Store(MlflowTracker(network.uri, LONG_ENOUGH), network)


@pytest.fixture
def study(store: Store, request: pytest.FixtureRequest) -> str:
    return store.tracker.begin_study(f"outage-{request.node.name}", "outages", {}, "", "")


def measurement(epoch: int) -> Measurement:
    return Measurement(epoch=epoch, metrics={"val_loss": 1 / epoch}, timestamp_ms=1_790_000_000_000 + epoch)


def test_a_lost_reply_makes_no_second_trial(store: Store, study: str) -> None:
    store.lose_reply()
    run_id = store.tracker.begin_trial(study, 0, CONFIG, {})
    assert [run.run_id for run in store.tracker.trial_runs(study)] == [run_id]
    assert store.tracker.trials(study)[0].params["backbone"] == "alexnet"


def test_a_lost_reply_makes_no_second_study(store: Store) -> None:
    store.lose_reply()
    name = f"lost-{time.time_ns()}"
    run_id = store.tracker.begin_study(name, "outages", {}, "", "")
    assert [record.run_id for record in store.tracker.studies() if record.name == name] == [run_id]


def test_a_trial_begins_as_soon_as_the_store_is_back(store: Store, study: str) -> None:
    store.set_away(True)
    timer = store.back_after(1.0)
    run_id = store.tracker.begin_trial(study, 0, CONFIG, {})
    timer.join()
    assert [run.run_id for run in store.tracker.trial_runs(study)] == [run_id]


def test_patience_has_an_end_and_says_what_it_waits_for(store: Store, study: str) -> None:
    said: list[str] = []
    impatient: Any = store.tracker
    impatient.patience = Patience(0.6, said.append)
    store.set_away(True)
    with pytest.raises(StoreAwayError) as raised:
        store.tracker.begin_trial(study, 0, CONFIG, {})
    assert "\n" not in str(raised.value)
    assert len(said) == 1


def test_what_will_never_be_taken_is_refused_at_once(store: Store) -> None:
    started_s = time.monotonic()
    with pytest.raises(RecordRefusedError):
        store.tracker.append("0" * 32, [measurement(1)])
    assert time.monotonic() - started_s < 5


def test_an_outage_loses_nothing_that_was_told(store: Store, study: str, tmp_path: Path) -> None:
    run_id = store.tracker.begin_trial(study, 0, CONFIG, {})
    with JournaledTracker(store.tracker, tmp_path / "outbox", linger_s=0.05) as journaled:
        journaled.append(run_id, [measurement(1)])
        store.set_away(True)
        slowest_s = 0.0
        for epoch in range(2, 12):
            started_s = time.monotonic()
            journaled.append(run_id, [measurement(epoch)])
            slowest_s = max(slowest_s, time.monotonic() - started_s)
            time.sleep(0.02)
        journaled.end_trial(run_id, TrialState.COMPLETE, [measurement(12)], {"best_epoch": 12}, {})
        assert journaled.outbox.flush(0.5).num_deliveries >= 11
        assert journaled.num_unsent() >= 11
        assert slowest_s < 0.5  # training did not wait for the store
        store.set_away(False)
        assert journaled.outbox.flush(20).is_empty
        assert journaled.num_unsent() == store.tracker.num_unsent() == 0
    assert [epoch for epoch, _ in store.tracker.history(run_id, "val_loss")] == list(range(1, 13))
    (told,) = store.tracker.trial_runs(study)
    assert (told.state, told.status, told.last_epoch) == (TrialState.COMPLETE, "FINISHED", 12)


def test_what_an_outage_leaves_is_sent_by_the_next_process(store: Store, study: str, tmp_path: Path) -> None:
    run_id = store.tracker.begin_trial(study, 0, CONFIG, {})
    store.set_away(True)
    journaled = JournaledTracker(store.tracker, tmp_path / "outbox")
    journaled.end_trial(run_id, TrialState.INTERRUPTED, [measurement(1)], {}, {})
    left = journaled.close(0.2)
    assert (left.num_deliveries, left.num_runs) == (1, 1)
    with pytest.raises(TrackingError, match="study reconcile"):
        left.require_empty()
    store.set_away(False)
    with JournaledTracker(store.tracker, tmp_path / "outbox") as later:
        later.reopen(run_id)  # its earlier end arrives before, not after
        (told,) = later.trial_runs(study)
    assert (told.state, told.status, told.last_epoch) == (TrialState.RUNNING, "RUNNING", 1)


def test_a_batch_whose_reply_was_lost_is_one_record(store: Store, study: str, tmp_path: Path) -> None:
    if store.network is None:
        pytest.skip("memory has no batches")
    run_id = store.tracker.begin_trial(study, 0, CONFIG, {})
    store.network.lost_replies += ["runs/log-batch", "runs/update"]
    with JournaledTracker(store.tracker, tmp_path / "outbox") as journaled:
        journaled.end_trial(run_id, TrialState.COMPLETE, [measurement(1), measurement(2)], {"best_epoch": 2}, {})
        assert journaled.outbox.flush(20).is_empty
    assert store.network.seen.count("runs/log-batch") >= 3  # the params, the batch, the batch again
    assert isinstance(store.tracker, MlflowTracker)
    assert len(store.tracker.connection.client.get_metric_history(run_id, "val_loss")) == 2
    assert len(store.tracker.connection.client.get_metric_history(run_id, "best_epoch")) == 1


def test_a_trial_ends_with_two_calls(store: Store, study: str, tmp_path: Path) -> None:
    if store.network is None:
        pytest.skip("memory has no calls")
    store.network.seen.clear()
    with JournaledTracker(store.tracker, tmp_path / "outbox") as journaled:
        run_id = journaled.begin_trial(study, 0, CONFIG, {})
        journaled.append(run_id, [measurement(1)])
        journaled.end_trial(run_id, TrialState.COMPLETE, [measurement(2)], {"best_epoch": 2}, {})
    assert store.network.seen == ["runs/create", "runs/log-batch", "runs/update"]
