import hashlib
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from study.data.instruments.anatomy import anatomy_of
from study.data.instruments.collection import InstrumentPhoto, draw, plan_collection
from study.data.instruments.drawing import Placement, silhouette
from study.errors import DataError

DIGEST_OF_FOUR = """
import hashlib
from study.data.instruments.collection import draw, plan_collection
pixels = b"".join(draw(photo, 64).tobytes() for photo in plan_collection(4, seed=3))
print(hashlib.sha256(pixels).hexdigest())
"""


def by_instrument(photos: tuple[InstrumentPhoto, ...]) -> dict[str, list[InstrumentPhoto]]:
    groups = defaultdict(list)
    for photo in photos:
        groups[photo.instrument_id].append(photo)
    return groups


def same_view_pair(photos: tuple[InstrumentPhoto, ...]) -> tuple[InstrumentPhoto, InstrumentPhoto]:
    for group in by_instrument(photos).values():
        fronts = [photo for photo in group if photo.view == "front"]
        if len(fronts) == 2:
            return fronts[0], fronts[1]
    raise AssertionError("no instrument with two fronts")


def test_another_process_draws_the_same_bytes() -> None:
    pixels = b"".join(draw(photo, 64).tobytes() for photo in plan_collection(4, seed=3))
    other = subprocess.run([sys.executable, "-c", DIGEST_OF_FOUR], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == hashlib.sha256(pixels).hexdigest()


def test_drawing_order_does_not_change_a_photo() -> None:
    first, second = plan_collection(2, seed=0)
    alone = draw(second, 64).tobytes()
    draw(first, 64)
    assert draw(second, 64).tobytes() == alone


def test_a_larger_collection_begins_with_the_smaller_one() -> None:
    assert plan_collection(200, seed=5)[:100] == plan_collection(100, seed=5)


def test_another_seed_makes_other_photos() -> None:
    assert {photo.seed for photo in plan_collection(100, 0)}.isdisjoint(photo.seed for photo in plan_collection(100, 1))


def test_every_photo_has_its_own_id_and_seed() -> None:
    photos = plan_collection(2_000, seed=0)
    assert len({photo.photo_id for photo in photos}) == len({photo.seed for photo in photos}) == 2_000


def test_violins_are_86_percent_of_a_large_collection() -> None:
    photos = plan_collection(5_000, seed=0)
    shares = {name: number / len(photos) for name, number in Counter(photo.type for photo in photos).items()}
    assert shares["violin"] == pytest.approx(0.86, abs=0.02)
    assert shares["viola"] == pytest.approx(0.08, abs=0.02)
    assert shares["cello"] == pytest.approx(0.06, abs=0.02)


@pytest.mark.parametrize("seed", range(20))
def test_sixty_photos_hold_four_instruments_of_every_class(seed: int) -> None:
    photos = plan_collection(60, seed)
    for labels in (["violin", "viola", "cello"], ["Italy", "France", "Germany", "England"], ["front", "back"]):
        for label in labels:
            owners = {photo.instrument_id for photo in photos if label in (photo.type, photo.country, photo.view)}
            assert len(owners) >= 4, label


def test_photos_of_an_instrument_share_what_it_is() -> None:
    for group in by_instrument(plan_collection(500, seed=1)).values():
        assert 1 <= len(group) <= 4
        assert len({anatomy_of(photo.type, photo.country, photo.instrument_seed) for photo in group}) == 1
        assert {photo.photo_id.split("/")[0] for photo in group} == {group[0].instrument_id}


def test_most_instruments_show_front_and_back() -> None:
    groups = by_instrument(plan_collection(1_000, seed=0)).values()
    both = sum({photo.view for photo in group} == {"front", "back"} for group in groups)
    assert both / len(groups) > 0.7


def test_two_photos_of_one_side_differ() -> None:
    first, second = same_view_pair(plan_collection(60, seed=0))
    assert first.instrument_seed == second.instrument_seed
    assert draw(first, 64).tobytes() != draw(second, 64).tobytes()


@pytest.mark.parametrize("size_px", [16, 33, 64, 224])
def test_photos_are_upright_and_as_tall_as_asked(size_px: int) -> None:
    for photo in plan_collection(6, seed=0):
        image = draw(photo, size_px)
        assert image.height == size_px > image.width


def test_some_photos_are_greyscale() -> None:
    modes = Counter(draw(photo, 16).mode for photo in plan_collection(400, seed=0))
    assert set(modes) == {"RGB", "L"}
    assert 0.05 < modes["L"] / 400 < 0.20


def test_a_photo_shows_the_same_at_every_size() -> None:
    for photo in plan_collection(6, seed=0):
        large, small = draw(photo, 256).convert("L"), draw(photo, 64).convert("L")
        assert abs(large.width / 4 - small.width) <= 1
        shrunk = large.resize(small.size, Image.Resampling.BOX)
        alike = np.corrcoef(np.asarray(shrunk).ravel(), np.asarray(small).ravel())[0, 1]
        assert alike > 0.9, photo.photo_id


def test_types_differ_in_proportions() -> None:
    def mean_width(instrument_type: str) -> float:
        photos = [photo for photo in plan_collection(400, seed=0) if photo.type == instrument_type]
        return float(np.mean([anatomy_of(p.type, p.country, p.instrument_seed).proportions.lower_bout for p in photos]))

    assert mean_width("violin") < mean_width("cello") < mean_width("viola")


def test_a_body_is_symmetric_about_its_centre_line() -> None:
    photo = plan_collection(1, seed=0)[0]
    anatomy = anatomy_of(photo.type, photo.country, photo.instrument_seed)
    mask = np.asarray(silhouette(anatomy, Placement(scale=200.0, angle=0.0, origin=(99.5, 150.0)), (200, 380)))
    inside = mask > 0
    assert (inside & ~inside[:, ::-1]).sum() < 0.02 * inside.sum()


def test_no_photo_at_all_is_refused() -> None:
    with pytest.raises(DataError, match=r"num_photos >= 1.*num_photos=0"):
        plan_collection(0, seed=0)


def test_a_photo_too_small_to_show_anything_is_refused() -> None:
    with pytest.raises(DataError, match=r"at least 16 px.*size_px=8.*instrument-00000"):
        draw(plan_collection(1, seed=0)[0], size_px=8)
