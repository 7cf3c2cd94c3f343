"""What one instrument is like: proportions by its type, finish by its country, and chance for the rest."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from types import MappingProxyType
from typing import Literal, TypeVar

import numpy as np

InstrumentType = Literal["violin", "viola", "cello"]
Country = Literal["Italy", "France", "Germany", "England"]


@dataclass(frozen=True)
class Proportions:
    """Lengths relative to the body's length; widths are half widths, from the centre line outwards."""

    upper_bout: float
    waist: float
    lower_bout: float
    neck: float  # from the body's edge to the nut
    head: float  # from the nut to the scroll's top
    hole_length: float
    hole_distance: float  # from the centre line to the middle of an f-hole
    fingerboard_end: float
    fingerboard_nut: float
    tailpiece_length: float
    tailpiece_width: float
    bridge_place: float  # from the body's top
    bridge_height: float  # as seen from the front
    peg_length: float


@dataclass(frozen=True)
class Finish:
    """How a maker's work looks. Shares are in [0, 1] but for the spread."""

    hue_degrees: float  # 0 red, 60 yellow
    saturation: float
    brightness: float
    corner_length: float  # relative to the body's length
    hole_slant_degrees: float
    purfling_contrast: float  # 0: no line to be seen
    wear: float  # how much varnish is gone where hands and chin were
    arching: float  # how strongly the edges fall into shade
    flame: float  # strength of the maple's cross stripes


@dataclass(frozen=True)
class Anatomy:
    """One instrument; all its photos share it.

    Attributes:
        seed: of its grain and flame.
        has_one_piece_back: no joint and no mirrored flame.
        has_chin_rest: violins and violas only.
        endpin: visible length relative to the body's; 0 but for a cello whose pin is out.
    """

    type: InstrumentType
    country: Country
    proportions: Proportions
    finish: Finish
    has_one_piece_back: bool
    has_chin_rest: bool
    endpin: float
    seed: int


# Violin 356 mm: bouts 168, 112 and 208 wide, neck 130, f-hole 75, fingerboard 24 to 42 (the usual luthiers' measures).
# Violas and cellos differ from it in the true directions (a viola's body is wider; a cello's neck, head, f-holes and
# fingerboard are smaller for its body), but by more than they do: at 64 px violin and viola really differ by under a pixel.
_PROPORTIONS: Mapping[InstrumentType, Proportions] = MappingProxyType(
    {
        "violin": Proportions(0.236, 0.156, 0.292, 0.365, 0.300, 0.212, 0.128, 0.060, 0.034, 0.310, 0.056, 0.548, 0.024, 0.105),
        "viola": Proportions(0.258, 0.178, 0.326, 0.332, 0.262, 0.200, 0.142, 0.056, 0.031, 0.300, 0.052, 0.548, 0.024, 0.090),
        "cello": Proportions(0.228, 0.148, 0.312, 0.320, 0.240, 0.172, 0.120, 0.040, 0.022, 0.290, 0.042, 0.564, 0.044, 0.072),
    }
)
# Standard deviation between instruments of one type. With it and the means above, a ResNet-18 from random weights, on 500
# photos of 64 px, tells types with a balanced accuracy of 0.7 to 0.75 in 10 epochs (chance 0.33): something is left to search.
_PROPORTIONS_SPREAD = Proportions(
    0.006, 0.005, 0.007, 0.009, 0.009, 0.007, 0.004, 0.003, 0.002, 0.010, 0.003, 0.006, 0.004, 0.010
)

# Tendencies, not rules: Italian work is warm and worn, French red and sharp, German brown and arched, English pale and plain.
_FINISHES: Mapping[Country, Finish] = MappingProxyType(
    {
        "Italy": Finish(25.0, 0.76, 0.74, 0.050, 13.0, 0.60, 0.50, 0.50, 0.50),
        "France": Finish(18.0, 0.80, 0.66, 0.056, 11.0, 0.75, 0.30, 0.42, 0.60),
        "Germany": Finish(25.0, 0.72, 0.54, 0.042, 8.0, 0.55, 0.25, 0.75, 0.40),
        "England": Finish(31.0, 0.68, 0.70, 0.036, 10.0, 0.30, 0.40, 0.55, 0.30),
    }
)
_FINISH_SPREAD = Finish(5.5, 0.07, 0.09, 0.009, 3.0, 0.22, 0.20, 0.16, 0.18)

_SHARE_OF_ONE_PIECE_BACKS = 0.2
_SHARE_WITH_CHIN_REST = 0.3  # dealers often take it off for the photo
_SHARE_WITH_ENDPIN_OUT = 0.6

Measures = TypeVar("Measures", Proportions, Finish)


def anatomy_of(instrument_type: InstrumentType, country: Country, seed: int) -> Anatomy:
    """The instrument that `seed` makes of a type and a country; the same arguments give the same instrument."""
    generator = np.random.default_rng(seed)
    is_cello = instrument_type == "cello"
    proportions = _varied(_PROPORTIONS[instrument_type], _PROPORTIONS_SPREAD, generator)
    finish = _varied(_FINISHES[country], _FINISH_SPREAD, generator)
    one_piece, chin_rest, endpin_out = generator.random(3)
    endpin = generator.uniform(0.04, 0.16)
    return Anatomy(
        type=instrument_type,
        country=country,
        proportions=proportions,
        finish=finish,
        has_one_piece_back=bool(one_piece < _SHARE_OF_ONE_PIECE_BACKS),
        has_chin_rest=bool(chin_rest < _SHARE_WITH_CHIN_REST) and not is_cello,
        endpin=float(endpin) if is_cello and endpin_out < _SHARE_WITH_ENDPIN_OUT else 0.0,
        seed=int(generator.integers(2**63)),
    )


def _varied(mean: Measures, spread: Measures, generator: np.random.Generator) -> Measures:
    """Normal around `mean`, cut at two standard deviations: no measure leaves what the drawing can show."""
    deviations = generator.standard_normal(len(astuple(mean))).clip(-2, 2)
    return type(mean)(*(float(value) for value in np.array(astuple(mean)) + deviations * np.array(astuple(spread))))
