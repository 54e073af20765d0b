"""The visual encoder: key frames from encoded text, around those that are given."""

import pytest
import torch

from t2vlearn.denoiser import guided
from t2vlearn.pipeline import TextToVideoPipeline


def pipeline(seed=0):
    torch.manual_seed(seed)
    pipe = TextToVideoPipeline(size=16, dim=16, depth=1, num_heads=2, text_depth=1, latent_channels=4, width=8, convs=2)
    for parameter in pipe.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return pipe


@torch.no_grad()
def draw(pipe, known=None, noise=None, scale=3.0, prompts=("a red star", "a puppy"), steps=3, **options):
    text, null = pipe.encode_prompt(list(prompts))
    noise = (
        torch.randn(len(prompts), 4, 4, 4, 4, generator=torch.Generator().manual_seed(1)) if noise is None else noise
    )
    return pipe.visual_encoder.generate(pipe.diffusion, text, null, noise, steps, scale, known, **options)


def test_key_frames_stand_at_their_times():
    encoder = pipeline().visual_encoder
    torch.testing.assert_close(encoder.keyframe_times, torch.tensor([0, 5, 10, 15]) / 15)


def test_every_caption_gets_its_key_frames_and_they_follow_noise_and_words():
    pipe = pipeline()
    out = draw(pipe)
    assert out.shape == (2, 4, 4, 4, 4) and out.isfinite().all()
    torch.testing.assert_close(draw(pipe, prompts=["a puppy"], noise=torch.randn(
        2, 4, 4, 4, 4, generator=torch.Generator().manual_seed(1))[1:]), out[1:], atol=1e-4, rtol=1e-4)  # fmt: skip
    assert (draw(pipe, noise=torch.randn(2, 4, 4, 4, 4)) - out).abs().max() > 1e-3
    assert (draw(pipe, prompts=("a blue car", "a puppy")) - out)[0].abs().max() > 1e-3


def test_given_key_frames_stay_and_change_the_others():
    pipe, known = pipeline(), torch.tensor([[True, False, False, True]] * 2)
    noise = torch.randn(2, 4, 4, 4, 4)
    out, other = draw(pipe, known, noise), noise.clone()
    assert torch.equal(out[:, :, [0, 3]], noise[:, :, [0, 3]])
    other[:, :, 0] += 1
    assert (draw(pipe, known, other) - out)[:, :, [1, 2]].abs().max() > 1e-4


def test_where_all_key_frames_are_given_nothing_is_computed():
    noise, steps = torch.randn(2, 4, 4, 4, 4), []
    out = draw(pipeline(), torch.ones(2, 4, dtype=torch.bool), noise, on_step=lambda i, _: steps.append(i))
    assert torch.equal(out, noise) and steps == []


@torch.no_grad()
@pytest.mark.parametrize(("steps", "half"), [(1, 0), (2, 1), (5, 2)])
def test_half_of_the_steps_draw_the_first_key_frame_and_the_rest_are_drawn_around_it(steps, half):
    pipe, noise, seen = pipeline(), torch.randn(2, 4, 4, 4, 4), []
    out = draw(pipe, noise=noise, steps=steps, on_step=lambda i, x_0: seen.append((i, x_0)))
    text, null = pipe.encode_prompt(["a red star", "a puppy"])
    times, x, given = (
        pipe.visual_encoder.keyframe_times.expand(2, -1),
        noise.clone(),
        torch.zeros(2, 4, dtype=torch.bool),
    )
    for number, levels in enumerate(
        [[1 - i / half for i in range(half)], [1 - i / (steps - half) for i in range(steps - half)]]
    ):
        for i, tau in enumerate(levels):
            then = levels[i + 1] if i + 1 < len(levels) else 0.0
            at = torch.full((2, 4), tau).masked_fill(given, 0.0)
            x_0 = guided(pipe.visual_encoder.denoiser, times, text, null, 3.0, given)(x, at)
            x = torch.where(given[:, None, :, None, None], x, x_0 + then / tau * (x - x_0))  # Euler's step
        if number == 0 and half:
            x, given = torch.cat([x[:, :, :1], noise[:, :, 1:]], dim=2), torch.tensor([[True, False, False, False]] * 2)
    torch.testing.assert_close(out, x)
    assert [i for i, _ in seen] == list(range(1, steps + 1))
    assert all(torch.equal(x_0[:, :, 0], out[:, :, 0]) for i, x_0 in seen if half and i >= half)
