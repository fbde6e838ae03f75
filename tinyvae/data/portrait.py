"""How a face is drawn: what its factors make of it, and its layers from back to front.

Everything is placed on a canvas from -1 to 1 with y down; sides are -1 and 1, left and right
in the picture. A turn of the head moves each thing sideways by its depth in front of the
head's axis (so the nose most, the ears the other way), and squeezes the far side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tinyvae.data.drawing import Box, Canvas, blend, box, colours, disc, ellipse, glow, round_and

# From deep to light; from black to silver; round the hues, the shirts opposite the backdrops.
SKIN = colours("66412d 7c4f35 a06a45 c18a60 dca981 efc6a2 fadcc4")
HAIR = colours("1d1a20 35231f 5a3826 8a4f2d b8692f d9a04e ecd08c e4e3e6")
PASTEL = colours("f7cfcf fadfc0 f5edbd d2ebc8 c1e6e0 c6dbf4 dacff2 f2cde3 f7cfcf")
CLOTH = colours("3f8f93 4b79ad 6a67b0 97609f bd6480 cf7562 c98f4a 7f9a58 3f8f93")
WHITE, CREAM, BLUSH, INK, IRIS, LIP, WINE, FRAME = colours(
    "ffffff fffaf2 e8645f 2b2230 5b3f2e b5474d 6e1f2c 352b3d"
)[:, :, None, None]
SHADE = np.array([0.84, 0.74, 0.70], np.float32)[:, None, None]  # shadows on skin are warm

HEAD_Y, HEAD_HEIGHT, TAPER = -0.04, 0.63, 0.14
EAR_Y, EYE_Y, BROW_Y, NOSE_Y, CHEEK_Y, MOUTH_Y = 0.07, 0.02, -0.25, 0.20, 0.25, 0.36
BACK, EAR, AXIS, SCALP, CHEEK, EYE, LIPS, NOSE = -0.06, -0.07, 0.015, 0.07, 0.12, 0.15, 0.15, 0.24
MOUTH_BOX = Box(-0.56, 0.16, 0.56, 0.60)  # all that a smile changes
THIN, LINE = 0.02, 0.035  # half the breadth of a stroke


@dataclass(frozen=True)
class Face:
    """The factors of N faces, each (N, 1, 1) from 0 to 1, and what the layers make of them."""

    skin_tone: np.ndarray
    hair_colour: np.ndarray
    hair_length: np.ndarray
    smile: np.ndarray
    eye_openness: np.ndarray
    brow: np.ndarray
    face_width: np.ndarray
    glasses: np.ndarray
    background: np.ndarray
    head_turn: np.ndarray

    @cached_property
    def skin(self) -> np.ndarray:
        """Its colour, (N, 3, 1, 1)."""
        return blend(SKIN, self.skin_tone)

    @cached_property
    def hair(self) -> np.ndarray:
        """Its colour, (N, 3, 1, 1)."""
        return blend(HAIR, self.hair_colour)

    @cached_property
    def width(self) -> np.ndarray:
        """Half the width of the head."""
        return 0.47 + 0.13 * self.face_width

    @cached_property
    def lids(self) -> np.ndarray:
        """How far they are apart; half-way, the eyes are three quarters open."""
        lids: np.ndarray = self.eye_openness * (2 - self.eye_openness)
        return lids

    @cached_property
    def turn(self) -> np.ndarray:
        """From -1, to the left of the picture, to 1."""
        turn: np.ndarray = 2 * self.head_turn - 1
        return turn

    def shift(self, depth: float) -> np.ndarray:
        """How far the turn moves what lies so far in front of the head's axis."""
        return depth * self.turn

    def near(self, side: int, by: float = 0.22) -> np.ndarray:
        """How wide the turn leaves things on a side: above 1 on the near, below on the far."""
        return 1 - by * side * self.turn

    def eye_x(self, side: int) -> np.ndarray:
        """The middle of an eye."""
        apart = (0.08 + 0.33 * self.width) * self.near(side, 0.1)
        middle: np.ndarray = side * apart + self.shift(EYE)
        return middle


def backdrop(canvas: Canvas, face: Face) -> None:
    """A pastel, lighter behind the head and darker in the corners."""
    vignette = 1.03 - 0.09 * (canvas.x**2 + canvas.y**2)
    canvas.pixels[...] = np.minimum(blend(PASTEL, face.background) * vignette[:, None], 1)


def curtain(canvas: Canvas, face: Face, grow: float, depth: float) -> np.ndarray:
    """An arch over the head whose legs fall straight down: hair is bounded by such arches."""
    above = np.minimum(canvas.y - HEAD_Y, 0)
    return ellipse(canvas.x - face.shift(depth), above, face.width + grow, HEAD_HEIGHT + grow)


def back_hair(canvas: Canvas, face: Face) -> None:
    """What falls behind the head, to the shoulders where it is long."""
    tips = -0.05 + 0.95 * face.hair_length
    fall = round_and(curtain(canvas, face, 0.10, BACK), canvas.y - tips, 0.2)
    canvas.paint(fall, 0.72 * face.hair)


def shoulders(canvas: Canvas, face: Face) -> None:
    """A shirt with a round collar."""
    below = canvas.window(Box(-1, 0.5, 1, 1))
    cloth = blend(CLOTH, face.background)
    below.paint(ellipse(below.x, below.y - 1.18, 0.80, 0.46), cloth)
    below.paint(ellipse(below.x, below.y - 0.74, 0.26, 0.19), 0.82 * cloth)


def neck(canvas: Canvas, face: Face) -> None:
    """It stands in the shadow of the chin."""
    below = canvas.window(Box(-0.4, 0.2, 0.4, 1))
    below.paint(box(below.x, below.y - 0.5, 0.185, 0.37, 0.18), face.skin * SHADE)


def ears(canvas: Canvas, face: Face) -> None:
    """The only features that lie behind the head's axis."""
    band = canvas.window(Box(-0.85, -0.25, 0.85, 0.40))
    for side in (-1, 1):
        x, y = band.x - side * face.width - face.shift(EAR), band.y - EAR_Y
        band.paint(ellipse(x, y, 0.11, 0.15), face.skin)
        band.paint(ellipse(x, y, 0.055, 0.085), face.skin * SHADE)


def oval(canvas: Canvas, face: Face) -> np.ndarray:
    """Signed distance to the head: an egg, narrower at the chin."""
    y = canvas.y - HEAD_Y
    return ellipse((canvas.x - face.shift(AXIS)) * (1 + TAPER * y), y, face.width, HEAD_HEIGHT)


def head(canvas: Canvas, face: Face) -> None:
    """Bare, with nothing on it yet."""
    canvas.paint(oval(canvas, face), face.skin)


def cheeks(canvas: Canvas, face: Face) -> None:
    """A blush that fades to nothing at its rim and ends at the head's."""
    band = canvas.window(Box(-0.8, 0.05, 0.8, 0.45))
    inside = band.cover(oval(band, face))
    for side in (-1, 1):
        x = band.x - side * 0.62 * face.width * face.near(side, 0.12) - face.shift(CHEEK)
        spot = glow(x / face.near(side), band.y - CHEEK_Y, 0.20, 0.16)
        band.tint(0.36 * spot * inside, BLUSH)


def nose(canvas: Canvas, face: Face) -> None:
    """A button, nearest to us."""
    middle = canvas.window(Box(-0.4, 0.0, 0.4, 0.4))
    tip = ellipse(middle.x - face.shift(NOSE), middle.y - NOSE_Y, 0.065, 0.045)
    middle.paint(tip, face.skin * SHADE)


def mouth(canvas: Canvas, face: Face) -> None:
    """Lips that bend from a frown to a smile, and part to show teeth as it broadens."""
    low = canvas.window(MOUTH_BOX)
    half_width, gap = 0.15 + 0.11 * face.smile, 0.42 * np.maximum(face.smile - 0.52, 0)
    across = (low.x - face.shift(LIPS)) / half_width
    arch, ends = 1 - across**2, (np.abs(across) - 1) * half_width
    bend = 0.33 * (face.smile - 0.30)
    upper = MOUTH_Y + bend * (arch - 0.5) - 0.6 * gap * arch
    lower = upper + gap * (1 - across**4)
    inside = np.maximum(upper - low.y, low.y - lower)
    low.paint(round_and(inside - LINE, ends, 0.03), LIP)
    low.paint(np.maximum(inside, ends + 0.02), WINE)
    teeth = np.maximum(np.maximum(inside, ends), low.y - upper - 0.45 * gap * arch)
    low.tint(low.cover(teeth) * np.minimum(gap * 12, 1), CREAM)


def eyes(canvas: Canvas, face: Face) -> None:
    """Between two lids that close to a smiling curve, the upper one with lashes."""
    band = canvas.window(Box(-0.75, -0.3, 0.75, 0.35))
    for side in (-1, 1):
        x, y = band.x - face.eye_x(side), band.y - EYE_Y
        half_width, half_height = 0.155 * face.near(side), 0.012 + 0.148 * face.lids
        droop = 0.08 * (1 - face.lids) * (1 - (x / half_width) ** 2)
        opening = ellipse(x, y - droop, half_width, half_height)
        eyeball(band, x - face.shift(0.03), y, band.cover(opening))
        upper = np.maximum(np.abs(opening) - 0.024, y - droop + 0.3 * half_height)
        band.paint(np.maximum(upper, np.abs(x) - half_width), INK)


def eyeball(canvas: Canvas, x: np.ndarray, y: np.ndarray, seen: np.ndarray) -> None:
    """White, iris, pupil and highlight, as far as they are seen between the lids."""
    canvas.tint(seen, WHITE)
    canvas.tint(seen * canvas.cover(disc(x, y, 0.11)), IRIS)
    canvas.tint(seen * canvas.cover(disc(x, y, 0.06)), INK)
    canvas.tint(seen * canvas.cover(disc(x - 0.04, y + 0.05, 0.044)), WHITE)


def locks(canvas: Canvas, face: Face) -> np.ndarray:
    """Signed distance to the hair in front: a side parting, and locks that grow past the ears."""
    parting = canvas.x - face.shift(SCALP) - 0.18
    below_fringe = 0.8 * (-0.46 + 0.9 * parting**2 - canvas.y)
    bare = np.maximum(curtain(canvas, face, -0.04, 0.03), below_fringe)
    tips = -0.16 + 0.95 * face.hair_length
    return round_and(np.maximum(curtain(canvas, face, 0.10, 0.01), -bare), canvas.y - tips, 0.08)


def front_hair(canvas: Canvas, face: Face) -> None:
    """A shadow on the skin, the hair that casts it, and a shine where the light falls."""
    hair = locks(canvas, face)
    shadow = np.maximum(hair - 0.05, oval(canvas, face))
    canvas.tint(0.5 * canvas.cover(shadow), face.skin * SHADE)
    canvas.paint(hair, face.hair)
    top = canvas.window(Box(-0.65, -0.8, 0.65, -0.3))
    top.tint(0.3 * glow(top.x + 0.2 - face.shift(SCALP), top.y + 0.55, 0.30, 0.13), WHITE)


def brows(canvas: Canvas, face: Face) -> None:
    """From low and knitted to raised in wonder; they show through the hair."""
    band = canvas.window(Box(-0.8, -0.6, 0.8, 0.0))
    for side in (-1, 1):
        outward = side * (band.x - face.eye_x(side)) / face.near(side)
        lift, tilt = 0.07 - 0.17 * face.brow, 0.42 * face.brow - 0.22
        arch = BROW_Y + lift + tilt * outward + 1.5 * outward**2
        stroke = round_and(np.abs(band.y - arch) - LINE, np.abs(outward) - 0.16, 0.03)
        band.paint(stroke, 0.62 * face.hair)


def glasses(canvas: Canvas, face: Face) -> None:
    """Drawn on a copy and then faded in, so that a pixel goes straight from none to worn."""
    band = canvas.window(Box(-0.85, -0.3, 0.85, 0.4))
    worn = replace(band, pixels=band.pixels.copy())
    frames(worn, face)
    band.tint(face.glasses, worn.pixels)


def frames(canvas: Canvas, face: Face) -> None:
    """Thin and rounded, with a glint of glass, and a bridge between them."""
    y = canvas.y - EYE_Y - 0.02
    canvas.paint(box(canvas.x - face.shift(EYE), y + 0.04, 0.07, 0.016), FRAME)
    for side in (-1, 1):
        lens = box(canvas.x - face.eye_x(side), y, 0.205 * face.near(side), 0.195, 0.14)
        canvas.tint(0.14 * canvas.cover(lens), WHITE)
        canvas.paint(np.abs(lens) - THIN, FRAME)


LAYERS: tuple[Callable[[Canvas, Face], None], ...] = (
    backdrop,
    back_hair,
    shoulders,
    neck,
    ears,
    head,
    cheeks,
    nose,
    mouth,
    eyes,
    front_hair,
    brows,
    glasses,
)
