"""The curves of an instrument as polygons.

Points are float [n, 2] in body units: x from the centre line to the right, y downwards, the body's top edge at y = 0 and its
bottom at y = 1; neck and head are at negative y. Right halves are mirrored where both sides are alike.
"""

import numpy as np
from numpy.typing import NDArray

from study.data.instruments.anatomy import Anatomy

Points = NDArray[np.float64]
Point = tuple[float, float]

_POINTS_A_CURVE = 12  # smooth at 512 px; a body outline of six curves costs 0.1 ms


def _bernstein_basis() -> NDArray[np.float64]:
    t = np.linspace(0, 1, _POINTS_A_CURVE)
    return np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)


_BASIS = _bernstein_basis()


def curve(*controls: Point) -> Points:
    """Cubic Bézier curves through `controls`: start, then two handles and an end for each curve."""
    points = np.array(controls)
    return np.concatenate([_BASIS @ points[start : start + 4] for start in range(0, len(points) - 1, 3)])


def mirrored(points: Points) -> Points:
    """The same points on the other side of the centre line."""
    return points * (-1.0, 1.0)


def closed(right_half: Points) -> Points:
    """A whole outline from its right half, given from top to bottom."""
    return np.concatenate([right_half, mirrored(right_half[::-1])])


def body(anatomy: Anatomy) -> Points:
    """The body's outline: upper bout, corner, waist, corner, lower bout."""
    measures, corner = anatomy.proportions, anatomy.finish.corner_length
    upper, waist, lower = measures.upper_bout, measures.waist, measures.lower_bout
    upper_tip = (waist + 0.035 + 0.85 * corner, 0.352)
    lower_tip = (waist + 0.060 + 0.95 * corner, 0.602)
    return closed(
        curve(
            (0, 0),
            (0.66 * upper, 0.0),
            (upper, 0.075),
            (upper, 0.195),
            (upper, 0.270),
            (upper_tip[0] - 0.6 * corner, upper_tip[1] - 0.9 * corner),
            upper_tip,
            (upper_tip[0] - corner, upper_tip[1] + 0.2 * corner),
            (waist, 0.405),
            (waist, 0.465),
            (waist, 0.525),
            (lower_tip[0] - 1.3 * corner, lower_tip[1] - 0.3 * corner),
            lower_tip,
            (lower_tip[0] - 0.5 * corner, lower_tip[1] + 0.9 * corner),
            (lower, 0.680),
            (lower, 0.785),
            (lower, 0.925),
            (0.62 * lower, 1.0),
            (0, 1.0),
        )
    )


def inset(outline: Points, depth: float) -> Points:
    """A closed outline moved inwards by `depth`; outlines run clockwise on the screen."""
    ahead = np.roll(outline, -2, axis=0) - np.roll(outline, 2, axis=0)
    length = np.hypot(ahead[:, 0], ahead[:, 1]).clip(1e-9)
    moved: Points = outline + depth * np.stack([-ahead[:, 1], ahead[:, 0]], axis=1) / length[:, None]
    return moved


def f_hole(anatomy: Anatomy) -> tuple[Points, tuple[tuple[Point, float], ...]]:
    """The right f-hole: its stem as a polygon, and its eyes and nicks as (centre, radius)."""
    middle_line = curve(
        (-0.17, -0.36), (-0.19, -0.58), (0.10, -0.56), (0.04, -0.26),
        (0.01, -0.10), (-0.01, 0.10), (-0.04, 0.26),
        (-0.10, 0.58), (0.22, 0.60), (0.19, 0.37),
    )  # fmt: skip
    ahead = np.gradient(middle_line, axis=0)
    across = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1) / np.hypot(ahead[:, 0], ahead[:, 1]).clip(1e-9)[:, None]
    half_width = 0.018 + 0.026 * np.sin(np.linspace(0, np.pi, len(middle_line)))[:, None] ** 2
    stem = np.concatenate([middle_line + across * half_width, (middle_line - across * half_width)[::-1]])
    placed = _placed_hole(anatomy, np.concatenate([stem, [(-0.155, -0.355), (0.165, 0.365), (0.0, 0.0)]]))
    length = anatomy.proportions.hole_length
    eyes = zip(placed[-3:], (0.062, 0.078, 0.06), strict=True)
    return placed[:-3], tuple(((float(x), float(y)), radius * length) for (x, y), radius in eyes)


def _placed_hole(anatomy: Anatomy, points: Points) -> Points:
    """From the hole's own units (length 1, upright) to body units."""
    measures = anatomy.proportions
    slant = np.radians(anatomy.finish.hole_slant_degrees)
    turn = np.array([[np.cos(slant), np.sin(slant)], [-np.sin(slant), np.cos(slant)]])
    middle = (measures.hole_distance, measures.bridge_place + 0.012)
    placed: Points = points @ turn.T * measures.hole_length + middle
    return placed


def neck(anatomy: Anatomy) -> Points:
    """The neck's wood from the nut into the body, a little narrower than the fingerboard."""
    nut, top = 0.92 * anatomy.proportions.fingerboard_nut, -anatomy.proportions.neck
    return closed(np.array([(nut, top), (1.15 * nut, -0.06), (1.7 * nut, 0.01)]))


def head(anatomy: Anatomy) -> Points:
    """Pegbox and scroll."""
    nut, top = anatomy.proportions.fingerboard_nut, -anatomy.proportions.neck
    end, height = top - anatomy.proportions.head, anatomy.proportions.head
    return closed(
        curve(
            (0, end),
            (0.8 * nut, end),
            (0.9 * nut, end + 0.06 * height),
            (0.9 * nut, end + 0.14 * height),
            (1.75 * nut, end + 0.17 * height),
            (1.75 * nut, end + 0.36 * height),
            (0.62 * nut, end + 0.36 * height),
            (0.80 * nut, end + 0.55 * height),
            (1.0 * nut, end + 0.75 * height),
            (1.08 * nut, top + 0.01),
        )
    )


def pegs(anatomy: Anatomy) -> tuple[tuple[Points, Point, Point], ...]:
    """Four pegs, from the nut upwards, two to a side: shaft, and centre and half axes of the flat grip."""
    measures = anatomy.proportions
    places = np.linspace(0.16, 0.58, 4) * measures.head
    thick, grip = 0.10 * measures.peg_length, (0.26 * measures.peg_length, 0.19 * measures.peg_length)
    drawn = []
    for side, place in zip((-1, 1, -1, 1), places.tolist(), strict=True):
        y, end = -measures.neck - place, side * measures.peg_length
        shaft = np.array([(0.0, y - 0.5 * thick), (end, y - thick), (end, y + thick), (0.0, y + 0.5 * thick)])
        drawn.append((shaft, (1.05 * end, y), grip))
    return tuple(drawn)


def fingerboard(anatomy: Anatomy) -> Points:
    """The board from the nut to its end above the body."""
    measures = anatomy.proportions
    end = measures.bridge_place - 0.155
    return closed(
        np.array(
            [
                (measures.fingerboard_nut, -measures.neck),
                (measures.fingerboard_end, end - 0.008),
                (0.5 * measures.fingerboard_end, end),
            ]
        )
    )


def tailpiece(anatomy: Anatomy) -> Points:
    """The tailpiece, wide where the strings begin."""
    width, top = anatomy.proportions.tailpiece_width, 0.965 - anatomy.proportions.tailpiece_length
    return closed(
        curve(
            (0, top - 0.016),
            (0.6 * width, top - 0.014),
            (width, top),
            (width, top + 0.03),
            (0.9 * width, 0.80),
            (0.45 * width, 0.95),
            (0.4 * width, 0.965),
        )
    )


def bridge(anatomy: Anatomy) -> Points:
    """The bridge as seen from the front: arched top, two feet."""
    y, height = anatomy.proportions.bridge_place, anatomy.proportions.bridge_height
    half = 1.22 * anatomy.proportions.fingerboard_end
    return closed(
        np.array(
            [
                (0, y - height),
                (0.5 * half, y - 0.85 * height),
                (0.85 * half, y - 0.45 * height),
                (0.80 * half, y - 0.10 * height),
                (half, y + 0.30 * height),
                (0.45 * half, y + 0.30 * height),
                (0.35 * half, y - 0.05 * height),
                (0, y - 0.15 * height),
            ]
        )
    )


def strings(anatomy: Anatomy) -> tuple[Points, ...]:
    """Four lines from the pegbox over nut and bridge to the tailpiece."""
    measures = anatomy.proportions
    stations = (
        (0.35 * measures.fingerboard_nut, -measures.neck - 0.3 * measures.head),
        (0.72 * measures.fingerboard_nut, -measures.neck),
        (0.80 * measures.fingerboard_end, measures.bridge_place - 0.7 * measures.bridge_height),
        (0.66 * measures.tailpiece_width, 0.985 - measures.tailpiece_length),
    )
    return tuple(np.array([(place * x, y) for x, y in stations]) for place in (-1.0, -0.34, 0.34, 1.0))


def chin_rest(anatomy: Anatomy) -> Points:
    """The cup left of the tailpiece, hooked over the lower edge."""
    width = anatomy.proportions.lower_bout
    return curve(
        (0.00, 0.985), (-0.01, 0.925), (-0.10 * width, 0.87), (-0.30 * width, 0.835),
        (-0.70 * width, 0.775), (-0.95 * width, 0.84), (-0.80 * width, 0.91),
        (-0.62 * width, 0.975), (-0.25 * width, 1.010), (0.00, 1.004),
    )  # fmt: skip


def button(anatomy: Anatomy) -> Points:
    """The tongue of the back that holds the neck's heel."""
    width = 1.5 * anatomy.proportions.fingerboard_nut
    return closed(curve((0, -0.032), (0.7 * width, -0.032), (width, -0.02), (width, 0.01)))
