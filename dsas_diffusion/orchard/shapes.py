"""How Orchard's ten objects look: each a function from colours to polygons in a unit square."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

Point = tuple[float, float]
Colour = tuple[int, int, int]

#: Base colours, by object and colour name; objects of one colour use the empty name.
PALETTE: Final[dict[str, dict[str, Colour]]] = {
    "banana": {"": (248, 214, 52)},
    "apple": {"red": (206, 34, 40), "green": (122, 190, 58)},
    "pear": {"green": (150, 190, 62), "yellow": (224, 192, 66)},
    "orange": {"": (244, 138, 28)},
    "lemon": {"": (250, 234, 84)},
    "grapes": {"purple": (112, 50, 148), "green": (160, 204, 88)},
    "strawberry": {"": (224, 32, 56)},
    "carrot": {"": (240, 116, 32)},
    "cup": {"white": (244, 243, 240), "red": (202, 48, 48), "blue": (46, 92, 190)},
    "book": {"red": (178, 36, 46), "blue": (42, 70, 160)},
}
#: Largest rotation to either side, in degrees; and whether the object may be mirrored.
TURN: Final[dict[str, float]] = {
    "banana": 22,
    "apple": 8,
    "pear": 8,
    "orange": 12,
    "lemon": 25,
    "grapes": 8,
    "strawberry": 12,
    "carrot": 14,
    "cup": 3,
    "book": 8,
}
MIRRORED: Final = frozenset({"banana", "lemon", "carrot"})

STEM: Final[Colour] = (98, 66, 36)
LEAF: Final[Colour] = (66, 146, 58)
CREAM: Final[Colour] = (246, 240, 222)


@dataclass(frozen=True)
class Part:
    """One polygon of an object.

    Attributes:
        points: Corners in units of the object's radius; x to the right, y downwards, the body within [-1, 1].
        colour: RGB, or ``None`` for a hole through the object.
        line: Whether a sketch draws its outline. Shading and highlights are left out there.
    """

    points: tuple[Point, ...]
    colour: Colour | None
    line: bool = True


def shade(colour: Colour, factor: float) -> Colour:
    """Scale a colour's brightness, clipped to 0..255."""
    red, green, blue = (int(min(255, max(0, channel * factor))) for channel in colour)
    return red, green, blue


def ellipse(cx: float, cy: float, rx: float, ry: float, turn: float = 0.0, corners: int = 36) -> tuple[Point, ...]:
    """Corners of an ellipse around (cx, cy), turned by ``turn`` degrees."""
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    circle = ((math.cos(2 * math.pi * i / corners), math.sin(2 * math.pi * i / corners)) for i in range(corners))
    return tuple((cx + rx * x * cos - ry * y * sin, cy + rx * x * sin + ry * y * cos) for x, y in circle)


def _profile(heights: Sequence[float], half_widths: Sequence[float], steps: int = 40) -> tuple[Point, ...]:
    """Corners of a shape symmetric about the vertical axis, from its half-width at some heights."""
    ys = np.linspace(heights[0], heights[-1], steps)
    xs = np.interp(ys, heights, half_widths)
    right = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
    left = [(-x, y) for x, y in reversed(right)]
    return tuple(right + left)


def banana(colour: Colour) -> list[Part]:
    """A crescent with brown ends."""
    outer, middle, inner = [], [], []
    for i in range(33):
        t = i / 32
        angle = math.radians(18 + 144 * t)
        half = 0.07 + 0.27 * math.sin(math.pi * t) ** 0.7
        x, y = math.cos(angle), -0.62 + 1.0 * math.sin(angle)
        outward = (math.cos(angle), math.sin(angle))
        outer.append((x + half * outward[0], y + half * outward[1]))
        inner.append((x - half * outward[0], y - half * outward[1]))
        middle.append((x + 0.25 * half * outward[0], y + 0.25 * half * outward[1]))
    body = tuple(outer + inner[::-1])
    shadow = tuple(outer[2:-2] + middle[2:-2][::-1])
    right, left = outer[0], outer[-1]
    stem = ((right[0] - 0.16, right[1]), (right[0] + 0.02, right[1] + 0.04), (right[0] + 0.06, right[1] - 0.3),
            (right[0] - 0.08, right[1] - 0.3))  # fmt: skip
    return [
        Part(stem, STEM),
        Part(body, colour),
        Part(shadow, shade(colour, 0.83), line=False),
        Part(ellipse(left[0] + 0.05, left[1] - 0.04, 0.1, 0.1, corners=14), STEM),
    ]


def apple(colour: Colour) -> list[Part]:
    """A round body with a dimple, a stem and a leaf."""
    body = []
    for i in range(60):
        angle = 2 * math.pi * i / 60  # 0 is the top
        from_top = min(angle, 2 * math.pi - angle)
        radius = 0.8 * (
            1 - 0.26 * math.exp(-((from_top / 0.42) ** 2)) - 0.1 * math.exp(-(((math.pi - from_top) / 0.3) ** 2))
        )
        body.append((1.05 * radius * math.sin(angle), 0.14 - radius * math.cos(angle)))
    return [
        Part(tuple(body), colour),
        Part(ellipse(0.28, 0.34, 0.4, 0.42), shade(colour, 0.86), line=False),
        Part(ellipse(-0.4, -0.12, 0.13, 0.22, 20), shade(colour, 1.45), line=False),
        Part(((-0.06, -0.42), (0.06, -0.42), (0.16, -0.94), (0.05, -0.97)), STEM),
        Part(ellipse(0.4, -0.78, 0.3, 0.13, -18), LEAF),
    ]


def pear(colour: Colour) -> list[Part]:
    """A narrow neck over a wide bottom."""
    heights = [-0.74, -0.7, -0.62, -0.45, -0.25, -0.05, 0.15, 0.35, 0.55, 0.72, 0.85, 0.93, 0.96]
    halves = [0.0, 0.14, 0.22, 0.27, 0.33, 0.45, 0.58, 0.67, 0.68, 0.6, 0.44, 0.24, 0.0]
    return [
        Part(((-0.05, -0.68), (0.05, -0.68), (0.16, -1.02), (0.06, -1.05)), STEM),
        Part(_profile(heights, halves), colour),
        Part(ellipse(0.2, 0.5, 0.34, 0.34), shade(colour, 0.87), line=False),
        Part(ellipse(-0.26, 0.3, 0.11, 0.22, 14), shade(colour, 1.28), line=False),
    ]


def orange(colour: Colour) -> list[Part]:
    """A ball with pores and a small green star on top."""
    pores = [(-0.42, 0.3), (-0.12, 0.52), (0.2, 0.62), (0.05, 0.16), (0.42, 0.26), (-0.2, -0.12), (0.34, -0.16)]
    star = tuple(
        (
            math.sin(2 * math.pi * i / 10) * (0.2 if i % 2 else 0.08),
            -0.6 - math.cos(2 * math.pi * i / 10) * (0.14 if i % 2 else 0.05),
        )
        for i in range(10)
    )
    return [
        Part(ellipse(0, 0.04, 0.82, 0.82), colour),
        Part(ellipse(0.2, 0.26, 0.52, 0.5), shade(colour, 0.91), line=False),
        Part(ellipse(-0.36, -0.3, 0.17, 0.12, -40), shade(colour, 1.35), line=False),
        *(Part(ellipse(x, y, 0.045, 0.045, corners=8), shade(colour, 0.74)) for x, y in pores),
        Part(star, LEAF),
    ]


def lemon(colour: Colour) -> list[Part]:
    """An oval with a nub at either end."""
    body = []
    for i in range(64):
        angle = 2 * math.pi * i / 64
        x, y = math.cos(angle), math.sin(angle)
        nub = math.exp(-(((abs(x) - 1) / 0.06) ** 2)) * 0.3
        body.append(((0.74 + nub) * x, 0.58 * y * (1 - 0.25 * nub)))
    return [
        Part(tuple(body), colour),
        Part(ellipse(0.1, 0.2, 0.5, 0.27), shade(colour, 0.88), line=False),
        Part(ellipse(-0.28, -0.24, 0.2, 0.09, -12), (255, 252, 206), line=False),
    ]


def grapes(colour: Colour) -> list[Part]:
    """A bunch of balls, four on top and one at the bottom."""
    parts = [Part(((-0.05, -0.55), (0.05, -0.55), (0.12, -1.0), (0.0, -1.0)), STEM)]
    for row, count in enumerate((4, 3, 3, 2, 1)):
        for k in range(count):
            x, y = (k - (count - 1) / 2) * 0.44, -0.5 + row * 0.34
            parts += [
                Part(ellipse(x, y, 0.26, 0.26, corners=20), shade(colour, 0.68)),
                Part(ellipse(x - 0.02, y - 0.03, 0.21, 0.21, corners=20), colour, line=False),
                Part(ellipse(x - 0.08, y - 0.1, 0.065, 0.065, corners=10), shade(colour, 1.6), line=False),
            ]
    return parts


def strawberry(colour: Colour) -> list[Part]:
    """A taper with pale seeds under a green crown."""
    heights = [-0.55, -0.5, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 0.93, 0.98]
    halves = [0.0, 0.45, 0.64, 0.73, 0.71, 0.64, 0.54, 0.41, 0.25, 0.1, 0.0]
    crown = ((-0.7, -0.56), (-0.3, -0.68), (-0.08, -0.98), (0.08, -0.98), (0.3, -0.68), (0.7, -0.56), (0.38, -0.38),
             (0.22, -0.16), (0.02, -0.4), (-0.22, -0.16), (-0.38, -0.38))  # fmt: skip
    seeds = [(-0.42, 0.02), (0.0, 0.0), (0.42, 0.02), (-0.22, 0.28), (0.22, 0.28), (0.0, 0.56)]
    return [
        Part(_profile(heights, halves), colour),
        Part(ellipse(0.26, 0.12, 0.28, 0.4, 20), shade(colour, 0.88), line=False),
        *(Part(ellipse(x, y, 0.065, 0.09, corners=10), (252, 222, 120)) for x, y in seeds),
        Part(crown, LEAF),
    ]


def carrot(colour: Colour) -> list[Part]:
    """A long cone lying aslant, with ridges and green fronds."""

    def lie(points: Sequence[Point]) -> tuple[Point, ...]:
        cos, sin = math.cos(math.radians(-52)), math.sin(math.radians(-52))
        return tuple((x * cos - y * sin, x * sin + y * cos) for x, y in points)

    body = _profile([-0.58, -0.54, -0.42, 0.0, 0.5, 0.9, 1.08, 1.12], [0.0, 0.24, 0.33, 0.29, 0.2, 0.1, 0.03, 0.0])
    fronds = [(-0.3, -0.98, -28), (0.0, -1.02, 0), (0.3, -0.98, 28)]
    ridges = [(-0.12, -0.22, 0.17), (0.12, 0.12, 0.13), (-0.06, 0.46, 0.11)]
    return [
        *(
            Part(lie(ellipse(x * 0.8, y + 0.15, 0.13, 0.36, turn, corners=18)), shade(LEAF, 1.05))
            for x, y, turn in fronds
        ),
        Part(lie(body), colour),
        *(Part(lie(ellipse(x, y, half, 0.035, corners=10)), shade(colour, 0.76)) for x, y, half in ridges),
    ]


def cup(colour: Colour) -> list[Part]:
    """A mug with a handle on its right and an open rim."""
    return [
        Part(ellipse(0.56, 0.1, 0.42, 0.42), shade(colour, 0.85)),
        Part(ellipse(0.56, 0.1, 0.22, 0.23), None),
        Part(((-0.72, -0.6), (0.56, -0.6), (0.44, 0.84), (-0.6, 0.84)), colour),
        Part(((0.18, -0.6), (0.56, -0.6), (0.44, 0.84), (0.16, 0.84)), shade(colour, 0.86), line=False),
        Part(ellipse(-0.08, -0.6, 0.64, 0.18), shade(colour, 0.58)),
    ]


def book(colour: Colour) -> list[Part]:
    """A closed book: cover, dark spine, cream pages, a label."""
    return [
        Part(((-0.7, -0.72), (0.78, -0.72), (0.78, 0.92), (-0.7, 0.92)), shade(colour, 0.6)),
        Part(((-0.6, 0.6), (0.74, 0.6), (0.74, 0.84), (-0.6, 0.84)), CREAM),
        Part(((-0.74, -0.9), (0.7, -0.9), (0.7, 0.68), (-0.74, 0.68)), colour),
        Part(((-0.74, -0.9), (-0.5, -0.9), (-0.5, 0.68), (-0.74, 0.68)), shade(colour, 0.66)),
        Part(((-0.26, -0.56), (0.46, -0.56), (0.46, -0.14), (-0.26, -0.14)), CREAM),
    ]


SHAPES: Final[dict[str, Callable[[Colour], list[Part]]]] = {
    shape.__name__: shape for shape in (banana, apple, pear, orange, lemon, grapes, strawberry, carrot, cup, book)
}


def jitter(colour: Colour, rng: random.Random, amount: float) -> Colour:
    """Move every channel by at most ``amount``."""
    red, green, blue = (int(min(255, max(0, channel + rng.uniform(-amount, amount)))) for channel in colour)
    return red, green, blue
