"""String instruments, planned and drawn here: labelled photos for a machine without any.

These are drawings, not photos: the truth about each is known because it was drawn from it. They stand in for a collection
scraped from dealers' pages: several photos an instrument, six in seven a violin, framing, light and quality as they come.
They make a study run anywhere, and fail where it should fail; how a recipe does on them says nothing about real instruments.
`view` is easy to tell, `type` takes training, `country` is hard. Photos fill their frames, so only proportions tell a type.

The plan is here; what an instrument looks like is in `anatomy`, its curves in `shapes`, wood and fittings
in `drawing`, and the photographer's part in `scene`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
from PIL import Image

from study.data.instruments.anatomy import Country, InstrumentType, anatomy_of
from study.data.instruments.drawing import View
from study.data.instruments.scene import photograph, scene_of
from study.errors import DataError

# Part of the collection's digest: raise it with any change to a pixel or to the plan, and packed images are made anew.
RENDERER_VERSION = 1

SMALLEST_SIZE_PX = 16  # as for `image_size`; below it strings and pegs are no more than noise

# One deck of instruments, shuffled again each time it runs out, so that shares hold in every stretch of a collection.
# 86 % violins is the share in the collection of 10,000 photos that this one stands in for.
_TYPE_DECK: tuple[InstrumentType, ...] = ("violin",) * 43 + ("viola",) * 4 + ("cello",) * 3
_COUNTRY_DECK: tuple[Country, ...] = ("Italy",) * 17 + ("France",) * 13 + ("Germany",) * 12 + ("England",) * 8

# The first 16 instruments pair every type with every country, with at most three photos each, so that 60 photos hold them all:
# four instruments of each class, enough to give every split all classes without parting an instrument's photos.
_OPENING_TYPES: tuple[InstrumentType, ...] = ("violin", "viola", "cello", "violin")
_OPENING_COUNTRIES: tuple[Country, ...] = ("Italy", "France", "Germany", "England")
_NUM_OPENING = len(_OPENING_TYPES) * len(_OPENING_COUNTRIES)

# Which sides were photographed, in order, and how often that happens.
_SETS_OF_VIEWS: tuple[tuple[View, ...], ...] = (
    ("front", "back"),
    ("front", "back", "front"),
    ("front", "back", "front", "back"),
    ("front",),
    ("back",),
)
_SHARES_OF_SETS = (0.52, 0.20, 0.10, 0.12, 0.06)
_NUM_OPENING_SETS = 2  # the first two of them show both sides in at most three photos

# Keys that keep the random streams of one collection apart (numpy's `spawn_key`).
_TYPE_STREAM, _COUNTRY_STREAM, _INSTRUMENT_STREAM, _PHOTO_STREAM = range(4)


@dataclass(frozen=True)
class InstrumentPhoto:
    """One planned photo: its labels, and the seeds of all that is drawn by chance.

    Attributes:
        photo_id: unique in its collection, as "instrument-00012/front-1".
        instrument_id: shared by the photos of one instrument.
        instrument_seed: decides what photos of one instrument share: its proportions, wood and varnish.
        seed: decides what is this photo's own: framing, background, light and noise.
    """

    photo_id: str
    instrument_id: str
    type: InstrumentType
    country: Country
    view: View
    instrument_seed: int
    seed: int


def plan_collection(num_photos: int, seed: int) -> tuple[InstrumentPhoto, ...]:
    """The first `num_photos` photos of the collection `seed`; a larger one begins with the same photos.

    From 60 photos on, every type, country and view has at least four instruments. For that, the first 16 instruments hold
    4 violas and 4 cellos, so a small collection has fewer violins (about 63 % of 60 photos, 83 % of 600, 86 % of 5,000).

    Raises:
        DataError: if `num_photos` is under 1 or `seed` is negative.
    """
    if num_photos < 1 or seed < 0:
        raise DataError(
            f"a collection must have `num_photos >= 1` and `seed >= 0`, but got num_photos={num_photos}, seed={seed} "
            f"for generated instruments. Raise the one that is too small."
        )
    return tuple(islice(_photos(seed), num_photos))


def draw(photo: InstrumentPhoto, size_px: int = 256) -> Image.Image:
    """The photo as an RGB image, or greyscale (mode L) as some are; `size_px` tall and narrower than that.

    The same photo gives the same bytes in every process with the same Pillow and numpy, and the same scene at every size.

    Raises:
        DataError: if `size_px` is under 16.
    """
    if size_px < SMALLEST_SIZE_PX:
        raise DataError(
            f"a drawn photo must be at least {SMALLEST_SIZE_PX} px tall, but got size_px={size_px} for {photo.photo_id}. "
            f"Raise it."
        )
    anatomy = anatomy_of(photo.type, photo.country, photo.instrument_seed)
    return photograph(anatomy, scene_of(photo.view, photo.seed), size_px)


def _photos(seed: int) -> Iterator[InstrumentPhoto]:
    for number in count():
        yield from _photos_of_instrument(seed, number)


def _photos_of_instrument(seed: int, number: int) -> Iterator[InstrumentPhoto]:
    instrument_id = f"instrument-{number:05d}"
    instrument_type, country = _labels(seed, number)
    views = _views(seed, number)
    for place, view in enumerate(views):
        yield InstrumentPhoto(
            photo_id=f"{instrument_id}/{view}-{views[: place + 1].count(view)}",
            instrument_id=instrument_id,
            type=instrument_type,
            country=country,
            view=view,
            instrument_seed=_derived_seed(seed, _INSTRUMENT_STREAM, number),
            seed=_derived_seed(seed, _PHOTO_STREAM, number, place),
        )


def _labels(seed: int, number: int) -> tuple[InstrumentType, Country]:
    if number < _NUM_OPENING:
        block, place = divmod(number, len(_OPENING_COUNTRIES))
        return _OPENING_TYPES[(block + place) % len(_OPENING_TYPES)], _OPENING_COUNTRIES[place]
    deck, place = divmod(number - _NUM_OPENING, len(_TYPE_DECK))
    types = _generator(seed, _TYPE_STREAM, deck).permutation(len(_TYPE_DECK))
    countries = _generator(seed, _COUNTRY_STREAM, deck).permutation(len(_COUNTRY_DECK))
    return _TYPE_DECK[types[place]], _COUNTRY_DECK[countries[place]]


def _views(seed: int, number: int) -> tuple[View, ...]:
    generator = _generator(seed, _INSTRUMENT_STREAM, number)
    if number < _NUM_OPENING:
        return _SETS_OF_VIEWS[generator.integers(_NUM_OPENING_SETS)]
    return _SETS_OF_VIEWS[generator.choice(len(_SETS_OF_VIEWS), p=_SHARES_OF_SETS)]


def _generator(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


def _derived_seed(seed: int, *stream: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=stream).generate_state(1, np.uint64)[0])
