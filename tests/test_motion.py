"""The reader of positions against the renderer's own paths, and the laws against motions that keep or break them."""

import numpy as np
import pytest

from t2vlearn.motion import ground, move_on, residual, track, velocity_error
from t2vlearn.pipeline import to_uint8
from t2vlearn.world import Actor, Scene, draw_places, find_paths, render

SIZE = 32


def clip(action, subject="square", place="plain", size="small", index=0):
    """A rendered clip uint8 (f, h, w, 3) and the true centres (f, 2)."""
    scene = [Scene((Actor(subject, "blue", size, action),), place)]
    ((path,),) = find_paths(scene, 16, seed=1, start=index)
    frames = to_uint8(render(scene, 16, SIZE, seed=1, start=index))[0]
    return frames, np.stack([path.x, path.y], 1), path.size.numpy()


@pytest.mark.parametrize("action", ["moves left", "moves down", "circles clockwise", "jumps"])
@pytest.mark.parametrize("subject", ["circle", "square"])
def test_the_centre_is_read_finer_than_a_pixel(action, subject):
    for index in range(3):
        frames, true, _ = clip(action, subject, index=index)
        centres, _ = track(frames)
        apart = centres - true
        assert np.abs(apart - apart.mean(0)).max() * SIZE < 0.3  # its middle need not be its centre of area
        assert velocity_error(centres, true) * SIZE < 0.3


def test_the_size_follows_the_actor():
    frames, _, half = clip("grows", "circle")
    _, side = track(frames)
    assert np.ptp(side / half) < 0.1 * np.mean(side / half)


def test_an_actor_that_stands_still_is_seen_on_plain_ground():
    frames = np.repeat(clip("moves left")[0][:1], 16, axis=0)
    centres, side = track(frames)
    assert np.ptp(centres) < 1 and np.isfinite(side).all()
    assert np.abs(ground(frames) - np.median(frames, 0)).max() > 50  # which takes the actor for ground


def test_elsewhere_a_known_place_or_the_median_serves():
    scene = [Scene((Actor("circle", "red", "small", "moves right"),), "park")]
    frames, true = to_uint8(render(scene, 16, SIZE, seed=1))[0], find_paths(scene, 16, seed=1)[0][0].x.numpy()
    place = to_uint8(draw_places(scene, SIZE, seed=1).unsqueeze(2))[0, 0]
    assert np.abs(track(frames, place)[0][:, 0] - true).max() * SIZE < 0.3
    assert np.abs(track(frames)[0][:, 0] - true).max() * SIZE < 1  # less well, where the actor covers a pixel for long


def test_nothing_there_is_not_a_number():
    centres, side = track(np.full((3, 8, 8, 3), 200, np.uint8))
    assert np.isnan(centres).all() and np.isnan(side).all()
    assert np.isnan(residual(centres[:, 0], 1))


def test_laws():
    u = np.arange(16.0)
    assert residual(3 * u + 1, 1) < 1e-9 and residual(u**2, 2) < 1e-9 and residual(u**2, 1) > 10
    assert velocity_error(2 * u, 3 * u) == pytest.approx(1) and velocity_error(u + 5, u) == pytest.approx(0)
    path = np.stack([u, 2 * u], 1)
    assert velocity_error(path, path * 0) == pytest.approx(5**0.5)


def test_moving_on_is_where_uniform_motion_leads():
    frames, true, _ = clip("moves right")
    moved = move_on(frames[:4], [0, 5, 10, 15])
    assert moved.shape == (4, SIZE, SIZE, 3) and moved.dtype == np.uint8
    centres, _ = track(moved, ground(frames))
    assert np.abs(centres - true[[0, 5, 10, 15]]).max() * SIZE < 0.7


def test_nothing_cannot_move_on():
    with pytest.raises(ValueError, match="nothing stands out"):
        move_on(np.full((4, SIZE, SIZE, 3), 200, np.uint8), [0, 5])


def test_one_frame_shows_no_motion():
    with pytest.raises(ValueError, match="at least two"):
        move_on(np.zeros((1, SIZE, SIZE, 3), np.uint8), [0, 5])


def test_frames_need_not_be_square():
    frames, *_ = clip("moves down")
    wide = np.concatenate([frames, np.repeat(frames[:, :, -1:], SIZE, 2)], 2)
    assert np.array_equal(move_on(wide[:4], [5, 10])[:, :, :SIZE], move_on(frames[:4], [5, 10]))


def test_the_background_may_have_the_frames_kind():
    frames, *_ = clip("jumps")
    behind = ground(frames)
    np.testing.assert_allclose(track(frames, behind.round().astype(np.uint8))[0], track(frames, behind)[0], atol=2e-3)
