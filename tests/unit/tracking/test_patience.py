import time

import pytest

from study.tracking.failures import StoreAwayError
from study.tracking.patience import Patience


class Flaky:
    def __init__(self, num_failures: int) -> None:
        self.num_failures, self.num_calls = num_failures, 0

    def __call__(self) -> str:
        self.num_calls += 1
        if self.num_calls <= self.num_failures:
            raise StoreAwayError(f"failure {self.num_calls}.")
        return "answer"


def test_without_patience_a_call_is_made_once() -> None:
    flaky = Flaky(1)
    with pytest.raises(StoreAwayError):
        Patience().of(flaky)
    assert flaky.num_calls == 1


def test_a_call_is_repeated_until_it_is_answered_and_why_is_said_once() -> None:
    said: list[str] = []
    flaky = Flaky(2)
    assert Patience(10, said.append).of(flaky) == "answer"
    assert said == ["failure 1. Trying again for 10 s."]


def test_patience_ends_with_the_last_failure() -> None:
    started_s = time.monotonic()
    with pytest.raises(StoreAwayError, match="failure 2"):
        Patience(0.1).of(Flaky(9))
    assert 0.1 <= time.monotonic() - started_s < 1


def test_another_error_is_not_waited_for() -> None:
    with pytest.raises(ZeroDivisionError):
        Patience(10).of(lambda: 1 // 0)
