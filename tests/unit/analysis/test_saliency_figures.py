import io

import numpy as np
import pytest
from PIL import Image

from study.analysis.activation import Unit, UnitKind
from study.analysis.activation_maximization import Visualization
from study.analysis.explanation import Explanation, Method, averaged, explain, percent
from study.analysis.occlusion import Bubbles
from study.analysis.saliency_examples import saliency_examples
from study.analysis.saliency_figures import draw_explanation
from study.analysis.visualization_figures import sentence_of
from tests.explained_models import contract_of, linear_model, random_model, random_photos

CLASSES = ("cello", "viola", "violin")
VIOLA = Unit(UnitKind.PROBABILITY, 1, name="viola")


def explanation(strongest: float | None = -0.4, *methods: Method) -> Explanation:
    maps = {method: np.random.default_rng(0).random((1, 32, 32), dtype=np.float32) for method in methods or (Method.OCCLUSION,)}
    return Explanation(VIOLA, random_photos(1, 32), 0.7, maps, strongest, radius_px=15)


def size_of(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as image:
        image.load()
        return image.size


@pytest.mark.parametrize(
    ("strongest", "told"),
    [
        (-0.4, "matters most lowers it from 70% to 30%"),
        (0.297, "raises it from 70% to over 99%"),
        (0.002, "No place matters alone: a white circle (radius 15 px) changes the probability of viola by 0.2 points"),
        (None, "Bright: hidden under a white circle"),
    ],
)
def test_the_sentence_says_what_the_strongest_circle_did(strongest: float | None, told: str) -> None:
    assert told in explanation(strongest).sentence


@pytest.mark.parametrize(("share", "told"), [(0, "0%"), (0.001, "under 1%"), (0.5, "50%"), (0.999, "over 99%"), (1, "100%")])
def test_a_probability_is_never_said_to_be_certain_where_it_is_not(share: float, told: str) -> None:
    assert percent(share) == told


def test_a_picture_has_a_panel_more_for_each_method_and_a_row_for_each_view() -> None:
    one = size_of(draw_explanation(explanation(), "viola"))
    three = size_of(draw_explanation(explanation(-0.4, *Method), "viola"))
    assert three[0] > 2 * one[0]
    pair = Explanation(VIOLA, random_photos(2, 32), 0.7, {Method.OCCLUSION: np.zeros((2, 32, 32), np.float32)}, 0.0)
    assert size_of(draw_explanation(pair, "viola", views=("front", "back")))[1] > 1.5 * one[1]


def test_a_long_title_and_a_long_path_end_inside_the_picture() -> None:
    picture = draw_explanation(explanation(), "wrong: m" + "w" * 70, "/photos" * 40)
    with Image.open(io.BytesIO(picture)) as image:
        margin = np.asarray(image.convert("L"))[:60, -6:]
    assert margin.min() == 255


def test_an_average_is_of_maps_photos_and_activations() -> None:
    one, other = explanation(), explanation()
    other.maps[Method.OCCLUSION][:] = 0
    mean = averaged([one, other])
    np.testing.assert_allclose(mean.maps[Method.OCCLUSION], one.maps[Method.OCCLUSION] / 2)
    assert (mean.num_examples, mean.strongest) == (2, None)
    assert mean.activation == pytest.approx(0.7)
    assert mean.sentence.startswith("Mean of 2 examples. Bright: ")


def test_every_method_maps_a_number_at_the_photos_size() -> None:
    model = random_model(contract_of(32))
    found = explain(model, random_photos(1, 32), Unit(UnitKind.NUMBER), list(Method), Bubbles(6, 6))
    assert {method: maps.shape for method, maps in found.maps.items()} == dict.fromkeys(Method, (1, 32, 32))
    assert min(float(maps.min()) for maps in found.maps.values()) >= 0
    assert "changes the number" in found.sentence


def test_examples_are_the_surest_right_ones_of_different_classes_then_the_surest_wrong_ones() -> None:
    model = linear_model(contract_of(32, classes=CLASSES))
    photos = random_photos(6, 32)
    labels = np.array([0, 0, 1, 2, 1, 2])
    probabilities = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.3, 0.6, 0.1], [0, 0.3, 0.7], [0.5, 0.4, 0.1], [0.95, 0, 0.05]])
    found = saliency_examples(model, photos, labels, probabilities, num_right=2, num_wrong=5, method=Method.OCCLUSION)
    assert [caption.partition(". ")[0] for _, caption in found] == [
        "right: cello, probability 90%",
        "right: violin, probability 70%",
        "wrong: cello, probability 95%, but it is violin (5%)",
        "wrong: cello, probability 50%, but it is viola (40%)",
    ]
    assert all(size_of(picture)[0] > 300 for picture, _ in found)


def test_examples_of_numbers_are_the_nearest_and_the_farthest() -> None:
    model = random_model(contract_of(32))
    labels, numbers = np.array([1.0, 2.0, 3.0]), np.array([1.5, 2.1, 9.0])
    found = saliency_examples(model, random_photos(3, 32), labels, numbers, num_right=1, num_wrong=1)
    assert [caption.partition(". ")[0] for _, caption in found] == ["2.1, truly 2", "9, truly 3"]


def test_a_visualisation_that_found_nothing_says_so() -> None:
    pixels = random_photos(1, 8)[None]
    unit = Unit(UnitKind.CHANNEL, 3, "fire2")
    dead = Visualization(unit, pixels, np.zeros(1, np.float32), np.zeros(1, np.float32))
    alive = Visualization(unit, pixels, np.ones(1, np.float32), np.zeros(1, np.float32))
    assert "Nothing was found that excites channel 3 of fire2" in sentence_of(dead)
    assert "from 0 to 1" in sentence_of(alive)
