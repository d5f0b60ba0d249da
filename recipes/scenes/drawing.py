"""A scene as a picture of 64 x 64 pixels: places, sizes, turns and shades vary a little from picture to picture."""

import colorsys
import math
import random

from PIL import Image, ImageDraw, ImageFilter
from scenes import Group, Scene

SIDE = 64
_FINE = 4  # drawn four times as large, then reduced, for smooth edges
_RGB = {
    "red": (205, 25, 30),
    "orange": (250, 130, 10),
    "yellow": (250, 225, 40),
    "green": (30, 145, 50),
    "blue": (30, 75, 205),
    "purple": (125, 35, 165),
    "pink": (250, 140, 190),
    "brown": (110, 65, 30),
    "white": (246, 246, 246),
    "grey": (135, 135, 135),
    "black": (18, 18, 18),
}
CENTRES = {
    "upper left": (0.26, 0.26),
    "upper right": (0.74, 0.26),
    "centre": (0.5, 0.5),
    "lower left": (0.26, 0.74),
    "lower right": (0.74, 0.74),
}
_OFFSETS = {  # of the shapes of a group from its centre, in shares of the picture's side
    "one": ((0.0, 0.0),),
    "two": ((-0.13, 0.0), (0.13, 0.0)),
    "three": ((-0.13, 0.11), (0.13, 0.11), (0.0, -0.12)),
}
_RADIUS = {"one": 0.2, "two": 0.125, "three": 0.115}


def draw(scene: Scene, rng: random.Random) -> Image.Image:
    """The picture of a scene, RGB; ``rng`` chooses what the caption does not say."""
    side = SIDE * _FINE
    picture = Image.new("RGB", (side, side), _shade(scene.background, rng))
    pen = ImageDraw.Draw(picture)
    for group in scene.groups:
        _draw_group(pen, group, side, rng)
    small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return small.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.5)))


def _draw_group(pen: ImageDraw.ImageDraw, group: Group, side: int, rng: random.Random) -> None:
    x, y = CENTRES[group.place]
    x, y = x + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.03, 0.03)
    fill = _shade(group.colour, rng)
    for dx, dy in _OFFSETS[group.number]:
        radius = _RADIUS[group.number] * rng.uniform(0.85, 1.1)
        centre = ((x + dx) * side, (y + dy) * side)
        outline = _outline(group.shape, rng.uniform(-0.2, 0.2))
        pen.polygon([(centre[0] + radius * side * px, centre[1] + radius * side * py) for px, py in outline], fill=fill)


def _outline(shape: str, turn: float) -> list[tuple[float, float]]:
    """Corners within the unit circle, turned by ``turn`` (radians)."""
    if shape == "circle":
        corners = [(1.0, 2 * math.pi * i / 48) for i in range(48)]
    elif shape == "square":
        corners = [(1.1, math.pi / 4 + math.pi / 2 * i) for i in range(4)]
    elif shape == "triangle":
        corners = [(1.2, -math.pi / 2 + 2 * math.pi / 3 * i) for i in range(3)]
    elif shape == "star":
        corners = [((1.25, 0.5)[i % 2], -math.pi / 2 + math.pi / 5 * i) for i in range(10)]
    else:  # a cross: twelve corners of two bars
        bar = 0.36
        points = [(bar, 1), (bar, bar), (1, bar), (1, -bar), (bar, -bar), (bar, -1)]
        points += [(-px, -py) for px, py in points]
        corners = [(math.hypot(*point) * 1.0, math.atan2(point[1], point[0])) for point in points]
    return [(r * math.cos(angle + turn), r * math.sin(angle + turn)) for r, angle in corners]


def _shade(colour: str, rng: random.Random) -> tuple[int, int, int]:
    """The colour, a little lighter or darker, a little more or less strong."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in _RGB[colour]))
    saturation = min(1.0, saturation * rng.uniform(0.9, 1.05))
    value = min(1.0, value * rng.uniform(0.93, 1.05))
    red, green, blue = (round(255 * c) for c in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue
