"""The denoiser: what it starts as, what it listens to, guidance, and that the empty caption is trained."""

import math

import pytest
import torch

from t2vlearn.denoiser import (
    SpaceTimeDenoiser,
    Text,
    TimeAttention,
    guided,
    sinusoidal,
    space_time_angles,
    training_loss,
)
from t2vlearn.diffusion import DDPM, RectifiedFlow
from t2vlearn.text import TextEncoder

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
FRAMES = 3


def network(perturbed=True):
    torch.manual_seed(0)
    net = SpaceTimeDenoiser(channels=4, grid=8, dim=32, depth=2, num_heads=2, width=16, convs=2)
    for parameter in net.parameters() if perturbed else ():
        torch.nn.init.normal_(parameter, std=0.15)
    return net


@pytest.fixture(scope="module")
def net():
    return network()


def text(n=2, length=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(n, length, dtype=torch.bool)
    mask[0, 3:] = False
    return Text(torch.randn(n, length, 32, generator=generator), mask, torch.randn(n, 32, generator=generator))


def inputs(n=2, seed=2):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, FRAMES, 8, 8, generator=generator)
    return x, torch.tensor([[0.0, 0.6, 0.6]] * n), torch.linspace(0, 1, FRAMES).expand(n, -1)


def known(n=2):
    return torch.tensor([[True, False, False]] * n)


def differ(a, b):
    return (a - b).abs().max() > 1e-3


def test_sinusoidal_is_its_closed_form():
    code = sinusoidal(torch.tensor([[0.0, 0.3], [0.5, 1.0]]), 8, max_period=100.0, scale=50.0)
    assert code.shape == (2, 2, 8)
    for row, x in zip(code.view(4, 8), (0.0, 0.3, 0.5, 1.0)):
        for i in range(4):
            angle = 50 * x * 100 ** (-i / 4)
            assert float(row[i]) == pytest.approx(math.cos(angle), abs=1e-5)
            assert float(row[4 + i]) == pytest.approx(math.sin(angle), abs=1e-5)


def test_angles_of_row_column_and_time():
    times = torch.tensor([[0.0, 0.5], [0.2, 1.0]])
    angles = space_time_angles(times, side=3, d_k=16).view(
        2, 2, 3, 3, 8
    )  # 3 for the row, 3 for the column, 2 for the time
    for b in range(2):
        for f in range(2):
            for i in range(3):
                for j in range(3):
                    expected = [1.5 * p * 2 ** (-n / 1.5) for p in (i, j) for n in range(3)]
                    expected += [8 * float(times[b, f]), 4 * float(times[b, f])]
                    assert angles[b, f, i, j].tolist() == pytest.approx(expected, abs=1e-5)


def test_attention_over_time_looks_at_the_same_cell_of_the_other_frames_and_no_further():
    torch.manual_seed(0)
    layer, h, condition = TimeAttention(8, 12, 2), torch.randn(6, 8, 4, 4), torch.randn(2, 3, 12)
    assert torch.equal(layer(h, condition), h)  # at the start
    torch.nn.init.normal_(layer.attention.to_out.weight)
    before, other = layer(h, condition), h.clone()
    other[1, :, 2, 3] += torch.randn(8)  # first clip, second frame
    changed = ((layer(other, condition) - before).abs() > 1e-5).any(1)  # (b f, h, w)
    assert changed[:3, 2, 3].all() and changed.sum() == 3
    order = [2, 0, 1, 3, 4, 5]
    shuffled = layer(h[order], torch.stack([condition[0, [2, 0, 1]], condition[1]]))
    torch.testing.assert_close(shuffled, before[order], **CLOSE)


def test_it_starts_at_zero_and_its_blocks_at_the_identity():
    net = network(perturbed=False)
    assert (net(*inputs(), text(), known()) == 0).all()
    h = torch.randn(2, FRAMES, 16, 32)
    for block in net.blocks:
        assert torch.equal(block(h, torch.randn(2, FRAMES, 1, 32), text()), h)
    h = torch.randn(6, 16, 8, 8)
    for block in [*net.before, *net.after]:
        assert torch.equal(block(h, torch.randn(6, 32)), h)


@pytest.mark.parametrize(("channels", "grid", "patch", "frames"), [(4, 8, 2, 1), (3, 8, 4, 5), (2, 4, 1, 2)])
def test_the_prediction_has_the_shape_of_what_it_is_about(channels, grid, patch, frames):
    net = SpaceTimeDenoiser(channels, grid, dim=16, depth=1, num_heads=2, patch=patch, width=8, convs=1)
    x, level = torch.randn(2, channels, frames, grid, grid), torch.rand(2, frames)
    condition = Text(torch.randn(2, 4, 16), torch.ones(2, 4, dtype=torch.bool), torch.randn(2, 16))
    assert net(x, level, level, condition).shape == x.shape


def test_patches_go_back_to_where_they_came_from():
    """With a Transformer that passes each patch on and convolutions that pass each cell on, the result can be worked out."""
    net = SpaceTimeDenoiser(channels=4, grid=8, dim=16, depth=0, num_heads=2, width=4, convs=0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "norm" not in name:
                parameter.zero_()
        net.conv_in.weight[:, :, 1, 1] = torch.eye(4)
        net.patch_in.weight.copy_(torch.eye(16))
        net.patch_out.weight.copy_(torch.eye(16))
        net.join.weight[:, 4:, 0, 0] = torch.eye(4)  # what the Transformer says, not the frame itself
        net.conv_out.weight[:, :, 1, 1] = torch.eye(4)
    x, tau, times = inputs()
    out = net(x, tau, times, Text(torch.zeros(2, 1, 16), torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 16)))
    seen = torch.empty_like(x)
    for i in range(0, 8, 2):
        for j in range(0, 8, 2):
            patch = x[..., i : i + 2, j : j + 2]
            mean, std = patch.mean((1, 3, 4), keepdim=True), patch.std((1, 3, 4), keepdim=True, unbiased=False)
            seen[..., i : i + 2, j : j + 2] = (patch - mean) / std
    mean, std = seen.mean((1, 3, 4), keepdim=True), seen.std((1, 3, 4), keepdim=True, unbiased=False)
    normal = (seen - mean) / std
    torch.testing.assert_close(out, normal * torch.sigmoid(normal), atol=1e-3, rtol=1e-3)


def test_each_input_changes_the_prediction(net):
    (x, tau, times), base = inputs(), net(*inputs(), text(), known())
    assert differ(net(x, tau + 0.1, times, text(), known()), base)
    assert differ(net(x, tau, times / 2, text(), known()), base)
    assert differ(net(x, tau, times, text(), ~known()), base)
    assert differ(net(x, tau, times, text(seed=5), known()), base)
    torch.testing.assert_close(net(x, tau, times, text()), net(x, tau, times, text(), known() & False), **CLOSE)


def test_a_given_frame_changes_the_others(net):
    x, tau, times = inputs()
    other = x.clone()
    other[:, :, 0] += 1
    before, after = net(x, tau, times, text(), known()), net(other, tau, times, text(), known())
    assert differ(before[:, :, 1], after[:, :, 1]) and differ(before[:, :, 2], after[:, :, 2])


def test_both_the_words_and_their_mean_are_heard(net):
    words, base = text(), net(*inputs(), text(), known())
    assert differ(net(*inputs(), words._replace(tokens=words.tokens + 1), known()), base)
    assert differ(net(*inputs(), words._replace(pooled=words.pooled + 1), known()), base)


def test_padding_of_the_text_changes_nothing(net):
    words, base = text(), net(*inputs(), text(), known())
    tokens = torch.where(words.mask[..., None], words.tokens, 50.0)
    torch.testing.assert_close(net(*inputs(), words._replace(tokens=tokens), known()), base, **CLOSE)
    short = Text(words.tokens[:1, :3], words.mask[:1, :3], words.pooled[:1])
    torch.testing.assert_close(net(*inputs(1), short, known(1)), net(*(i[:1] for i in inputs(1)),
                               Text(*(part[:1] for part in words)), known(1)), **CLOSE)  # fmt: skip


def test_a_clip_does_not_depend_on_its_neighbours_in_the_batch(net):
    x, tau, times = inputs()
    both = net(x, tau, times, text(), known())
    for i in range(2):
        one = slice(i, i + 1)
        alone = net(x[one], tau[one], times[one], Text(*(part[one] for part in text())), known(1))
        torch.testing.assert_close(both[one], alone, **CLOSE)


def test_frames_carry_their_own_time_not_their_position(net):
    x, tau, times = inputs()
    order = [2, 0, 1]
    shuffled = net(x[:, :, order], tau[:, order], times[:, order], text(), known()[:, order])
    torch.testing.assert_close(shuffled, net(x, tau, times, text(), known())[:, :, order], **CLOSE)


def test_tokens_carry_the_time_of_their_frame():
    """Beside the condition and the rotary angles: with the convolutions deaf to the condition, only time moves the tokens."""
    net = network()
    deaf = [layer.modulation for layer in net.before] + [layer.time for layer in net.time_before]
    for layer in deaf:
        torch.nn.init.zeros_(layer.weight)
    seen = []
    handle = net.blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x, tau, times = inputs()
    for now in (times, times / 2):
        net(x, tau, now, text())
    handle.remove()
    codes = [net.time(sinusoidal(now, net.dim, max_period=100.0, scale=50.0)) for now in (times, times / 2)]
    moved = (codes[0] - codes[1]).unsqueeze(2).expand_as(seen[0])
    assert differ(codes[0], codes[1])
    torch.testing.assert_close(seen[0] - seen[1], moved, **CLOSE)


# ------------------------------------------------------------------ guidance


def test_guidance_runs_from_the_empty_caption_through_the_prompt_and_on(net):
    x, tau, times = inputs()
    prompt, null = text(seed=1), text(seed=6)

    def at(scale):
        return guided(net, times, prompt, null, scale, known())(x, tau)

    conditional, unconditional = (net(x, tau, times, t, known()) for t in (prompt, null))
    assert torch.equal(at(1), conditional) and torch.equal(at(1.0), conditional)
    torch.testing.assert_close(at(0), unconditional, **CLOSE)
    assert differ(conditional, unconditional)
    for scale in (0.5, 2.0, 7.5):
        expected = unconditional + scale * (conditional - unconditional)
        torch.testing.assert_close(at(scale), expected, atol=1e-4, rtol=1e-4)


def test_scale_one_costs_half(net):
    sizes = []
    handle = net.register_forward_hook(lambda module, args, out: sizes.append(len(out)))
    for scale in (1.0, 3.0):
        guided(net, inputs()[2], text(), text(seed=6), scale, known())(*inputs()[:2])
    handle.remove()
    assert sizes == [2, 4]


# ------------------------------------------------------------------ training


def test_the_loss_is_about_the_frames_that_are_not_given(net):
    """Worked out by hand for rectified flow: noised where unknown, clean and at level 0 where given."""
    latents, _, times = inputs()
    noise, tau, given = torch.randn(latents.shape), torch.tensor([0.3, 0.8]), known()
    x_t = latents.clone()
    for i in range(2):
        for f in (1, 2):
            x_t[i, :, f] = (1 - tau[i]) * latents[i, :, f] + tau[i] * noise[i, :, f]
    levels = torch.tensor([[0, 0.3, 0.3], [0, 0.8, 0.8]])
    error = net(x_t, levels, times, text(), given) - (noise - latents)
    loss = training_loss(net, RectifiedFlow("v"), latents, times, text(), given, tau[:, None], noise)
    torch.testing.assert_close(loss, error[:, :, 1:].square().mean(), **CLOSE)


@pytest.mark.parametrize("diffusion", [RectifiedFlow("x_0"), RectifiedFlow("v"), DDPM(prediction="epsilon"), DDPM()])
def test_the_empty_caption_and_the_text_encoder_are_trained(diffusion):
    """Captions 1 and 3 are dropped, as in training: the null token, the text encoder and every layer get a gradient."""
    net, encoder = network(), TextEncoder(dim=32, depth=1, num_heads=2)
    tokens, mask, pooled = encoder.encode(["a red star", "", "一只小狗", ""])
    latents = torch.randn(4, 4, FRAMES, 8, 8)
    given = torch.zeros(4, FRAMES, dtype=torch.bool)
    given[0, 0] = True
    tau, times = torch.tensor([0.2, 0.5, 0.7, 1.0])[:, None], torch.linspace(0, 1, FRAMES).expand(4, -1)
    noise = torch.randn(latents.shape)
    training_loss(net, diffusion, latents, times, Text(tokens, mask, pooled), given, tau, noise).backward()
    ids = {word: encoder.tokenizer.token_to_id(word) for word in ("[NULL]", "star", "狗", "[PAD]", "car")}
    heard = {word: float(encoder.embedding.weight.grad[i].norm()) for word, i in ids.items()}
    assert min(heard["[NULL]"], heard["star"], heard["狗"]) > 1e-6 and heard["[PAD]"] == heard["car"] == 0
    for module in (net, encoder):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_it_learns_to_listen():
    """Two captions, two pictures: after some steps each caption draws its own."""
    torch.manual_seed(0)
    net, flow = SpaceTimeDenoiser(2, grid=4, dim=32, depth=2, num_heads=2, width=16, convs=1), RectifiedFlow("x_0")
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3)
    words = text()
    pictures = torch.stack([torch.ones(2, 1, 4, 4), -torch.ones(2, 1, 4, 4)])
    times, given = torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.bool)
    for _ in range(80):
        loss = training_loss(net, flow, pictures, times, words, given, torch.rand(2, 1), torch.randn(pictures.shape))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        denoise = guided(net, times, words, words, 1.0, given)
        drawn = flow.sample(denoise, torch.randn(pictures.shape), 5)
    assert (drawn - pictures).abs().max() < 0.5
