"""Ctrl-C before Ray Tune listens; Ray itself is not started."""

import os
import signal
from types import SimpleNamespace
from typing import Any, cast

from study.tuning.cluster import _interruptible


def test_an_interruption_before_tune_listens_ends_the_run_and_not_the_process() -> None:
    ledger = SimpleNamespace(is_interrupted=False)
    before = signal.getsignal(signal.SIGUSR1)
    with _interruptible(cast(Any, ledger)):
        os.kill(os.getpid(), signal.SIGINT)
    assert ledger.is_interrupted
    assert signal.getsignal(signal.SIGUSR1) == before
