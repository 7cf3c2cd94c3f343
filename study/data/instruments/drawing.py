"""An instrument painted onto a picture: wood with grain and varnish, then its fittings."""

import colorsys
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from study.data.instruments import shapes as shapes
from study.data.instruments.anatomy import Anatomy
from study.data.instruments.shapes import Point, Points

View = Literal["front", "back"]
Color = tuple[int, int, int]
Plane = NDArray[np.float32]

COARSE = 4  # shading is smooth: computed on every fourth pixel, then enlarged

_EBONY: Color = (30, 26, 25)
_ROSEWOOD: Color = (62, 36, 26)
_HOLE: Color = (24, 14, 10)
_STRING: Color = (196, 192, 186)
_MAPLE: Color = (206, 168, 112)
_STEEL: Color = (118, 118, 120)

# Centre and extent (x, y) in body units: the middle, the chin's place, the upper bout under the hand.
_WORN_PLACES = ((0.0, 0.55, 0.16, 0.30), (-0.12, 0.86, 0.10, 0.10), (0.20, 0.14, 0.07, 0.12))


@dataclass(frozen=True)
class Placement:
    """Where the instrument lies in the picture.

    Attributes:
        scale: pixels a body length.
        angle: clockwise on the screen, radians.
        origin: pixel of the body's top edge on the centre line.
    """

    scale: float
    angle: float
    origin: Point

    def to_pixels(self, points: Points) -> Points:
        """Body units [n, 2] → pixels [n, 2]."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return points @ (self.scale * np.array([[cos, sin], [-sin, cos]])) + self.origin

    def to_units(self, width: int, height: int, step: int = 1) -> tuple[Plane, Plane]:
        """Body units (x, y) of every `step`-th pixel, each float32 [height / step, width / step] (rounded up)."""
        cos, sin = np.cos(self.angle) / self.scale, np.sin(self.angle) / self.scale
        across = np.arange(0, width, step) + 0.5 * step - self.origin[0]
        down = np.arange(0, height, step) + 0.5 * step - self.origin[1]
        x = (cos * across).astype(np.float32)[None] + (sin * down).astype(np.float32)[:, None]
        y = (-sin * across).astype(np.float32)[None] + (cos * down).astype(np.float32)[:, None]
        return x, y


class Pen:
    """Draws shapes given in body units onto one picture."""

    def __init__(self, picture: Image.Image, placement: Placement) -> None:
        self._draw = ImageDraw.Draw(picture, "RGBA" if picture.mode == "RGB" else None)  # RGBA: colours may be translucent
        self._placement = placement

    def fill(self, outline: Points, color: Color | int) -> None:
        """A filled polygon."""
        self._draw.polygon(self._flat(outline), fill=color)

    def line(self, points: Points, color: Color, width: float) -> None:
        """A line `width` body units wide; what would be thinner than a pixel is a pixel wide and fainter."""
        width_px = width * self._placement.scale
        opacity = round(255 * min(1.0, width_px))
        self._draw.line(self._flat(points), fill=(*color, opacity), width=max(1, round(width_px)), joint="curve")

    def spot(self, center: Point, half_axes: Point, color: Color) -> None:
        """An upright ellipse."""
        x, y = self._placement.to_pixels(np.array([center]))[0]
        wide, high = (max(0.7, axis * self._placement.scale) for axis in half_axes)
        self._draw.ellipse((x - wide, y - high, x + wide, y + high), fill=color)

    def _flat(self, points: Points) -> list[float]:
        return self._placement.to_pixels(points).ravel().tolist()


def silhouette(anatomy: Anatomy, placement: Placement, size: tuple[int, int]) -> Image.Image:
    """Mask (mode L, 255 inside) of all that is wood: body, neck and head."""
    mask = Image.new("L", size, 0)
    pen = Pen(mask, placement)
    for outline in (shapes.body(anatomy), shapes.neck(anatomy), shapes.head(anatomy)):
        pen.fill(outline, 255)
    return mask


def paint_instrument(
    picture: Image.Image, mask: Image.Image, anatomy: Anatomy, placement: Placement, view: View, light_angle: float
) -> None:
    """Paints the instrument onto `picture` (RGB), lit from `light_angle` (radians; 0 is from the right)."""
    if anatomy.endpin:
        Pen(picture, placement).line(np.array([(0.0, 0.99), (0.0, 1.0 + anatomy.endpin)]), _STEEL, 0.012)
    if view == "back":
        _paint_pegs(Pen(picture, placement), anatomy)
    picture.paste(_varnished_wood(mask, anatomy, placement, view, light_angle), mask=mask)
    pen = Pen(picture, placement)
    _paint_edges(pen, anatomy)
    if view == "front":
        _paint_front(pen, anatomy)
    else:
        _paint_back(pen, anatomy)


def _varnished_wood(mask: Image.Image, anatomy: Anatomy, placement: Placement, view: View, light_angle: float) -> Image.Image:
    """Wood all over the picture; the caller cuts it out with `mask`."""
    grain = _spruce(anatomy, placement, mask.size) if view == "front" else _maple(anatomy, placement, mask.size)
    tone = grain + _enlarged(_relief(mask, anatomy, placement, light_angle), mask.size)
    levels = Image.fromarray((255 * tone).clip(0, 255).astype(np.uint8))
    return Image.merge("RGB", [levels.point(table) for table in _varnish_tables(anatomy)])


def _spruce(anatomy: Anatomy, placement: Placement, size: tuple[int, int]) -> Plane:
    """Grain of the front, around 0: fine lines along the centre line, wider towards the edges, mirrored at the joint."""
    generator = np.random.default_rng(anatomy.seed)
    lines = 0.045 * generator.standard_normal(256) + 0.05 * np.repeat(generator.standard_normal(32), 8)
    x, _ = placement.to_units(*size)
    return _looked_up(lines, np.abs(x) * np.float32(560))


def _maple(anatomy: Anatomy, placement: Placement, size: tuple[int, int]) -> Plane:
    """Flame of the back, around 0: stripes across, falling or rising from the joint."""
    generator = np.random.default_rng(anatomy.seed)
    slope, stripes_a_body = generator.uniform(-0.5, 0.5), generator.uniform(16, 34)
    depth = anatomy.finish.flame * np.repeat(generator.uniform(0.3, 1.0, 64), 16)
    phase = np.cumsum(generator.uniform(0.5, 1.5, 1024)) * 2 * np.pi / 16
    stripes = 0.20 * depth * np.sin(phase) + 0.02 * generator.standard_normal(1024)
    x, y = placement.to_units(*size)
    if not anatomy.has_one_piece_back:
        x = np.abs(x)
    return _looked_up(stripes, (y + np.float32(slope) * x + 2) * np.float32(16 * stripes_a_body))


def _looked_up(table: NDArray[np.float64], place: Plane) -> Plane:
    values: Plane = table.astype(np.float32)[place.astype(np.int32) % len(table)]
    return values


def _relief(mask: Image.Image, anatomy: Anatomy, placement: Placement, light_angle: float) -> Plane:
    """Tone of the wood without its grain on every fourth pixel, about 0.2 to 0.9: arched, shaded to the edges, worn."""
    near = _blurred(mask, 0.020 * placement.scale)
    far = _blurred(mask, 0.060 * placement.scale)
    down, across = np.gradient(far, COARSE / placement.scale)  # change in a body length, whatever the picture's size
    slope = -(np.cos(light_angle) * across + np.sin(light_angle) * down)
    tone = 0.52 + anatomy.finish.arching * (0.016 * slope + 0.55 * (near - 1) + 0.2 * (far - 1))
    relief: Plane = (tone + anatomy.finish.wear * _wear(anatomy, placement, mask.size)).astype(np.float32)
    return relief


def _blurred(mask: Image.Image, radius_px: float) -> Plane:
    """The mask in [0, 1] on every fourth pixel, blurred."""
    return np.asarray(mask.reduce(COARSE).filter(ImageFilter.BoxBlur(radius_px / COARSE)), np.float32) / np.float32(255)


def _wear(anatomy: Anatomy, placement: Placement, size: tuple[int, int]) -> Plane:
    """Where varnish wore off: where it does on all instruments, and two places by chance."""
    generator = np.random.default_rng(anatomy.seed + 1)
    x, y = placement.to_units(*size, step=COARSE)
    chance = [(generator.uniform(-0.2, 0.2), generator.uniform(0.1, 0.9), 0.10, 0.12) for _ in range(2)]
    worn = np.zeros_like(x)
    for center_x, center_y, wide, high in [
        (0.0, 0.55, 0.16, 0.30),
        (-0.12, 0.86, 0.10, 0.10),
        (0.20, 0.14, 0.07, 0.12),
        *chance,
    ]:
        worn += np.exp(-(((x - center_x) / wide) ** 2) - ((y - center_y) / high) ** 2)
    return 0.22 * worn


def _enlarged(coarse: Plane, size: tuple[int, int]) -> Plane:
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR), np.float32)


def _varnish_tables(anatomy: Anatomy) -> list[list[int]]:
    """For red, green and blue: the value of every tone, from the shade's brown over the varnish to bare golden wood."""
    finish = anatomy.finish
    varnish = colorsys.hsv_to_rgb(finish.hue_degrees / 360, min(finish.saturation, 1.0), finish.brightness)
    shade = colorsys.hsv_to_rgb((finish.hue_degrees - 8) / 360 % 1, 0.8, 0.12)
    bare = colorsys.hsv_to_rgb(38 / 360, 0.45, 0.95)
    tones = np.linspace(0, 1, 256)
    return [
        (255 * np.interp(tones, (0.0, 0.55, 1.0), channel)).astype(int).tolist()
        for channel in zip(shade, varnish, bare, strict=True)
    ]


def _shaded(anatomy: Anatomy, brightness: float) -> Color:
    """The varnish, darker or lighter, for what is drawn in one flat colour."""
    finish = anatomy.finish
    red, green, blue = colorsys.hsv_to_rgb(
        finish.hue_degrees / 360, min(finish.saturation, 1.0), finish.brightness * brightness
    )
    return round(255 * red), round(255 * green), round(255 * blue)


def _paint_edges(pen: Pen, anatomy: Anatomy) -> None:
    outline = shapes.body(anatomy)
    pen.line(np.concatenate([outline, outline[:1]]), _shaded(anatomy, 0.45), 0.007)
    if anatomy.finish.purfling_contrast > 0.25:
        groove = shapes.inset(outline, 0.022)
        pen.line(np.concatenate([groove, groove[:1]]), _shaded(anatomy, 1.0 - 0.75 * anatomy.finish.purfling_contrast), 0.006)


def _paint_front(pen: Pen, anatomy: Anatomy) -> None:
    _paint_scroll(pen, anatomy)
    _paint_pegs(pen, anatomy)
    _paint_f_holes(pen, anatomy)
    if anatomy.has_chin_rest:
        pen.fill(shapes.chin_rest(anatomy), _EBONY)
    pen.fill(shapes.fingerboard(anatomy), _EBONY)
    pen.fill(shapes.tailpiece(anatomy), _EBONY if anatomy.seed % 3 else _ROSEWOOD)
    bridge = shapes.bridge(anatomy)
    pen.fill(bridge + np.array((0.004, 0.010)), _shaded(anatomy, 0.45))
    pen.fill(bridge, _MAPLE)
    for string in shapes.strings(anatomy):
        pen.line(string, _STRING, 0.0035)


def _paint_scroll(pen: Pen, anatomy: Anatomy) -> None:
    """The scroll's two ears, and the dark mouth of the pegbox."""
    measures = anatomy.proportions
    nut, end, height = measures.fingerboard_nut, -measures.neck - measures.head, measures.head
    for side in (-1, 1):
        pen.spot((side * 1.15 * nut, end + 0.22 * height), (0.30 * nut, 0.07 * height), _shaded(anatomy, 0.5))
        pen.spot((side * 1.22 * nut, end + 0.21 * height), (0.16 * nut, 0.04 * height), _shaded(anatomy, 1.1))
    mouth = np.array([(0.45 * nut, end + 0.42 * height), (0.68 * nut, -measures.neck - 0.02)])
    pen.fill(shapes.closed(mouth), _shaded(anatomy, 0.3))


def _paint_pegs(pen: Pen, anatomy: Anatomy) -> None:
    wood = _EBONY if anatomy.seed % 4 else _ROSEWOOD
    for shaft, center, half_axes in shapes.pegs(anatomy):
        pen.fill(shaft, wood)
        pen.spot(center, half_axes, wood)


def _paint_f_holes(pen: Pen, anatomy: Anatomy) -> None:
    stem, eyes = shapes.f_hole(anatomy)
    for side in (-1, 1):
        pen.fill(stem * (side, 1), _HOLE)
        for (x, y), radius in eyes:
            pen.spot((side * x, y), (radius, radius), _HOLE)


def _paint_back(pen: Pen, anatomy: Anatomy) -> None:
    """The joint, the button and the flute of the scroll."""
    measures = anatomy.proportions
    pen.line(shapes.button(anatomy), _shaded(anatomy, 0.45), 0.006)
    if not anatomy.has_one_piece_back:
        pen.line(np.array([(0.0, -0.02), (0.0, 0.995)]), _shaded(anatomy, 0.55), 0.003)
    end = -measures.neck - measures.head
    for side in (-1, 1):
        x = 0.3 * side * measures.fingerboard_nut
        pen.line(np.array([(x, end + 0.05 * measures.head), (1.4 * x, -measures.neck - 0.03)]), _shaded(anatomy, 0.5), 0.005)
    pen.spot((0.0, 0.988), (0.012, 0.012), _EBONY)
