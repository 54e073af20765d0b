"""Shapes from signed distances have the areas that geometry gives them, at every resolution."""

import math

import pytest
import torch

from t2vlearn.world.sprites import SPRITES, box, capsule, coverage, ellipse, polygon, union


def grid(pixels):
    centres = ((torch.arange(pixels, dtype=torch.float64) + 0.5) / pixels) * 4 - 2
    return centres.view(1, 1, 1, -1), centres.view(1, 1, -1, 1), 4 / pixels


def area(shape, pixels=128):
    x, y, pixel = grid(pixels)
    return float(coverage(shape(x, y).expand(1, 1, pixels, pixels).clone(), pixel).sum()) * pixel**2


def shoelace(corners):
    return abs(sum(ax * by - bx * ay for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1]))) / 2


TRIANGLE = ((0.0, -0.95), (0.98, 0.78), (-0.98, 0.78))


@pytest.mark.parametrize("pixels", [32, 64, 200])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (lambda x, y: ellipse(x, y, 0.1, -0.2, 0.9, 0.9), math.pi * 0.9**2),
        (lambda x, y: ellipse(x, y, 0, 0, 0.9, 0.6), math.pi * 0.9 * 0.6),
        (lambda x, y: box(x, y, 0.05, 0, 0.7, 0.4), 4 * 0.7 * 0.4),
        (lambda x, y: box(x, y, 0, 0, 0.7, 0.4, 0.2), 4 * 0.7 * 0.4 - (4 - math.pi) * 0.2**2),
        (lambda x, y: capsule(x, y, -0.5, -0.3, 0.7, 0.6, 0.3), 2 * 0.3 * 1.5 + math.pi * 0.3**2),
        (lambda x, y: polygon(x, y, *TRIANGLE), shoelace(TRIANGLE)),
        (
            lambda x, y: union(ellipse(x, y, -0.8, 0, 0.5, 0.5), ellipse(x, y, 0.8, 0, 0.5, 0.5)),
            2 * math.pi * 0.5**2,
        ),
    ],
    ids=["circle", "ellipse", "box", "round box", "capsule", "triangle", "union"],
)
def test_shapes_cover_their_area(shape, expected, pixels):
    assert area(shape, pixels) == pytest.approx(expected, rel=0.03)


def test_distances_are_distances():
    """How far some points are from the edges, inside negative."""
    x, y = torch.tensor([0.0, 2.0, 3.0, -1.0]), torch.tensor([0.0, 0.0, 4.0, 0.0])
    torch.testing.assert_close(ellipse(x, y, 0, 0, 1, 1), torch.tensor([-1.0, 1.0, 4.0, 0.0]))
    torch.testing.assert_close(box(x, y, 0, 0, 1.0, 2.0), torch.tensor([-1.0, 1.0, math.sqrt(8), 0.0]))
    torch.testing.assert_close(capsule(x, y, 0, 0, 2, 0, 0.5), torch.tensor([-0.5, -0.5, math.sqrt(17) - 0.5, 0.5]))


def test_coverage_is_the_share_of_the_pixel_that_lies_inside():
    d = torch.tensor([-1.0, -0.25, 0.0, 0.25, 1.0])
    assert coverage(d, 0.5).tolist() == [1, 1, 0.5, 0, 0]
    assert coverage(d, 1.0).tolist() == [1, 0.75, 0.5, 0.25, 0]


def test_the_star_has_five_spikes():
    corners = [(r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5)) for i, r in enumerate([0.99, 0.47] * 5)]
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    assert area(lambda x, y: SPRITES["star"](x, y, zero, zero)[0][0]) == pytest.approx(shoelace(corners), rel=0.02)


@pytest.mark.parametrize("name", SPRITES)
def test_a_sprite_fits_its_box_and_only_the_living_and_the_wheeled_move(name):
    x, y, pixel = grid(128)

    def drawn(phase):
        turn = torch.tensor(phase, dtype=torch.float64).view(1, 1, 1, 1)
        layers = SPRITES[name](x, y, torch.sin(turn), turn)
        return torch.stack([coverage(d.expand(1, 1, 128, 128).clone(), pixel)[0, 0] for d, _ in layers])

    still, later = drawn(0.0), drawn(1.5)
    inside = (x.abs() <= 1.12) & (y.abs() <= 1.12)
    for picture in (still, later):
        assert not picture.amax(0)[~inside[0, 0]].any()
        assert picture.amax(0).sum() * pixel**2 > 1
    moves = not torch.equal(still, later)
    assert moves == (name in ("puppy", "kitten", "bird", "car", "ball"))
