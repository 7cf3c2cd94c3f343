import math

import pytest

from study.tracking.deliveries import Delivery, Point
from study.trial import TrialState

FULL = Delivery(
    points=(Point("val_loss", 0.1 + 0.2, 1_790_000_000_123, 3),),
    params={"backbone": "alexnet"},
    tags={"study.note": "naïve\nline"},
    state=TrialState.PRUNED,
    at_ms=1_790_000_000_456,
)


@pytest.mark.parametrize("delivery", [FULL, Delivery(), Delivery(tags={"a": "b"})])
def test_a_line_is_read_as_it_was_written(delivery: Delivery) -> None:
    line = delivery.to_line()
    assert line.count("\n") == 1
    assert Delivery.from_line(line) == delivery


def test_what_is_no_number_survives_the_disk() -> None:
    (point,) = Delivery.from_line(Delivery(points=[Point("val_loss", math.nan, 1, 1)]).to_line()).points
    assert math.isnan(point.value)


@pytest.mark.parametrize("line", ["", "[]", "3", '{"points":[[1]]}', '{"state":"DONE"}', '{"points":'])
def test_what_is_no_delivery_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting|must be|must hold|is not a valid|could not"):
        Delivery.from_line(line)


def test_of_two_deliveries_the_later_one_holds() -> None:
    later = Delivery(tags={"study.note": "new"}, state=TrialState.COMPLETE, at_ms=9)
    both = FULL.followed_by(later)
    assert (both.tags, both.params, both.state, both.at_ms) == ({"study.note": "new"}, FULL.params, TrialState.COMPLETE, 9)
    assert list(FULL.followed_by(Delivery()).points) == list(FULL.points)
    assert FULL.followed_by(Delivery()).at_ms == FULL.at_ms


def test_batches_keep_mlflows_limits_and_lose_nothing() -> None:
    delivery = Delivery(
        points=[Point("m", index, index, index) for index in range(2345)],
        params={f"p{index}": "1" for index in range(130)},
        tags={f"t{index}": "1" for index in range(20)},
    )
    batches = list(delivery.batches())
    assert all(len(batch.points) + len(batch.params) + len(batch.tags) <= 1000 for batch in batches)
    assert all(len(batch.params) <= 100 for batch in batches)
    assert [point for batch in batches for point in batch.points] == list(delivery.points)
    assert {key for batch in batches for key in batch.params} == set(delivery.params)
    assert list(Delivery(state=TrialState.COMPLETE).batches()) == []
