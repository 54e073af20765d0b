"""FLOPs against hand counts and against a real Transformer; the law against laws that are known."""

import numpy as np
import pytest
import torch
from torch import nn

from t2vlearn.attention import FeedForward, MultiHeadAttention
from t2vlearn.costs import (
    PUBLISHED,
    LossSurface,
    Plan,
    PowerLaw,
    count_flops,
    fit_power_law,
    fit_surface,
    frontier,
    kept_bytes,
)

PLAN = Plan(1e6, 100, 64, 2, 1000, steps=10, passes=2, peak=1e12, used=0.5, cards=4, watts=500, price=3)


def test_flops_of_a_product_and_a_convolution_are_those_of_the_sum_that_defines_them():
    a, b = torch.zeros(3, 4), torch.zeros(4, 5)
    assert count_flops(lambda: a @ b) == 2 * 3 * 4 * 5
    conv, image = nn.Conv2d(2, 7, 3, padding=1), torch.zeros(1, 2, 6, 6)
    assert count_flops(lambda: conv(image)) == 2 * 6 * 6 * 7 * (2 * 3 * 3)


def test_what_waits_for_the_backward_pass_is_counted_once():
    x = torch.zeros(10, requires_grad=True)
    assert kept_bytes(lambda: x * x) == 40  # twice the same storage
    assert (
        kept_bytes(lambda: (x.exp() * x).sum()) == 80
    )  # x and its exponential, of which two operations need the latter
    assert kept_bytes(lambda: x + 1) == 0
    layer = nn.Linear(10, 10, bias=False)
    x = torch.zeros(1, 10, requires_grad=True)
    assert kept_bytes(lambda: layer(x)) == 40 + 400
    assert kept_bytes(lambda: layer(x), layer.parameters()) == 40


def test_the_formula_is_what_a_transformer_computes():
    tokens, width, layers = 24, 32, 3
    blocks = [nn.ModuleList([MultiHeadAttention(width, 4), FeedForward(width)]) for _ in range(layers)]
    weights = sum(p.numel() for block in blocks for p in block.parameters() if p.dim() > 1)
    x = torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(0))

    def forward():
        h = x
        for attention, feed_forward in blocks:
            h = h + attention(h)
            h = h + feed_forward(h)
        return h.sum()

    plan = Plan(weights, tokens, width, layers, 1)
    assert count_flops(forward) == plan.forward
    # Backwards it is twice as much, and the scores once more; the first layer's inputs need no gradient.
    both = count_flops(lambda: forward().backward())
    first = 3 * 2 * tokens * width * width
    assert both == plan.training_flops + plan.attention / 2 - first


def test_without_attention_training_is_6_n_d():
    plan = Plan(5e6, 200, 64, 0, 3000)
    assert plan.attention == 0
    assert plan.training_flops == pytest.approx(6 * 5e6 * (200 * 3000))


def test_time_energy_and_money_follow_from_the_flops():
    forward = 2e8 + 4 * 2 * 100**2 * 64
    assert PLAN.forward == forward
    seconds = 3 * forward * 1000 / 0.5e12
    assert PLAN.card_days * 86_400 == pytest.approx(seconds) and PLAN.days * 4 == PLAN.card_days
    assert PLAN.kwh == pytest.approx(seconds * 500 / 3.6e6)
    assert PLAN.dollars == pytest.approx(seconds / 3600 * 3)
    assert PLAN.clip_seconds == pytest.approx(forward * 20 / 0.5e12)
    assert PLAN.clip_wh == pytest.approx(PLAN.clip_seconds * 500 / 3600)
    assert PLAN.clip_dollars == pytest.approx(PLAN.clip_seconds / 1200)
    assert PLAN.implied == 0


def test_the_implied_share_gives_the_published_time():
    for plan in PUBLISHED.values():
        assert plan.source
        if plan.published_days:
            assert plan.training_flops / (plan.peak * plan.implied * 86_400) == pytest.approx(plan.published_days)
        if plan.published_seconds:
            assert plan.clip_flops / (plan.peak * plan.implied) == pytest.approx(plan.published_seconds)
        assert 0 <= plan.implied < 1  # nobody is faster than the peak


def test_published_tokens_follow_from_pixels():
    def tokens(frames, height, width, down, patch, time):
        return ((frames - 1) // time + 1) * (height // down // patch) * (width // down // patch)

    assert PUBLISHED["CogVideoX-5B"].tokens == tokens(49, 480, 720, 8, 2, 4) + 226  # and the caption's
    assert PUBLISHED["HunyuanVideo"].tokens == tokens(129, 720, 1280, 8, 2, 4)
    assert PUBLISHED["Open-Sora 1.0"].tokens == tokens(16, 256, 256, 8, 2, 1)


@pytest.mark.parametrize("law", [PowerLaw(0.3, 2.0, 0.4), PowerLaw(0.0, 5.0, 0.1)], ids=["with a floor", "without"])
def test_a_known_law_is_found_again(law):
    compute = np.geomspace(0.01, 100, 15)
    found = fit_power_law(compute, law(compute))
    assert found.floor == pytest.approx(law.floor, abs=0.01)
    assert found.exponent == pytest.approx(law.exponent, rel=0.02)


def test_three_numbers_need_four_points():
    with pytest.raises(ValueError, match="at least four"):
        fit_power_law([1, 2, 3], [3, 2, 1])
    for compute, loss in (([0, 1, 2, 3], [4, 3, 2, 1]), ([1, 2, 3, 4], [3, 2, 1, 0])):
        with pytest.raises(ValueError, match="above 0"):
            fit_power_law(compute, loss)


def test_the_frontier_grows_as_the_square_root_where_size_and_data_count_alike():
    """Hoffmann et al. 2022: with L = 1 + N^-1/2 + D^-1/2 and C = 6 N D the best N is (C / 6)^1/2."""
    runs = []
    for n in np.geomspace(10, 1000, 41):
        d = np.geomspace(1, 1e6, 60)
        runs.append((n, 6 * n * d, 1 + n**-0.5 + d**-0.5))
    rows = frontier(runs)
    inside = (rows[:, 0] > 6 * 20**2) & (rows[:, 0] < 6 * 500**2)
    assert inside.sum() >= 5
    np.testing.assert_allclose(rows[inside, 2], (rows[inside, 0] / 6) ** 0.5, rtol=0.15)
    np.testing.assert_allclose(rows[inside, 1], 1 + 2 * (rows[inside, 0] / 6) ** -0.25, rtol=0.01)


def test_the_frontier_ends_with_the_line_that_was_best():
    short, long = (10, [1, 10, 100], [3.0, 2.0, 1.0]), (20, [1, 10, 1000], [5.0, 4.0, 3.0])
    longer = (30, [1, 10, 2000], [6.0, 5.0, 4.0])
    rows = frontier([short, long, longer])
    assert rows[-1, 0] <= 100 and (rows[:, 2] == 10).all() and (np.diff(rows[:, 1]) < 0).all()


def test_the_frontier_is_where_at_least_two_sizes_have_points():
    pairs = [(1, [1, 2], [9.0, 8.0]), (2, [1.5, 3], [7.9, 7.0]), (3, [5, 10], [6.0, 5.0]), (4, [6, 12], [4.9, 4.0])]
    rows = frontier(pairs, points=200)
    assert all(1.5 <= c <= 2 or 6 <= c <= 10 for c in rows[:, 0]) and {2, 4} == set(rows[:, 2])
    with pytest.raises(ValueError, match="at least two"):
        frontier(pairs[:1])
    assert frontier([(1, [1, 2], [3.0, 2.0]), (2, [10, 20], [2.0, 1.0])]).shape == (0, 3)


SURFACE = LossSurface(0.4, 30.0, 0.45, 8.0, 0.3)


def test_a_known_surface_is_found_again_and_extended():
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e3, 1e5, 5), np.geomspace(1e2, 1e4, 8)))
    found = fit_surface(n, d, SURFACE(n, d))
    assert (found.alpha, found.beta) == (pytest.approx(0.45, abs=0.03), pytest.approx(0.3, abs=0.03))
    assert found(1e6, 1e5) == pytest.approx(SURFACE(1e6, 1e5), rel=0.03)


@pytest.mark.parametrize("compute", [1e6, 1e9])
def test_the_best_size_is_the_best_of_all_sizes(compute):
    law, size = SURFACE.best(work=6)
    n = np.geomspace(1, 1e7, 100_001)
    losses = SURFACE(n, compute / (6 * n))
    assert losses.min() == pytest.approx(law(compute), rel=1e-6)
    assert n[losses.argmin()] == pytest.approx(size(compute), rel=1e-2)


def test_losses_that_rise_with_size_and_data_have_no_surface():
    n, d = np.array([1.0, 2, 4, 8, 16, 32]), np.array([1.0, 4, 2, 8, 32, 16])
    with pytest.raises(ValueError, match="do not fall"):
        fit_surface(n, d, n * d)
    with pytest.raises(ValueError, match="at least six"):
        fit_surface(n[:5], d[:5], n[:5])


def test_one_size_determines_no_surface():
    d = np.geomspace(1e2, 1e4, 8)
    with pytest.raises(ValueError, match="three sizes"):
        fit_surface(np.full(8, 1e6), d, 0.3 + d**-0.4)
