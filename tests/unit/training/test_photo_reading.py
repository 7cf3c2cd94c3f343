import threading
import time

import numpy as np
import pytest
import torch

from study.training.photo_reading import MappedPhotos, ResidentPhotos, ahead, open_reader

CPU = torch.device("cpu")
PHOTOS = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
BATCHES = [np.array([3, 1, 19]), np.array([0]), np.array([7, 7])]


def test_photos_are_read_in_the_order_asked() -> None:
    reader = open_reader(PHOTOS, np.arange(20), CPU)
    assert isinstance(reader, MappedPhotos)
    for batch, photos in zip(reader.read(BATCHES), BATCHES, strict=True):
        assert np.array_equal(batch.numpy(), PHOTOS[photos])


def test_what_was_read_is_a_copy() -> None:
    photos = PHOTOS.copy()
    photos.flags.writeable = False  # as a memory map is
    next(MappedPhotos(photos, CPU).read(BATCHES)).zero_()
    assert np.array_equal(photos, PHOTOS)


def test_resident_photos_are_found_by_their_position_in_the_array() -> None:
    used = np.array([0, 1, 3, 7, 19])
    row_of = np.full(20, -1)
    row_of[used] = np.arange(5)
    resident = ResidentPhotos(torch.from_numpy(PHOTOS[used]), row_of)
    assert [batch.numpy().tolist() for batch in resident.read(BATCHES)] == [PHOTOS[photos].tolist() for photos in BATCHES]
    assert list(resident.read([])) == []
    with pytest.raises(AssertionError, match="opened for other photos"):
        next(resident.read([np.array([2])]))


def test_results_come_in_order_from_one_thread_that_is_ahead() -> None:
    started: list[int] = []
    threads: set[int] = set()

    def double(number: int) -> int:
        started.append(number)
        threads.add(threading.get_ident())
        return 2 * number

    results = ahead(double, range(10), num_ahead=3)
    assert next(results) == 0
    deadline_s = time.monotonic() + 2
    while len(started) < 4 and time.monotonic() < deadline_s:
        time.sleep(0.001)
    assert started == [0, 1, 2, 3]
    assert list(results) == [2 * number for number in range(1, 10)]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_fewer_items_than_may_be_ahead_all_come() -> None:
    assert list(ahead(str, [1, 2], num_ahead=5)) == ["1", "2"]
    assert list(ahead(str, [], num_ahead=5)) == []


def test_an_error_is_raised_where_its_result_is_due() -> None:
    results = ahead(lambda number: 1 // (2 - number), range(5), num_ahead=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_reader_that_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    results = ahead(str, range(1000), num_ahead=3)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
