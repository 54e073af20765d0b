"""Longer video: segments that begin where the one before ended."""

import itertools

import numpy as np
import pytest
import torch

from t2vlearn.errors import UserError
from t2vlearn.long import generate_long


@pytest.fixture
def pipe(smallest_pipeline):
    return smallest_pipeline


STORY = ["a red star jumps", "a red star moves left"]


def joined(pipe, stories=(STORY,), **options):
    return np.concatenate(list(generate_long(pipe, list(stories), num_inference_steps=2, **options)), axis=1)


def test_the_first_piece_has_sixteen_frames_and_each_further_one_fifteen(pipe):
    pieces = list(generate_long(pipe, [STORY], 4, num_inference_steps=1))
    assert [piece.shape for piece in pieces] == [(1, n, 16, 16, 3) for n in (16, 15, 15, 15)]
    assert all(piece.dtype == np.uint8 for piece in pieces)
    assert joined(pipe).shape[1] == 31  # one segment for each prompt


def test_the_first_segment_is_the_clip_of_its_prompt(pipe):
    alone = pipe(STORY[0], num_inference_steps=2, seed=5).frames
    assert np.array_equal(joined(pipe, seed=5)[:, :16], alone)


def test_a_given_last_frame_is_the_next_clips_first_image(pipe):
    """Start level 0 is `image=`, only that the frame's latents are handed on and not its pixels."""
    seen = []
    decode = pipe.visual_encoder.codec.decode
    pipe.visual_encoder.codec.decode = lambda z: seen.append(z) or decode(z)
    try:
        joined(pipe, start_level=0.0, seed=1)
    finally:
        del pipe.visual_encoder.codec.decode
    whole = [z for z in seen if z.dim() == 5]  # a clip is decoded frame by frame
    last, following = whole[0][:, :, -1], whole[1]
    latents, key_noise = pipe.initial_noise([1 + 1_000_003])
    text, null = pipe.encode_prompt([STORY[1]])
    key_noise[:, :, 0] = last
    known = torch.tensor([[True, False, False, False]])
    keys = pipe.visual_encoder.generate(pipe.diffusion, text, null, key_noise, 2, 3.0, known)
    assert torch.equal(keys[:, :, 0], last)
    latents[:, :, pipe.keyframe_numbers] = keys
    known = torch.zeros(1, 16, dtype=torch.bool)
    known[:, pipe.keyframe_numbers] = True
    expected = pipe.video_generator.generate(pipe.diffusion, text, null, latents, known, 2, 1.0)
    torch.testing.assert_close(following, expected[:, :, 1:])


def test_a_segment_depends_on_the_one_before_unless_all_is_forgotten(pipe):
    other = [["a blue circle grows", STORY[1]]]
    for level, linked in ((0.0, True), (0.3, True), (1.0, False)):
        second = [joined(pipe, stories, start_level=level)[:, 16:] for stories in ([STORY], other)]
        assert np.array_equal(*second) != linked


def test_videos_made_side_by_side_are_those_made_alone(pipe):
    two = joined(pipe, [STORY, STORY[::-1]], seed=3)
    alone = [joined(pipe, [story], seed=3 + i) for i, story in enumerate([STORY, STORY[::-1]])]
    assert np.abs(two.astype(int) - np.concatenate(alone)).max() <= 1


def test_it_goes_on_for_as_long_as_one_looks(pipe):
    pieces = generate_long(pipe, [STORY], 10**9, num_inference_steps=1)
    assert len(list(itertools.islice(pieces, 3))) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stories": []}, "at least one prompt"),
        ({"stories": [STORY, []]}, "at least one prompt"),
        ({"stories": STORY}, "lists of prompts"),
        ({"stories": STORY[0]}, "lists of prompts"),
        ({"start_level": 1.5}, "from 0"),
        ({"start_level": float("nan")}, "from 0"),
        ({"stories": [["xyzzy"]]}, "no word"),
        ({"stories": [[*STORY, "puppy " * 49]]}, "49 words"),
        ({"num_segments": 0}, "segments"),
        ({"num_inference_steps": 0}, "steps"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_line(pipe, options, message):
    options = {"stories": [STORY]} | options
    with pytest.raises(UserError, match=message) as error:
        next(generate_long(pipe, **options))
    assert "\n" not in str(error.value)
