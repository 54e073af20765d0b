"""Muon against the singular value decomposition and torch's own, the running average against torch's."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from t2vlearn.codec import FrameCodec
from t2vlearn.denoiser import SpaceTimeDenoiser
from t2vlearn.optim import EMA, Muon, orthogonalise, schedule, split_parameters
from t2vlearn.text import TextEncoder

# ------------------------------------------------------------------ the learning rate


def test_the_learning_rate_is_a_trapezoid():
    assert schedule(0, 0) == 1 / 50 and schedule(0.1, 24) == 0.5
    assert all(schedule(f, 49) == 1 for f in (0, 0.3, 0.6))
    assert schedule(0.8, 1000) == pytest.approx(0.5) and schedule(1, 1000) == 0
    assert schedule(1.2, 1000) == 0  # a late step by the clock
    assert schedule(0.9, 4) == pytest.approx(0.1)


# ------------------------------------------------------------------ Muon


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8), (64, 48)])
def test_singular_values_come_close_to_one_and_singular_vectors_stay(shape):
    """In the basis of G = U S V^T, the result is diagonal, with a diagonal between 0.6 and 1.3."""
    g = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)
    u, s, vt = torch.linalg.svd(g, full_matrices=False)
    core = u.T @ orthogonalise(g) @ vt.T
    kept = s > 0.02 * s.max()  # five rounds do not lift the very smallest
    assert kept.sum() >= len(s) - 2
    diagonal = core.diagonal()[kept]
    assert 0.6 < diagonal.min() and diagonal.max() < 1.3
    torch.testing.assert_close(core, torch.diag(core.diagonal()), atol=1e-6, rtol=0)


def test_each_singular_value_goes_through_the_quintic():
    s = torch.tensor([0.9, 0.3, 0.05, 0.002], dtype=torch.float64)
    expected = s / s.norm()
    for _ in range(5):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    torch.testing.assert_close(orthogonalise(torch.diag(s)), torch.diag(expected), atol=1e-6, rtol=1e-6)


def test_size_does_not_matter_and_matrices_of_a_stack_are_apart():
    g = torch.randn(3, 6, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together = orthogonalise(g * torch.tensor([1.0, 1e-3, 1e3]).view(3, 1, 1))
    for one, out in zip(g, together):
        torch.testing.assert_close(orthogonalise(one), out, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(orthogonalise(one.T), out.T, atol=1e-4, rtol=1e-3)
    assert (orthogonalise(torch.zeros(4, 5)) == 0).all()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_those_of_torchs_muon(weight_decay):
    """torch computes the direction in bfloat16 (and scales the momentum, which the direction does not see)."""
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in ((16, 16), (8, 24), (24, 8), (16, 16))]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    options = {"lr": 0.02, "momentum": 0.9, "weight_decay": weight_decay}
    optimisers = (
        Muon(ours, **options),
        torch.optim.Muon(theirs, nesterov=True, adjust_lr_fn="match_rms_adamw", **options),
    )
    for _ in range(4):
        before = [p.detach().clone() for p in ours]
        for p, q in zip(ours, theirs):
            p.grad = torch.randn(p.shape)
            q.grad = p.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
        for p, q, b in zip(ours, theirs, before):
            step, expected = p.detach() - b, q.detach() - b
            assert (step - expected).norm() < 0.02 * expected.norm()
            q.data.copy_(p.data)  # so that rounding does not add up


def test_the_first_step_worked_out():
    """W - lr (0.2 sqrt(24) direction + lambda W); convolutions as matrices; what has no gradient stays."""
    torch.manual_seed(0)
    conv, linear, idle = (nn.Parameter(torch.randn(shape)) for shape in ((8, 6, 2, 2), (5, 24), (4, 4)))
    before = [p.detach().clone() for p in (conv, linear, idle)]
    conv.grad, linear.grad = torch.randn_like(conv), torch.randn_like(linear)
    Muon([conv, linear, idle], lr=0.1, weight_decay=0.5).step()
    for p, start in zip((conv, linear), before):
        direction = orthogonalise(p.grad.reshape(len(p), 24)).reshape(p.shape)
        expected = start - 0.1 * (0.2 * 24**0.5 * direction + 0.5 * start)
        torch.testing.assert_close(p.detach(), expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(idle, before[2])


def test_channels_last_makes_no_difference():
    torch.manual_seed(0)
    plain = nn.Parameter(torch.randn(8, 6, 3, 3))
    last = nn.Parameter(plain.detach().clone().contiguous(memory_format=torch.channels_last))
    plain.grad = torch.randn(plain.shape)
    last.grad = plain.grad.contiguous(memory_format=torch.channels_last)
    for p in (plain, last):
        Muon([p]).step()
    torch.testing.assert_close(plain.detach(), last.detach())


def test_a_saved_state_goes_on_where_it_stopped():
    torch.manual_seed(0)
    p = nn.Parameter(torch.randn(6, 6))
    gradients = torch.randn(4, 6, 6)
    straight, start = Muon([p]), p.detach().clone()
    for gradient in gradients:
        p.grad = gradient
        straight.step()
    q = nn.Parameter(start.clone())
    optimiser = Muon([q])
    for gradient in gradients:
        fresh = Muon([q])
        fresh.load_state_dict(copy.deepcopy(optimiser.state_dict()))
        optimiser = fresh
        q.grad = gradient
        optimiser.step()
    assert torch.equal(p, q)


def test_it_makes_a_linear_map_learn():
    torch.manual_seed(0)
    x, target, layer = torch.randn(64, 8), torch.randn(64, 4), nn.Linear(8, 4, bias=False)
    exact = x @ torch.linalg.lstsq(x, target).solution
    optimiser = Muon(layer.parameters(), lr=0.1, weight_decay=0.0)
    for step in range(120):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 120)
        optimiser.zero_grad()
        (layer(x) - target).square().mean().backward()
        optimiser.step()
    torch.testing.assert_close(layer(x).detach(), exact, atol=0.05, rtol=0)


# ------------------------------------------------------------------ who gets which


@pytest.mark.parametrize(
    "module",
    [SpaceTimeDenoiser(4, 8, 16, 2, 2), TextEncoder(dim=16, depth=1, num_heads=2), FrameCodec(4, 4, 8)],
    ids=lambda m: type(m).__name__,
)
def test_every_parameter_has_exactly_one_optimiser(module):
    matrices, others = split_parameters(module)
    learnt = [p for p in module.parameters() if p.requires_grad]
    assert sorted(map(id, [*matrices, *others])) == sorted(map(id, learnt))
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    normalised = {"encoder.1.bias", "encoder.2.conv_out.bias", "encoder.3.bias"}
    assert frozen == (normalised if isinstance(module, FrameCodec) else set())
    names = {id(p): name for name, p in module.named_parameters()}
    hidden = {names[id(p)] for p in matrices}
    assert hidden == {n for n, p in module.named_parameters() if p.dim() >= 2} - {"embedding.weight", "position"}


def test_named_layers_can_be_kept_out():
    module = SpaceTimeDenoiser(4, 8, 16, 2, 2)
    all_matrices, _ = split_parameters(module)
    fewer, others = split_parameters(module, keep_out=("patch_in", "modulation"))
    out = {id(p) for name, p in module.named_parameters() if "patch_in" in name or "modulation" in name}
    assert {id(p) for p in fewer} == {id(p) for p in all_matrices} - out
    assert len(fewer) + len(others) == len(list(module.parameters()))


# ------------------------------------------------------------------ the running average


def walk(module, steps=12):
    """Move the weights about, as an optimiser would, and yield after each step."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        with torch.no_grad():
            for p in module.parameters():
                p.add_(torch.randn(p.shape, generator=generator))
        yield


def warmed_up(average, current, n):
    """The same decay with its warm-up, for torch's class, which hands over how many updates there were."""
    d = torch.clamp((1 + n) / (10 + n), max=0.6)
    return d * average + (1 - d) * current


@pytest.mark.parametrize(("decay", "function"), [(0.15, get_ema_avg_fn(0.15)), (0.6, warmed_up)])
def test_the_average_is_torchs(decay, function):
    """AveragedModel takes over the first weights it is shown; EMA starts from those it was made with."""
    torch.manual_seed(0)
    module = nn.Linear(3, 4)
    ours, theirs = EMA(module, decay), AveragedModel(module, avg_fn=function)
    theirs.update_parameters(module)
    for _ in walk(module):
        ours.update(module)
        theirs.update_parameters(module)
        for p, q in zip(ours.module.parameters(), theirs.module.parameters()):
            torch.testing.assert_close(p, q, atol=1e-5, rtol=1e-5)


def test_the_average_forgets_its_start_and_then_slows_down():
    module = nn.Linear(1, 1, bias=False)
    nn.init.ones_(module.weight)
    ema = EMA(module, decay=0.9)
    nn.init.zeros_(module.weight)
    left, expected = [], 1.0
    for n in range(1, 120):
        ema.update(module)
        expected *= min(0.9, (1 + n) / (10 + n))
        left.append(ema.module.weight.item())
        assert left[-1] == pytest.approx(expected, rel=1e-4)
    assert left[0] == pytest.approx(2 / 11) and left[-1] / left[-2] == pytest.approx(0.9)


def test_the_average_is_a_copy_with_buffers_and_without_gradients():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).train()
    ema = EMA(module)
    before = [p.clone() for p in module.parameters()]
    module(torch.randn(8, 3))
    ema.update(module)
    assert torch.equal(ema.module[1].running_mean, module[1].running_mean) and module[1].running_mean.any()
    assert ema.module[1].num_batches_tracked == 1
    assert not ema.module.training and not any(p.requires_grad for p in ema.module.parameters())
    assert all(torch.equal(p, b) and p.requires_grad for p, b in zip(module.parameters(), before))
    assert not {id(p) for p in ema.module.parameters()} & {id(p) for p in module.parameters()}
