"""Places: still backgrounds, drawn once a clip. Pale, so that every subject colour stands out."""

from __future__ import annotations

import torch
from torch import Tensor

from t2vlearn.world.sprites import box, coverage, ellipse, polygon, union


def _paint(image: Tensor, alpha: Tensor, rgb: tuple[float, float, float]) -> None:
    """image <- (1 - alpha) image + alpha rgb, in place. Shapes (n, 3, h, w) and (n, h, w)."""
    colour = torch.tensor(rgb, dtype=image.dtype, device=image.device).view(1, 3, 1, 1)
    image.lerp_(colour.expand_as(image), alpha.unsqueeze(1).expand_as(image))


def _fill(x: Tensor, y: Tensor, rgb: tuple[float, float, float]) -> Tensor:
    image = torch.empty(x.shape[0], 3, y.shape[1], x.shape[2], dtype=x.dtype, device=x.device)
    return image.copy_(torch.tensor(rgb, dtype=x.dtype, device=x.device).view(1, 3, 1, 1))


def _below(y: Tensor, horizon: Tensor, pixel: float, x: Tensor) -> Tensor:
    return coverage(horizon - y, pixel).expand(-1, -1, x.shape[2])


def _discs(x: Tensor, y: Tensor, centres: tuple[tuple[float, float], ...], radius: float) -> Tensor:
    """Signed distance to the union of discs."""
    cx, cy = torch.tensor(centres, dtype=x.dtype, device=x.device).T[..., None, None, None]
    return ellipse(x, y, cx, cy, radius, radius).amin(0)


def park(x: Tensor, y: Tensor, u: Tensor, pixel: float) -> Tensor:
    """Sky, grass and one round tree."""
    image = _fill(x, y, (0.70, 0.88, 0.98))
    _paint(image, _below(y, 0.52 + 0.06 * u[0], pixel, x), (0.66, 0.86, 0.50))
    side = 0.12 + 0.76 * (u[1] > 0.5).to(x.dtype) + 0.06 * (u[2] - 0.5)
    _paint(image, coverage(box(x - side, y, 0, 0.5, 0.03, 0.14), pixel), (0.50, 0.36, 0.24))
    crown = union(ellipse(x - side, y, 0, 0.24, 0.13, 0.13), ellipse(x - side, y, 0, 0.34, 0.16, 0.1))
    _paint(image, coverage(crown, pixel), (0.40, 0.68, 0.40))
    return image


def beach(x: Tensor, y: Tensor, u: Tensor, pixel: float) -> Tensor:
    """Sky with a sun, a band of sea, sand."""
    image = _fill(x, y, (0.82, 0.94, 1.0))
    _paint(image, _below(y, 0.38 + 0.05 * u[0], pixel, x), (0.42, 0.74, 0.88))
    _paint(image, _below(y, 0.58 + 0.05 * u[0], pixel, x), (0.97, 0.89, 0.70))
    side = 0.14 + 0.72 * (u[1] > 0.5).to(x.dtype)
    _paint(image, coverage(ellipse(x - side, y, 0, 0.15, 0.09, 0.09), pixel), (1.0, 0.86, 0.42))
    return image


def night(x: Tensor, y: Tensor, u: Tensor, pixel: float) -> Tensor:
    """Dark sky with a crescent moon and stars, dark ground."""
    image = _fill(x, y, (0.10, 0.11, 0.27))
    _paint(image, _below(y, 0.76 + 0.06 * u[0], pixel, x), (0.17, 0.20, 0.31))
    side = 0.15 + 0.7 * (u[1] > 0.5).to(x.dtype)
    moon = torch.maximum(ellipse(x - side, y, 0, 0.16, 0.1, 0.1), -ellipse(x - side, y, 0.05, 0.13, 0.085, 0.085))
    _paint(image, coverage(moon, pixel), (0.98, 0.95, 0.75))
    spots = ((0.33, 0.11), (0.5, 0.28), (0.67, 0.11), (0.08, 0.42), (0.92, 0.42))
    _paint(image, coverage(_discs(x, y, spots, 0.02), pixel), (0.85, 0.88, 1.0))
    return image


def snow(x: Tensor, y: Tensor, u: Tensor, pixel: float) -> Tensor:
    """Grey sky, white ground, a snowy fir."""
    image = _fill(x, y, (0.72, 0.79, 0.87))
    _paint(image, _below(y, 0.58 + 0.06 * u[0], pixel, x), (0.97, 0.98, 1.0))
    side = 0.13 + 0.74 * (u[1] > 0.5).to(x.dtype) + 0.06 * (u[2] - 0.5)
    for top, half in ((0.12, 0.10), (0.26, 0.15)):
        fir = polygon(x - side, y, (0.0, top), (half, top + 0.26), (-half, top + 0.26))
        _paint(image, coverage(fir, pixel), (0.45, 0.58, 0.58))
        cap = polygon(x - side, y, (0.0, top), (half * 0.4, top + 0.1), (-half * 0.4, top + 0.1))
        _paint(image, coverage(cap, pixel), (0.97, 0.98, 1.0))
    spots = ((0.3, 0.1), (0.52, 0.22), (0.7, 0.08), (0.42, 0.42), (0.62, 0.42))
    _paint(image, coverage(_discs(x, y, spots, 0.022), pixel), (0.97, 0.98, 1.0))
    return image


def plain(x: Tensor, y: Tensor, u: Tensor, pixel: float) -> Tensor:
    """An empty light-grey page."""
    return _fill(x, y, (0.88, 0.88, 0.86))


#: Every place: (x (n, 1, w), y (n, h, 1) in [0, 1], u (3, n, 1, 1) uniform numbers, pixel width) -> (n, 3, h, w) in [0, 1].
BACKGROUNDS = {f.__name__: f for f in (park, beach, night, snow, plain)}
