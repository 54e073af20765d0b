"""What training and generating cost: operations, and from them time, energy and money; and the law by which the loss falls.

The arithmetic of chapter 13. A multiplication and an addition are two floating-point operations (FLOPs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

# torch's counter does not know the attention that torch uses on CPUs, and takes it for nothing. It hands over shapes.
_CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, value, *rest, **named: sdpa_flop_count(query, key, value)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, query, key, value, *rest, **named: sdpa_backward_flop_count(grad, query, key, value)
    ),
}
DAY, HOUR = 86_400, 3_600


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of one call, operator by operator: of products, convolutions and attention.

    A product of n x m by m x k counts 2 n m k; a convolution as the product that it is, however it is computed;
    attention 4 n m d for n queries and m keys of width d, and 10 n m d backwards, for its scores are computed again.
    """
    with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter:
        work()
    return counter.get_total_flops()


def kept_bytes(forward: Callable[[], object], weights: Iterable[Tensor] = ()) -> int:
    """Bytes that a forward pass keeps for the backward pass, each storage once.

    Args:
        forward: the pass.
        weights: those of the network. The backward pass reads them too, but they are there in any case, and are not counted.
    """
    there = {tensor.untyped_storage().data_ptr() for tensor in weights}
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in there:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(storages.values())


@dataclass(frozen=True)
class Plan:
    """A Transformer, its training, its sampling, and the machines, with all that follows from them.

    Forward pass of a clip: F = 2 N n + 4 L n^2 d. The first term is each parameter's product and sum for each token
    (Kaplan et al. 2020, section 2.1), the second attention among all tokens. The backward pass costs 2 F, so training
    costs 3 F a clip, of which the first term is the well-known 6 N D with D = n x clips tokens.

    Attributes:
        parameters: N.
        tokens: n, of one clip.
        width, layers: d and L; 0 layers leaves attention out, where it is not among all tokens.
        clips: that training sees, repetitions included.
        steps, passes: of sampling; two passes a step with guidance.
        peak: FLOPs a second that the maker states, or that a large product reaches, of one card.
        used: share of the peak that is reached, known as model FLOPs utilisation (MFU).
        cards: how many work at once in training.
        watts, price: of one card; price in dollars an hour.
        published_days, published_seconds: what the makers say: card days of training, seconds a clip; 0: nothing.
        source: where the inputs come from, in words.
    """

    parameters: float
    tokens: float
    width: float
    layers: float
    clips: float
    steps: float = 50
    passes: float = 2
    peak: float = 989e12
    used: float = 0.4
    cards: float = 1
    watts: float = 700
    price: float = 2
    published_days: float = 0
    published_seconds: float = 0
    source: str = ""

    @property
    def attention(self) -> float:
        """4 L n^2 d: FLOPs of attention among all tokens, forward, one clip."""
        return 4 * self.layers * self.tokens**2 * self.width

    @property
    def forward(self) -> float:
        """2 N n + 4 L n^2 d: FLOPs of one forward pass of one clip."""
        return 2 * self.parameters * self.tokens + self.attention

    @property
    def training_flops(self) -> float:
        """3 F x clips."""
        return 3 * self.forward * self.clips

    @property
    def card_days(self) -> float:
        """Days of training on one card: FLOPs / (peak x used x 86,400)."""
        return self.training_flops / (self.peak * self.used * DAY)

    @property
    def days(self) -> float:
        """Days of training on all cards at once, if they do not wait for each other."""
        return self.card_days / self.cards

    @property
    def kwh(self) -> float:
        """Energy of training, in kilowatt hours: of the cards alone, at full power."""
        return self.card_days * 24 * self.watts / 1000

    @property
    def dollars(self) -> float:
        """Rent of the cards for training."""
        return self.card_days * 24 * self.price

    @property
    def clip_flops(self) -> float:
        """F x steps x passes: one generated clip, without codec and text encoder."""
        return self.forward * self.steps * self.passes

    @property
    def clip_seconds(self) -> float:
        """Time of one generated clip on one card."""
        return self.clip_flops / (self.peak * self.used)

    @property
    def clip_wh(self) -> float:
        """Energy of one generated clip, in watt hours."""
        return self.clip_seconds * self.watts / HOUR

    @property
    def clip_dollars(self) -> float:
        """Rent of one card for one generated clip."""
        return self.clip_seconds * self.price / HOUR

    @property
    def implied(self) -> float:
        """Share of the peak (MFU) that the published time implies, if the FLOPs are right; 0 if none is published."""
        if self.published_days:
            return self.used * self.card_days / self.published_days
        return self.used * self.clip_seconds / self.published_seconds if self.published_seconds else 0.0


#: Published models: only inputs that their makers state. What they do not state is said in `source`.
PUBLISHED = {
    "Open-Sora 1.0": Plan(
        0.724e9, 16 * 16 * 16, 1152, 0, 80_000 * 8 * 64, steps=100, cards=64, published_days=117,
        source="Open-Sora's README (2024): 724 M parameters, 16 x 256 x 256 pixels, 80,000 steps of 8 x 64 clips, 117 H800 "
        "card days. Attention is within a frame or along time, not among all tokens: left out. Steps and cards are assumed.",
    ),
    "CogVideoX-5B": Plan(
        5e9, 13 * 30 * 45 + 226, 3072, 42, 0, peak=312e12, watts=400, published_seconds=180,
        source="Yang et al. 2024 and the model card: 5 B parameters, 42 layers of width 3,072, 49 frames of 480 x 720 pixels, "
        "50 steps with guidance, about 180 s on one A100. A total of training is not published: 0 clips.",
    ),
    "HunyuanVideo": Plan(
        13e9, 33 * 45 * 80, 3072, 60, 0, passes=1,
        source="Kong et al. 2024: 13 B parameters, 20 + 40 blocks of width 3,072, 129 frames of 720 x 1,280 pixels, guidance "
        "distilled into one pass. Training compute is not published: 0 clips. The card is assumed.",
    ),
    "Movie Gen Video": Plan(
        30e9, 73_000, 6144, 48, 0,
        source="Polyak et al. 2024: 30 B parameters, 48 layers of width 6,144, up to 73,000 video tokens for 16 s. A total of "
        "training is not published: 0 clips. Steps and passes are assumed.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class PowerLaw:
    """L(C) = floor + scale C^-exponent (Kaplan et al. 2020, equation 1.3; with a floor: Hoffmann et al. 2022, equation 2)."""

    floor: float
    scale: float
    exponent: float

    def __call__(self, compute: float | np.ndarray) -> float | np.ndarray:
        """The loss at a compute."""
        return self.floor + self.scale * compute**-self.exponent


def fit_power_law(compute: Sequence[float], loss: Sequence[float]) -> PowerLaw:
    """A law with a small squared error of log L.

    For each floor on trial a straight line through log(L - floor) against log C; of these laws the one nearest to log L.

    Args:
        compute: C > 0, at least four values.
        loss: L > 0 at each.

    Raises:
        ValueError: for fewer than four points, or compute or loss that is not above 0.
    """
    if min(*compute, *loss) <= 0:
        raise ValueError("compute and loss have to be above 0: a power law has logarithms")
    if len(compute) < 4:
        raise ValueError(f"three numbers cannot be fitted to {len(compute)} points: give at least four")
    c, y = np.asarray(compute, float), np.asarray(loss, float)
    floors = np.linspace(0, 0.999 * y.min(), 1000)
    slopes, starts = np.polyfit(np.log(c), np.log(y[:, None] - floors), 1)
    laws = floors + np.exp(starts + slopes * np.log(c)[:, None])
    best = np.square(np.log(laws) - np.log(y)[:, None]).sum(0).argmin()
    return PowerLaw(float(floors[best]), float(np.exp(starts[best])), float(-slopes[best]))


@dataclass(frozen=True)
class LossSurface:
    """L(N, D) = floor + a N^-alpha + b D^-beta: what a size and an amount of data reach (Hoffmann et al. 2022, equation 2)."""

    floor: float
    a: float
    alpha: float
    b: float
    beta: float

    def __call__(self, parameters: float | np.ndarray, data: float | np.ndarray) -> float | np.ndarray:
        """The loss of N parameters that have seen D."""
        return self.floor + self.a * parameters**-self.alpha + self.b * data**-self.beta

    def best(self, work: float) -> tuple[PowerLaw, PowerLaw]:
        """Where C = work N D is spent best: L(C), and N(C) as a law without a floor and with a negative exponent.

        N = g (C / work)^(beta / (alpha + beta)) with g = (alpha a / (beta b))^(1 / (alpha + beta)) (ibid., equation 4).

        Args:
            work: operations for each parameter and unit of data, 6 where D counts tokens.
        """
        together = self.alpha + self.beta
        g, rate = (self.alpha * self.a / (self.beta * self.b)) ** (1 / together), self.alpha * self.beta / together
        scale = (self.a * g**-self.alpha + self.b * g**self.beta) * work**rate
        size = PowerLaw(0.0, g * work ** (-self.beta / together), -self.beta / together)
        return PowerLaw(self.floor, scale, rate), size


def fit_surface(parameters: Sequence[float], data: Sequence[float], loss: Sequence[float]) -> LossSurface:
    """The surface with the least squared relative error: both exponents by trial, the rest linear for each pair of them.

    Args:
        parameters, data, loss: N, D and L of each run's points.

    Raises:
        ValueError: for fewer than six points, three sizes or three amounts of data, or losses that do not fall with both.
    """
    if len(loss) < 6:
        raise ValueError(f"five numbers cannot be fitted to {len(loss)} points: give at least six")
    n, d, y = (np.asarray(values, float) for values in (parameters, data, loss))
    if min(len(set(n)), len(set(d))) < 3:  # two points have many exponents
        raise ValueError("a surface needs at least three sizes and three amounts of data")
    n_unit, d_unit = np.exp(np.log(n).mean()), np.exp(np.log(d).mean())
    best, least = None, np.inf
    for alpha, beta in np.stack(np.meshgrid(np.arange(0.05, 1.5, 0.025), np.arange(0.05, 1.5, 0.025)), -1).reshape(
        -1, 2
    ):
        terms = np.stack([np.ones_like(n), (n / n_unit) ** -alpha, (d / d_unit) ** -beta], 1) / y[:, None]
        factors, *_ = np.linalg.lstsq(terms, np.ones_like(y), rcond=None)
        error = np.square(terms @ factors - 1).sum()
        if error < least and factors[0] >= 0 and (factors[1:] > 0).all():
            a, b = factors[1] * n_unit**alpha, factors[2] * d_unit**beta
            best, least = LossSurface(*map(float, (factors[0], a, alpha, b, beta))), error
    if best is None:
        raise ValueError("these losses do not fall with size and with data")
    return best


def frontier(runs: Sequence[tuple[float, Sequence[float], Sequence[float]]], points: int = 20) -> np.ndarray:
    """The least loss that any size reaches at each compute, and which size that is.

    Args:
        runs: (parameters, compute of each point, ascending, loss of each point) of each size; between points the loss is
            interpolated linearly in the logarithms.
        points: computes, evenly spaced in the logarithm.

    Returns:
        Rows (compute, loss, parameters), (n, 3), where at least two sizes have points: none for sizes that share no compute. A
        loss that is no lower than one at less compute is left out: there the line that was best has ended.

    Raises:
        ValueError: for fewer than two runs.
    """
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} runs have no frontier: give at least two")
    starts, ends = sorted(c[0] for _, c, _ in runs), sorted(c[-1] for _, c, _ in runs)
    rows: list[tuple[float, float, float]] = []
    for compute in np.geomspace(starts[1], ends[-2], points):
        found = [
            (float(np.exp(np.interp(np.log(compute), np.log(c), np.log(y)))), n)
            for n, c, y in runs
            if c[0] <= compute <= c[-1]
        ]
        if len(found) > 1 and (not rows or min(found)[0] < rows[-1][1]):
            rows.append((compute, *min(found)))
    return np.array(rows).reshape(-1, 3)
