"""The frame codec: shapes, statistics of the latents, and that it learns to give back what it saw."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from t2vlearn.codec import NOISE_LEVEL, FrameCodec, ResidualConv, psnr, translate
from t2vlearn.pipeline import TextToVideoPipeline
from t2vlearn.world import render, sample_scenes


def frames(n=32, size=32):
    clips = render(sample_scenes(n // 4), 16, size, frames=[0, 5, 10, 15])
    return clips.transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize(("size", "down"), [(32, 2), (32, 4), (64, 8), (48, 4)])
def test_a_latent_cell_stands_for_a_square_of_pixels(size, down):
    codec = FrameCodec(latent_channels=6, down=down, width=16).eval()
    latents = codec.encode(torch.rand(2, 3, size, size))
    assert latents.shape == (2, 6, size // down, size // down)
    assert codec.decode(latents).shape == (2, 3, size, size)


@pytest.mark.parametrize("down", [0, 1, 3, 6, -2])
def test_a_cell_has_a_power_of_two_on_its_side(down):
    with pytest.raises(ValueError, match="power of two, at least 2"):
        FrameCodec(6, down, 16)


def test_a_clip_is_coded_frame_by_frame():
    codec, clips = FrameCodec(4, 4, 16).eval(), torch.rand(2, 3, 5, 32, 32)
    latents = codec.encode(clips)
    assert latents.shape == (2, 4, 5, 8, 8)
    decoded = codec.decode(latents)
    assert decoded.shape == clips.shape
    for i in range(2):
        for f in range(5):
            alone = codec.encode(clips[i : i + 1, :, f])
            torch.testing.assert_close(latents[i, :, f], alone[0])
            torch.testing.assert_close(decoded[i, :, f], codec.decode(alone)[0])


def test_moving_a_picture_by_one_cell_moves_its_latents_by_one_cell():
    """And a decoded one back, away from the border, where the convolutions see zeros."""
    codec, picture = FrameCodec(4, 4, 16).eval(), torch.rand(1, 3, 128, 128)
    for block in codec.modules():
        if isinstance(block, ResidualConv):
            torch.nn.init.normal_(block.conv_out.weight, std=0.05)
    latents = codec.encode(picture)
    moved = codec.encode(picture.roll((4, 8), (2, 3)))
    inside = (..., slice(14, 18), slice(14, 18))
    torch.testing.assert_close(moved[inside], latents.roll((1, 2), (2, 3))[inside], atol=1e-5, rtol=1e-4)
    inside = (..., slice(60, 68), slice(60, 68))
    decoded = codec.decode(latents).roll((4, 8), (2, 3))
    torch.testing.assert_close(codec.decode(moved)[inside], decoded[inside], atol=1e-5, rtol=1e-4)


def test_latents_have_zero_mean_and_unit_variance_in_training_and_later():
    torch.manual_seed(0)
    codec, batch = FrameCodec(4, 4, 16).train(), frames()
    for _ in range(2):
        latents = codec.encode(batch)
        torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
        torch.testing.assert_close(latents.var((0, 2, 3), unbiased=False), torch.ones(4), atol=1e-2, rtol=0)
    with torch.no_grad():
        for raw in [codec.encoder(batch[:4])] * 1500:  # the running statistics arrive, at momentum 0.01
            codec.normalise(raw)
    latents = codec.eval().encode(batch[:4])
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=0.02, rtol=0)
    torch.testing.assert_close(latents.var((0, 2, 3)), torch.ones(4), atol=0.05, rtol=0)


def test_blocks_start_as_the_identity():
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(ResidualConv(8)(x), x)


def test_psnr():
    x = torch.zeros(1, 3, 8, 8)
    assert float(psnr(x, x + 0.2)) == pytest.approx(20)  # (2 / 0.2)^2 = 10^2
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 3, 8, 8))
    expected = 20 * math.log10(255) - 10 * math.log10(np.mean((127.5 * x - 127.5 * y) ** 2))
    assert float(psnr(torch.tensor(x), torch.tensor(y))) == pytest.approx(expected)


def test_translating_by_whole_cells_moves_them_and_by_halves_mixes_them():
    x = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    moved = translate(x, torch.tensor([[2.0, -1.0], [0.0, 0.0]]))  # two to the right, one up; and not at all
    torch.testing.assert_close(moved[0, :, :5, 2:], x[0, :, 1:, :-2])
    torch.testing.assert_close(moved[0, :, 5, 2:], x[0, :, 5, :-2])  # the border goes on
    torch.testing.assert_close(moved[0, :, :5, 0], x[0, :, 1:, 0])
    torch.testing.assert_close(moved[1], x[1])
    half = translate(x, torch.tensor([[0.5, 0.0], [0.0, 0.25]]))
    torch.testing.assert_close(half[0, :, :, 1:], (x[0, :, :, 1:] + x[0, :, :, :-1]) / 2)
    torch.testing.assert_close(half[1, :, 1:], 0.75 * x[1, :, 1:] + 0.25 * x[1, :, :-1])


def test_the_loss_weighs_each_pixel_by_the_contrast_around_it():
    """One frame stays, the other moves by three pixels: three quarters of a latent cell."""
    torch.manual_seed(0)
    codec, x = FrameCodec(4, 4, 16).eval(), frames(8)[:2]
    noise = torch.randn(2, 4, 8, 8)
    latents = codec.encode(x)
    blend = 0.25 * latents[1] + 0.75 * torch.cat([latents[1, :, :, :1], latents[1, :, :, :-1]], dim=2)
    restored = codec.decode(torch.stack([latents[0], blend]) + NOISE_LEVEL * noise).detach().numpy()
    x_moved = torch.stack([x[0], torch.cat([x[1, :, :, :1].expand(3, 32, 3), x[1, :, :, :-3]], dim=2)])
    padded = F.pad(x_moved, (1, 1, 1, 1), mode="replicate").numpy()
    total = 0.0
    for b in range(2):
        for i in range(32):
            for j in range(32):
                around = padded[b, :, i : i + 3, j : j + 3]
                contrast = np.mean(around.max((1, 2)) - around.min((1, 2)))
                total += (1 + 4 * contrast) * np.abs(restored[b, :, i, j] - x_moved[b, :, i, j].numpy()).sum()
    loss = codec.loss(codec.encode(x), x, noise, torch.tensor([[0.0, 0.0], [3.0, 0.0]]))
    assert loss.item() == pytest.approx(total / x.numel(), rel=1e-5)


def test_it_learns_one_batch():
    torch.manual_seed(0)
    codec, batch = FrameCodec(8, 4, 32).train(), frames(8)
    optimiser = torch.optim.AdamW(codec.parameters(), lr=4e-3)
    losses = []
    for _ in range(60):
        loss = codec.loss(codec.encode(batch), batch, torch.randn(8, 8, 8, 8), torch.zeros(8, 2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    with torch.no_grad():
        restored = codec.decode(codec.encode(batch))
    flat = batch.mean((2, 3), keepdim=True).expand_as(batch)
    assert psnr(restored, batch) > psnr(flat, batch) + 3


# ------------------------------------------------------------------ the bundled codec, on combinations it has never seen


@pytest.fixture(scope="module")
def bundled():
    codec = TextToVideoPipeline.from_pretrained().visual_encoder.codec
    clips = render(sample_scenes(40, "heldout", seed=11), 16, 32, seed=11, frames=[0, 5, 10, 15])
    return codec, clips.transpose(1, 2).flatten(0, 1)


def edge_psnr(restored, real):
    """PSNR over the pixels that differ from the one above or to the left by more than a tenth of the range."""
    down = (real[..., 1:, 1:] - real[..., :-1, 1:]).abs().amax(1, keepdim=True)
    right = (real[..., 1:, 1:] - real[..., 1:, :-1]).abs().amax(1, keepdim=True)
    edge = (torch.maximum(down, right) > 0.2).expand(-1, 3, -1, -1)
    return psnr(restored[..., 1:, 1:][edge], real[..., 1:, 1:][edge])


@torch.no_grad()
def test_the_bundled_codec_gives_frames_back(bundled):
    codec, real = bundled
    restored = codec.decode(codec.encode(real)).clamp(-1, 1)
    blurred = F.interpolate(F.avg_pool2d(real, 2), scale_factor=2, mode="bilinear")  # four times fewer pixels
    assert psnr(restored, real) > 28 and psnr(restored, real) > psnr(blurred, real) + 3
    assert edge_psnr(restored, real) > 21 and edge_psnr(restored, real) > edge_psnr(blurred, real) + 3


@pytest.mark.parametrize("pixels", [1, 2, 3, 4])
@torch.no_grad()
def test_the_bundled_codecs_latents_move_with_the_frame(bundled, pixels):
    codec, real = bundled
    shift = torch.full((len(real), 2), float(pixels))
    target = translate(real, shift)
    moved = codec.decode(translate(codec.encode(real), shift / codec.down)).clamp(-1, 1)
    still = codec.decode(codec.encode(real)).clamp(-1, 1)
    assert psnr(moved, target) > 24 and psnr(moved, target) > psnr(still, target) + 4
