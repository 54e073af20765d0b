"""Sprites: subjects drawn from signed distances, so that one description serves every size.

A signed distance d(x, y) is negative inside a shape and positive outside. Its coverage of a pixel of width p is
clamp(1/2 - d/p, 0, 1), which is anti-aliased at any resolution (Quilez, "2D distance functions").

Local coordinates: the subject fits [-1, 1] x [-1, 1], x to the front (the subject faces +x), y down.
A sprite function takes tensors `x` (g, f, 1, w), `y` (g, f, h, 1), the leg swing `gait` (g, f, 1, 1) in [-1, 1] and the
cycle `phase` (g, f, 1, 1) in radians. It returns layers from back to front: (signed distance, tone).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

#: A tone is an RGB triple, or a factor of the subject's own colour ("coat" = 1, "dark" < 1, "light" towards white).
Layer = tuple[Tensor, "str | tuple[float, float, float]"]

INK = (0.13, 0.11, 0.14)
WHITE = (1.0, 1.0, 1.0)


def coverage(d: Tensor, pixel: Tensor | float) -> Tensor:
    """Share of a pixel of width `pixel` that lies inside the shape of signed distance `d`: clamp(1/2 - d/pixel, 0, 1)."""
    return (0.5 - d / pixel).clamp_(0, 1)


def ellipse(x: Tensor, y: Tensor, cx, cy, rx: float, ry: float) -> Tensor:
    """(|p / r| - 1) * min(r): exact for a circle, a close bound for an ellipse."""
    return ((((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2).sqrt() - 1) * min(rx, ry)


def capsule(x: Tensor, y: Tensor, ax, ay, bx, by, r: float) -> Tensor:
    """Distance to the segment a-b, less r: |p - a - h (b - a)| - r with h = clamp((p - a).(b - a) / |b - a|^2, 0, 1)."""
    dx, dy = bx - ax, by - ay
    h = (((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)).clamp_(0, 1)
    return ((x - ax - h * dx) ** 2 + (y - ay - h * dy) ** 2).sqrt() - r


def box(x: Tensor, y: Tensor, cx: float, cy: float, rx: float, ry: float, corner: float = 0.0) -> Tensor:
    """Signed distance to a rectangle of half sides rx, ry, with rounded corners."""
    qx, qy = (x - cx).abs() - rx + corner, (y - cy).abs() - ry + corner
    return (qx.clamp(min=0) ** 2 + qy.clamp(min=0) ** 2).sqrt() + torch.maximum(qx, qy).clamp(max=0) - corner


def polygon(x: Tensor, y: Tensor, *corners: tuple[float, float]) -> Tensor:
    """Largest signed distance to the edges' lines: a convex polygon with its corners in clockwise order on the screen."""
    lines = []
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1]):
        length = math.hypot(bx - ax, by - ay)
        lines.append(((x - ax) * (by - ay) - (y - ay) * (bx - ax)) / length)
    return functools.reduce(torch.maximum, lines)


def union(*distances: Tensor) -> Tensor:
    """The smallest distance: a point lies in the union when it lies in one of the shapes."""
    return functools.reduce(torch.minimum, distances)


def circle(x, y, gait, phase) -> list[Layer]:
    """A disc with a highlight."""
    return [(ellipse(x, y, 0, 0, 0.88, 0.88), "coat"), (ellipse(x, y, -0.3, -0.35, 0.2, 0.16), "light")]


def square(x, y, gait, phase) -> list[Layer]:
    """A square with slightly rounded corners."""
    return [(box(x, y, 0, 0, 0.78, 0.78, 0.06), "coat"), (box(x, y, -0.3, -0.5, 0.3, 0.1, 0.1), "light")]


def triangle(x, y, gait, phase) -> list[Layer]:
    """A triangle that points up."""
    body = polygon(x, y, (0.0, -0.95), (0.98, 0.78), (-0.98, 0.78))
    return [(body, "coat"), (capsule(x, y, -0.12, -0.2, -0.4, 0.3, 0.08), "light")]


def star(x, y, gait, phase) -> list[Layer]:
    """Five spikes: the plane is folded into one wedge of 36 degrees, whose edge is a line."""
    angle = torch.atan2(x, -y)
    wedge = 2 * math.pi / 5
    folded = (torch.remainder(angle + wedge / 2, wedge) - wedge / 2).abs()
    r = (x * x + y * y).sqrt()
    px, py = r * torch.sin(folded), r * torch.cos(folded)
    tip, notch = 0.99, 0.47
    nx, ny = notch * math.sin(wedge / 2), notch * math.cos(wedge / 2)
    edge = math.hypot(nx, ny - tip)
    return [((px * (tip - ny) + (py - tip) * nx) / edge, "coat")]


def heart(x, y, gait, phase) -> list[Layer]:
    """Two discs and a tip."""
    lobes = union(ellipse(x, y, -0.42, -0.3, 0.5, 0.5), ellipse(x, y, 0.42, -0.3, 0.5, 0.5))
    tip = polygon(x, y, (-0.83, -0.02), (0.0, -0.42), (0.83, -0.02), (0.0, 0.92))
    return [(union(lobes, tip), "coat"), (ellipse(x, y, -0.45, -0.42, 0.17, 0.14), "light")]


def puppy(x, y, gait, phase) -> list[Layer]:
    """From the side: floppy dark ear, pale snout, running legs and a wagging tail."""
    legs = [
        capsule(x, y, hip, 0.4, hip + 0.2 * side * gait, 0.86, 0.11)
        for hip, side in ((-0.52, 1), (-0.3, -1), (0.16, 1), (0.36, -1))
    ]
    wag = 0.3 * torch.sin(phase)
    tail = capsule(x, y, -0.62, 0.1, -0.82 + wag, -0.5 + 0.1 * wag, 0.11)
    body = union(ellipse(x, y, -0.1, 0.22, 0.62, 0.32), ellipse(x, y, 0.5, -0.3, 0.4, 0.38), tail, *legs)
    return [
        (body, "coat"),
        (ellipse(x, y, 0.8, -0.14, 0.2, 0.16), "light"),
        (ellipse(x, y, 0.24, -0.24, 0.15, 0.33), "dark"),
        (ellipse(x, y, 0.95, -0.22, 0.1, 0.09), INK),
        (ellipse(x, y, 0.6, -0.4, 0.09, 0.1), INK),
    ]


def kitten(x, y, gait, phase) -> list[Layer]:
    """Seen from the front: a round face with two pointed ears, whiskered muzzle, and a tail that sways behind."""
    ears = union(
        polygon(x, y, (-0.62, -1.0), (-0.12, -0.68), (-0.56, -0.3)),
        polygon(x, y, (0.62, -1.0), (0.56, -0.3), (0.12, -0.68)),
    )
    sway = 0.22 * torch.sin(phase)
    tail = union(capsule(x, y, -0.3, 0.75, -0.76, 0.6, 0.11), capsule(x, y, -0.76, 0.6, -0.84 + sway, 0.0, 0.11))
    feet = union(*[capsule(x, y, 0.26 * s, 0.6, 0.26 * s + 0.1 * gait, 0.87 - 0.1 * s * gait, 0.12) for s in (-1, 1)])
    body = union(ellipse(x, y, 0, -0.24, 0.6, 0.52), ellipse(x, y, 0, 0.5, 0.4, 0.36), ears, tail, feet)
    return [
        (body, "coat"),
        (ellipse(x, y, 0.0, 0.0, 0.27, 0.2), "light"),
        (ellipse(x, y, 0.0, 0.56, 0.2, 0.22), "light"),
        (union(ellipse(x, y, -0.27, -0.3, 0.1, 0.13), ellipse(x, y, 0.27, -0.3, 0.1, 0.13)), INK),
        (ellipse(x, y, 0.0, -0.08, 0.1, 0.07), INK),
    ]


def bird(x, y, gait, phase) -> list[Layer]:
    """From the side: an orange beak, a tail, and a wing that beats up and down."""
    beat = torch.sin(phase)
    body = union(
        ellipse(x, y, 0.0, 0.12, 0.55, 0.38),
        ellipse(x, y, 0.5, -0.22, 0.32, 0.3),
        polygon(x, y, (-0.95, -0.12), (-0.35, 0.02), (-0.4, 0.34), (-0.98, 0.3)),
    )
    wing = capsule(x, y, 0.05, 0.05, -0.3, 0.05 - 0.72 * beat, 0.19)
    return [
        (polygon(x, y, (0.72, -0.36), (1.02, -0.16), (0.72, -0.04)), (0.98, 0.62, 0.12)),
        (body, "coat"),
        (wing, "dark"),
        (ellipse(x, y, 0.58, -0.28, 0.09, 0.1), INK),
    ]


def car(x, y, gait, phase) -> list[Layer]:
    """From the side: a cabin with a window, a headlight, and wheels whose spoke turns."""
    body = union(box(x, y, 0, 0.22, 0.98, 0.28, 0.12), box(x, y, -0.12, -0.2, 0.56, 0.34, 0.16))
    wheels, spokes = [], []
    for centre in (-0.52, 0.52):
        wheels.append(ellipse(x, y, centre, 0.5, 0.29, 0.29))
        dx, dy = 0.2 * torch.cos(phase), 0.2 * torch.sin(phase)
        spokes.append(capsule(x, y, centre - dx, 0.5 - dy, centre + dx, 0.5 + dy, 0.06))
    return [
        (body, "coat"),
        (box(x, y, -0.12, -0.22, 0.38, 0.2, 0.06), (0.78, 0.92, 0.98)),
        (ellipse(x, y, 0.88, 0.16, 0.1, 0.1), (1.0, 0.93, 0.55)),
        (union(*wheels), INK),
        (union(*spokes), (0.82, 0.82, 0.85)),
    ]


def ball(x, y, gait, phase) -> list[Layer]:
    """The ball that is played with: half white, half red, and it turns."""
    dx, dy = torch.cos(phase), torch.sin(phase)
    disc = ellipse(x, y, 0, 0, 0.9, 0.9)
    half = torch.maximum(x * dy - y * dx, disc)
    return [(disc, WHITE), (half, (0.95, 0.25, 0.2))]


#: Every drawable thing. The first layer of each also gives its dark outline.
SPRITES: dict[str, Callable[..., list[Layer]]] = {
    f.__name__: f for f in (circle, square, triangle, star, heart, puppy, kitten, bird, car, ball)
}
