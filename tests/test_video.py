"""The video generator: the frames that are not given are filled in around those that are."""

import pytest
import torch


@pytest.fixture
def pipe(smallest_pipeline):
    return smallest_pipeline


@torch.no_grad()
def fill(pipe, frames, given, seen=None):
    text, null = pipe.encode_prompt(["a red star"])
    known = torch.zeros(1, 16, dtype=torch.bool)
    known[:, given] = True
    on_step = None if seen is None else lambda i, x: seen.append(x)
    return pipe.video_generator.generate(pipe.diffusion, text, null, frames, known, 3, 1.0, on_step=on_step)


def test_frames_have_even_times(pipe):
    torch.testing.assert_close(pipe.video_generator.times, torch.arange(16) / 15)


@pytest.mark.parametrize("given", [[], [0], [0, 15], [0, 5, 10, 15], [0, 1, 2, 3]], ids=len)
def test_whatever_is_given_comes_back_and_the_rest_is_drawn(pipe, given):
    frames, seen = torch.randn(1, 4, 16, 4, 4), []
    out = fill(pipe, frames, given, seen)
    rest = [i for i in range(16) if i not in given]
    assert out.shape == frames.shape and len(seen) == 3
    assert torch.equal(out[:, :, given], frames[:, :, given])
    assert not (out[:, :, rest] == frames[:, :, rest]).any()


def test_a_given_frame_changes_the_others(pipe):
    frames = torch.randn(1, 4, 16, 4, 4)
    other = frames.clone()
    other[:, :, 5] += 1
    change = (fill(pipe, other, [0, 5]) - fill(pipe, frames, [0, 5])).abs().amax((0, 1, 3, 4))
    assert change[0] == 0 and (change[[4, 6, 15]] > 1e-5).all()
