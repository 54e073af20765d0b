"""The renderer: what moves, moves as the scene says; clips follow from (seed, index); every subject stands out."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from t2vlearn.world.paths import UNIFORMS, find_paths
from t2vlearn.world.places import BACKGROUNDS
from t2vlearn.world.render import RGB, render
from t2vlearn.world.scenes import ACTIONS, COLOURS, PLACES, SIZES, SUBJECTS, Actor, Scene, sample_scenes

SIZE = 64
SAMPLE = [*sample_scenes(10, "train"), *sample_scenes(10, "two_actors")]
#: A circle is the same from all sides, a puppy has moving legs, a car has none of its colour at the bottom.
SHAPES = ("circle", "puppy", "car")
U = np.linspace(0, 1, 16)


def one(action, subject="circle", colour="blue", size="small", place="plain"):
    return Scene((Actor(subject, colour, size, action),), place)


def empty(place, index, size=SIZE, seed=0):
    """A place without actors (3, h, w), as the clip of this number has it."""
    r = torch.tensor(np.random.default_rng((seed, index)).random((3, UNIFORMS))[2, :3], dtype=torch.float32)
    centres = (torch.arange(size) + 0.5) / size
    return BACKGROUNDS[place](centres.view(1, 1, -1), centres.view(1, -1, 1), r.view(3, 1, 1, 1), 1 / size)[0] * 2 - 1


def distance(clip, colour):
    """Distance in RGB (0 to sqrt(3)) of each pixel (f, h, w) from a colour or a picture in [-1, 1]."""
    colour = torch.as_tensor(colour, dtype=torch.float32)
    return ((clip - (colour.view(3, 1, 1, 1) if colour.dim() == 1 else colour.unsqueeze(1))) / 2).norm(dim=0)


def track(mask):
    """Centre x, y and area of a mask (f, h, w), in units of the frame."""
    centres, n = (torch.arange(mask.shape[-1]) + 0.5) / mask.shape[-1], mask.sum((1, 2))
    x, y = (mask * centres).sum((1, 2)) / n, (mask * centres[:, None]).sum((1, 2)) / n
    return x.numpy(), y.numpy(), n.numpy() / mask.shape[-1] ** 2


def paths(action, subject, indices=range(4), size="small"):
    """The track of the subject in a few clips."""
    clips = render([one(action, subject, size=size)] * len(indices), start=indices[0], size=SIZE)
    return [track(distance(clip, empty("plain", i)) > 0.1) for clip, i in zip(clips, indices)]


def ball_pixels(clip):
    return distance(clip, [2 * v - 1 for v in (0.95, 0.25, 0.2)]) < 0.05


# ------------------------------------------------------------------ what a clip depends on


@pytest.mark.parametrize(("size", "frames"), [(32, 16), (64, 5), (48, 1)])
def test_clips_are_numbers_in_range(size, frames):
    clips = render(SAMPLE[:3], frames, size)
    assert clips.shape == (3, 3, frames, size, size) and clips.dtype == torch.float32 and clips.is_contiguous()
    assert clips.min() >= -1 and clips.max() <= 1 and clips.std() > 0.1


def test_a_clip_depends_on_its_scene_seed_and_number_alone():
    clips = render(SAMPLE, size=32, seed=3)
    assert torch.equal(render(SAMPLE, size=32, seed=3), clips)
    assert torch.equal(render(SAMPLE[:4], size=32, seed=3), clips[:4])
    assert torch.equal(render(SAMPLE[7:12], size=32, seed=3, start=7), clips[7:12])
    for i in (0, 9, 15):
        assert torch.equal(render([SAMPLE[i]], size=32, seed=3, start=i), clips[i : i + 1])
    other = render(SAMPLE, size=32, seed=4)
    again = render(SAMPLE, size=32, seed=3, start=1)
    for i in range(len(SAMPLE)):
        assert not torch.equal(other[i], clips[i]) and not torch.equal(again[i], clips[i])


def test_a_path_may_be_changed_without_changing_the_next_clip():
    scenes = [one("plays with a ball"), one("moves right")]
    clips = render(scenes, size=32, seed=3)
    for (path,) in find_paths(scenes, seed=3):
        for value in (*path[:3], *(path.ball or ())):
            value += 0.3
    assert torch.equal(render(scenes, size=32, seed=3), clips)


def test_some_frames_are_those_of_the_whole_clip():
    clips = render(SAMPLE, size=32)
    for frames in ([0, 5, 10, 15], [3], [9, 2]):
        assert torch.equal(render(SAMPLE, size=32, frames=frames), clips[:, :, frames])


def test_a_clip_of_fewer_frames_spans_the_same_motion():
    assert torch.equal(render(SAMPLE, 4, 32), render(SAMPLE, 16, 32, frames=[0, 5, 10, 15]))


def test_one_description_serves_every_size():
    large, small = render(SAMPLE, 16, 64, frames=[0, 6, 15]), render(SAMPLE, 16, 32, frames=[0, 6, 15])
    error = (F.avg_pool3d(large, (1, 2, 2)) - small).abs()
    assert error.mean() < 0.01 and error.mean((1, 2, 3, 4)).max() < 0.02
    assert (error > 0.25).float().mean() < 0.002


@pytest.mark.parametrize("place", PLACES)
def test_the_place_stands_still_behind_the_subject(place):
    clips = render([one("moves right", place=place)] * 3, size=SIZE)
    for i, clip in enumerate(clips):
        seen = distance(clip, empty(place, i)) > 0.02
        x, y, area = (torch.tensor(value).view(-1, 1, 1) for value in track(seen))
        centres = (torch.arange(SIZE) + 0.5) / SIZE
        away = ((centres - x) ** 2 + (centres[:, None] - y) ** 2).sqrt()
        assert (area > 0.03).all() and away[seen].max() < 0.2  # nothing changes but the disc itself


# ------------------------------------------------------------------ actions


@pytest.mark.parametrize("subject", SHAPES)
@pytest.mark.parametrize(
    ("action", "along", "sign"),
    [("moves left", 0, -1), ("moves right", 0, 1), ("moves up", 1, -1), ("moves down", 1, 1)],
)
def test_moves_go_straight_and_evenly(action, along, sign, subject):
    for path in paths(action, subject):
        position, other = path[along], path[1 - along]
        slope, start = np.polyfit(U, position, 1)
        assert 0.4 < sign * slope < 0.75
        np.testing.assert_allclose(position, slope * U + start, atol=0.02)
        assert other.std() < 0.01


@pytest.mark.parametrize("subject", SHAPES)
@pytest.mark.parametrize(("action", "sign"), [("circles clockwise", 1), ("circles counter-clockwise", -1)])
def test_circles_turn_their_way_round(action, sign, subject):
    """y points down: clockwise on the screen is from the right (angle 0) to the bottom (angle 90 degrees)."""
    for x, y, _ in paths(action, subject):
        # (x - a)^2 + (y - b)^2 = r^2 is linear in a, b and r^2 - a^2 - b^2.
        a, b, c = np.linalg.lstsq(np.stack([2 * x, 2 * y, np.ones(16)], 1), x**2 + y**2, rcond=None)[0]
        radius = np.sqrt(c + a**2 + b**2)
        assert 0.2 < radius < 0.4
        np.testing.assert_allclose(np.hypot(x - a, y - b), radius, atol=0.03)
        angle = np.unwrap(np.arctan2(y - b, x - a))
        np.testing.assert_allclose(angle - angle[0], sign * 2 * np.pi * U * 15 / 16, atol=0.15)


@pytest.mark.parametrize("subject", SHAPES)
def test_a_jump_is_a_parabola(subject):
    for x, y, _ in paths("jumps", subject):
        fall, _, start = curve = np.polyfit(U, y, 2)
        np.testing.assert_allclose(np.polyval(curve, U), y, atol=0.012)
        assert -curve[1] / (2 * fall) == pytest.approx(0.5, abs=0.02)  # the top is halfway
        assert fall > 1 and start > 0.6 and y.min() < start - 0.25  # y points down: up from the ground, and back
        assert x.std() < 0.01


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize(("action", "ratio"), [("grows", 4), ("shrinks", 1 / 4)])
def test_growing_doubles_the_height_and_shrinking_halves_it(action, ratio, subject):
    for x, y, area in paths(action, subject, range(2)):
        assert area[-1] / area[0] == pytest.approx(ratio, rel=0.25)
        half = area[8] / area[0]
        assert 1.5 < (half if ratio > 1 else 1 / half) < 3
        assert np.hypot(x - x[0], y - y[0]).max() < 0.05


@pytest.mark.parametrize("action", [a for a in ACTIONS if a not in ("grows", "shrinks", "plays with a ball")])
@pytest.mark.parametrize("size", SIZES)
def test_a_circle_keeps_its_size_and_is_never_cut_off(action, size):
    for _, _, area in paths(action, "circle", range(6), size):
        np.testing.assert_allclose(area, area[0], rtol=0.04)


def test_big_is_bigger_than_small():
    for subject in SUBJECTS:
        small, big = ([area.mean() for _, _, area in paths("jumps", subject, range(2), size)] for size in SIZES)
        assert min(big) > 1.7 * max(small)


def test_the_ball_is_there_when_somebody_plays_and_only_then():
    for subject, place in zip(SUBJECTS, PLACES * 2):
        for i, clip in enumerate(render([one(a, subject, place=place) for a in ACTIONS], frames=[0, 5, 9, 15])):
            seen = ball_pixels(clip).sum((1, 2))
            assert (seen > 10).all() if ACTIONS[i] == "plays with a ball" else not seen.any(), (subject, ACTIONS[i])


@pytest.mark.parametrize("subject", SHAPES)
def test_playing_is_a_ball_that_goes_out_and_back_and_a_player_who_hops_on_the_spot(subject):
    coat = [2 * v - 1 for v in RGB["blue"]]
    for clip in render([one("plays with a ball", subject)] * 6):
        ball_x, ball_y, _ = track(ball_pixels(clip))
        x, y, _ = track(distance(clip, coat) < 0.08)
        assert np.ptp(ball_x) > 0.25 and np.ptp(ball_y) > 0.2
        assert np.ptp(x) < 0.05 and 0.02 < np.ptp(y) < 0.12
        assert (np.sign(ball_x - x) == np.sign(ball_x[0] - x[0])).all()  # on one side all the time
        assert ball_x[0] == pytest.approx(ball_x[-1], abs=0.06)  # the way out and the way back are alike
        turns = (np.diff(np.sign(np.diff(ball_y))) != 0).sum()
        assert 5 <= turns <= 9  # four bounces


@pytest.mark.parametrize("subject", ["puppy", "bird", "car"])
def test_who_runs_looks_where_it_goes(subject):
    """Eye and nose, or the headlight, are in front of the middle of the coat."""
    mark = {"car": (1.0, 0.93, 0.55), "puppy": (0.13, 0.11, 0.14), "bird": (0.98, 0.62, 0.12)}[subject]
    for action, sign in (("moves right", 1), ("moves left", -1)):
        for clip in render([one(action, subject, colour="purple", size="big")] * 3):
            front = track(distance(clip, [2 * v - 1 for v in mark]) < 0.06)[0]
            middle = track(distance(clip, [2 * v - 1 for v in RGB["purple"]]) < 0.06)[0]
            assert (sign * (front - middle) > 0.03).all()


# ------------------------------------------------------------------ two actors


def test_two_actors_are_both_seen_and_each_does_its_own():
    actors = (Actor("circle", "red", "small", "moves right"), Actor("square", "blue", "small", "moves left"))
    for clip in render([Scene(actors, "plain")] * 3):
        for actor, sign in zip(actors, (1, -1)):
            x, y, _ = track(distance(clip, [2 * v - 1 for v in RGB[actor.colour]]) < 0.06)
            assert sign * np.polyfit(U, x, 1)[0] > 0.4 and y.std() < 0.01
    for clip in render([Scene((actors[0], Actor("heart", "green", "big", "grows")), "snow")] * 3):
        area = track(distance(clip, [2 * v - 1 for v in RGB["green"]]) < 0.06)[2]
        assert area[-1] > 2 * area[0]


def test_neither_of_two_actors_is_ever_hidden():
    scenes = [s for s in sample_scenes(60, "two_actors") if s.actors[0].colour != s.actors[1].colour]
    for scene, clip in zip(scenes, render(scenes, size=SIZE, frames=[0, 5, 9, 15])):
        for actor in scene.actors:
            seen = (distance(clip, [2 * v - 1 for v in RGB[actor.colour]]) < 0.06).sum((1, 2))
            assert seen.min() >= 5, scene


# ------------------------------------------------------------------ readability


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("place", PLACES)
def test_every_subject_of_every_colour_stands_out(place, size):
    """The coat differs from the place behind it, and from every other colour; the whole subject is large enough."""
    scenes = [one("moves up", s, c, place=place) for s, c in product(SUBJECTS, COLOURS)]
    for i, (scene, clip) in enumerate(zip(scenes, render(scenes, size=size, frames=[0, 6, 12]))):
        contrast = distance(clip, empty(place, i, size))
        coat = distance(clip, [2 * v - 1 for v in RGB[scene.actors[0].colour]]) < 0.06
        assert coat.sum((1, 2)).min() >= (40 if size == 64 else 2), scene
        assert contrast[coat].min() > 0.3, scene
        assert contrast[contrast > 0.05].mean() > 0.25, scene
        assert (contrast > 0.1).float().mean() > 0.025, scene


def test_colours_can_be_told_apart():
    for first, second in product(COLOURS, repeat=2):
        if first != second:
            assert np.linalg.norm(np.subtract(RGB[first], RGB[second])) > 0.3


@pytest.mark.parametrize("frames", [[], [-1], [0, 16]])
def test_frames_that_a_clip_does_not_have_are_refused(frames):
    with pytest.raises(ValueError, match="from 0 to 15"):
        render(sample_scenes(1), 16, 16, frames=frames)
