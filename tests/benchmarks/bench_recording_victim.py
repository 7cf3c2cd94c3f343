"""A process that records to a server which is not there, counts its epochs aloud, and waits for its death.

python -m tests.benchmarks.bench_recording_victim FOLDER RUN_ID...
"""

import sys
import time
from itertools import count
from pathlib import Path

from study.tracking.deliveries import measured
from study.tracking.failures import StoreAwayError
from study.tracking.outbox import Outbox
from study.trial import Measurement
from tests.benchmarks.peer_recording import values


class Nobody:
    """A server that is away."""

    def deliver(self, run_id: str, delivery: object) -> None:
        """Fails."""
        raise StoreAwayError("nobody is there.")


folder, *run_ids = sys.argv[1:]
outbox = Outbox(Path(folder), Nobody())
for number in count():
    epoch = number // len(run_ids) + 1
    measurement = Measurement(epoch=epoch, metrics=values(epoch), timestamp_ms=time.time_ns() // 1_000_000)
    outbox.put(run_ids[number % len(run_ids)], measured([measurement]))
    print(number + 1, flush=True)
