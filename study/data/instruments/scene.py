"""How one photo was taken: framing, background, light, camera. Uneven on purpose, as photos from many hands are."""

import math
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from study.data.instruments.anatomy import Anatomy
from study.data.instruments.drawing import COARSE, Placement, Plane, View, paint_instrument, silhouette

# Pillow's polygons have hard edges, so a photo is drawn larger, then averaged; 256 px are the least that strings and pegs need.
_SUPERSAMPLING = 2
_SMALLEST_CANVAS_PX = 256

# Brightness, and how strongly cloth shows its folds: white, grey and black paper, a cloth, a wall.
_BACKGROUNDS = ((0.97, 0.0), (0.62, 0.0), (0.07, 0.0), (0.45, 0.10), (0.78, 0.04))
_SHARES_OF_BACKGROUNDS = (0.26, 0.24, 0.16, 0.20, 0.14)

_SHARE_GREYSCALE = 0.12
_SHARE_CUT_AT_NECK = 0.14
_SHARE_TILTED = 0.15
_SHARE_BLURRED = 0.20


@dataclass(frozen=True)
class Scene:
    """Everything that is one photo's own.

    Attributes:
        view: the side that is seen.
        top: the highest point in the frame: 1 is the scroll's end, 0 the body's edge; under 1 the photo is cut at the neck.
        air: free space beside and above the instrument, relative to its visible length: (x, y).
        shift: of the instrument within that space, each in [-1, 1].
        angle: tilt, radians.
        background: colour in [0, 1], RGB.
        falloff: change of the background's brightness over the frame, (x, y).
        folds: strength of the cloth's folds; 0 is a plain ground.
        light_angle: where light comes from, radians; 0 is from the right.
        light_unevenness: how much darker the far side is.
        shadow: strength of the shadow on the background.
        exposure: factor on brightness, by channel (white balance).
        is_greyscale: whether colour is lost.
        blur_px: at 256 px height.
        noise: standard deviation at 256 px height, grey levels of 255.
        jpeg_quality: at 256 px height; 1 to 95, as Pillow counts.
        seed: of folds and noise.
    """

    view: View
    top: float
    air: tuple[float, float]
    shift: tuple[float, float]
    angle: float
    background: tuple[float, float, float]
    falloff: tuple[float, float]
    folds: float
    light_angle: float
    light_unevenness: float
    shadow: float
    exposure: tuple[float, float, float]
    is_greyscale: bool
    blur_px: float
    noise: float
    jpeg_quality: int
    seed: int


def scene_of(view: View, seed: int) -> Scene:
    """The circumstances that `seed` makes of one photo."""
    generator = np.random.default_rng(seed)
    is_greyscale, is_cut, is_tilted, is_blurred = (
        generator.random(4) < (_SHARE_GREYSCALE, _SHARE_CUT_AT_NECK, _SHARE_TILTED, _SHARE_BLURRED)
    ).tolist()
    brightness, folds = _BACKGROUNDS[generator.choice(len(_BACKGROUNDS), p=_SHARES_OF_BACKGROUNDS)]
    tint = generator.uniform(-0.06, 0.06, 3) if folds else generator.uniform(-0.015, 0.015, 3)
    background = (brightness + generator.uniform(-0.08, 0.08) + tint).clip(0.02, 1.0)
    exposure = generator.uniform(0.80, 1.15) * (1 + generator.uniform(-0.08, 0.08, 3))
    return Scene(
        view=view,
        top=generator.uniform(0.05, 0.75) if is_cut else 1.0,
        air=(generator.uniform(0.03, 0.22), generator.uniform(0.02, 0.10)),
        shift=(generator.uniform(-1, 1), generator.uniform(-1, 1)),
        angle=math.radians(generator.uniform(-8, 8) if is_tilted else generator.normal(0, 0.7)),
        background=tuple(background.tolist()),
        falloff=(generator.uniform(-0.08, 0.08), generator.uniform(-0.18, 0.10)),
        folds=folds,
        light_angle=generator.uniform(-np.pi, 0),
        light_unevenness=generator.uniform(0.0, 0.35),
        shadow=generator.uniform(0.0, 0.6),
        exposure=tuple(exposure.tolist()),
        is_greyscale=is_greyscale,
        blur_px=generator.uniform(0.4, 1.1) if is_blurred else 0.0,
        noise=generator.uniform(0.5, 6.0),
        jpeg_quality=int(generator.integers(45, 93)),
        seed=int(generator.integers(2**63)),
    )


def photograph(anatomy: Anatomy, scene: Scene, height_px: int) -> Image.Image:
    """The photo, RGB or greyscale (mode L), `height_px` tall and narrower than that."""
    factor = max(_SUPERSAMPLING, -(-_SMALLEST_CANVAS_PX // height_px))
    size, placement = _framed(anatomy, scene, height_px, factor)
    mask = silhouette(anatomy, placement, size)
    picture = _backdrop(scene, mask, placement)
    paint_instrument(picture, mask, anatomy, placement, scene.view, scene.light_angle)
    lit = ImageChops.multiply(picture, _light(scene, size))
    return _developed(lit.reduce(factor), scene)


def _framed(anatomy: Anatomy, scene: Scene, height_px: int, factor: int) -> tuple[tuple[int, int], Placement]:
    """The picture's size, `factor` times the photo's, and the instrument's place in it."""
    measures = anatomy.proportions
    top = -scene.top * (measures.neck + measures.head)
    length = 1.0 + anatomy.endpin - top
    turned_width = 2 * measures.lower_bout * np.cos(scene.angle) + length * abs(np.sin(scene.angle))
    width, height = turned_width + scene.air[0] * length, length * (1 + scene.air[1])
    scale = factor * height_px / height
    narrow_px = factor * min(round(width * scale / factor), round(0.85 * height_px))
    # Nothing above the frame's edge belongs to a photo that is cut at the neck, so its free space is all below.
    above = 0.0 if scene.top < 1 else 0.5 * (1 + 0.8 * scene.shift[1]) * scene.air[1] * length
    middle_x = 0.5 * narrow_px + 0.4 * scene.shift[0] * scene.air[0] * length * scale
    middle_y = (above + 0.5 * length) * scale
    reach = (top + 0.5 * length) * scale  # from the body's top edge to the visible part's middle, along the instrument
    origin = (middle_x + reach * np.sin(scene.angle), middle_y - reach * np.cos(scene.angle))
    return (narrow_px, factor * height_px), Placement(scale, scene.angle, origin)


def _backdrop(scene: Scene, mask: Image.Image, placement: Placement) -> Image.Image:
    """The ground behind the instrument with the shadow that falls on it."""
    wide, high = -(-mask.width // COARSE), -(-mask.height // COARSE)
    across, down = np.linspace(-1, 1, wide)[None], np.linspace(-1, 1, high)[:, None]
    brightness = 1 + scene.falloff[0] * across + scene.falloff[1] * down + scene.folds * _folds(scene, across, down)
    brightness = brightness * (1 - scene.shadow * _shadow(scene, mask, placement))
    colored = 255 * brightness[..., None] * np.array(scene.background)
    small = Image.fromarray(colored.clip(0, 255).astype(np.uint8))
    return small.resize(mask.size, Image.Resampling.BILINEAR)


def _folds(scene: Scene, across: NDArray[np.float64], down: NDArray[np.float64]) -> NDArray[np.float64]:
    generator = np.random.default_rng(scene.seed)
    phases, lean = generator.uniform(0, 2 * np.pi, 3), generator.uniform(-1.5, 1.5, 3)
    waves = [np.sin(rate * across + lean[i] * rate * 0.3 * down + phases[i]) for i, rate in enumerate((3.0, 7.0, 13.0))]
    return np.asarray(sum(waves))


def _shadow(scene: Scene, mask: Image.Image, placement: Placement) -> Plane:
    """The silhouette, blurred and moved away from the light, in [0, 1]."""
    reach = 0.03 * placement.scale / COARSE
    small = mask.reduce(COARSE).filter(ImageFilter.BoxBlur(0.8 * reach))
    moved = ImageChops.offset(small, round(-reach * np.cos(scene.light_angle)), round(-reach * np.sin(scene.light_angle)))
    return np.asarray(moved, np.float32) / np.float32(255)


def _light(scene: Scene, size: tuple[int, int]) -> Image.Image:
    """What the light leaves of each pixel: one lamp's falloff, and the lens's darker corners."""
    across, down = np.linspace(-1, 1, 24)[None], np.linspace(-1, 1, 40)[:, None]
    towards = np.cos(scene.light_angle) * across + np.sin(scene.light_angle) * down
    left = 1 - 0.5 * scene.light_unevenness * (1 - towards) - 0.06 * (across**2 + down**2)
    level = Image.fromarray((255 * left).clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return Image.merge("RGB", (level, level, level))


def _developed(picture: Image.Image, scene: Scene) -> Image.Image:
    """Exposure, white balance, blur, sensor noise and JPEG, in the order in which they happen.

    A small photo is a large one made smaller: it keeps less of blur, noise and JPEG.
    """
    share = min(1.0, picture.height / 256)
    tables = np.outer(scene.exposure, np.arange(256)).clip(0, 255).astype(int)
    picture = picture.point(tables.ravel().tolist())
    if scene.blur_px:
        picture = picture.filter(ImageFilter.GaussianBlur(scene.blur_px * picture.height / 256))
    if scene.is_greyscale:
        picture = picture.convert("L")
    generator = np.random.default_rng(scene.seed + 1)
    noise = scene.noise * share * generator.standard_normal((picture.height, picture.width), dtype=np.float32)
    noisy = np.asarray(picture, np.float32) + (noise if scene.is_greyscale else noise[..., None])
    return _stored_as_jpeg(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), round(95 - share * (95 - scene.jpeg_quality)))


def _stored_as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stored = BytesIO()
    picture.save(stored, "JPEG", quality=quality, subsampling=0)  # 0: full colour resolution, as larger photos made smaller
    return Image.open(stored).copy()
