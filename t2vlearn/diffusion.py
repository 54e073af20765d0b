"""The diffusion process, apart from the network: forward noising, training target, reverse step.

Two members share one interface: DDPM (Ho et al. 2020, "Denoising Diffusion Probabilistic Models"; sampling also by
Song et al. 2021, "Denoising Diffusion Implicit Models") and rectified flow (Liu et al. 2023, "Flow Straight and Fast").
Both mix data and noise as x_t = a x_0 + b epsilon, so networks of one kind serve both.

The noise level tau runs from 0 (clean) to 1 (noise only); DDPM's step t in {0..T-1} has tau = (t + 1) / T. Every tau may
be a tensor (b, f): each frame has a level of its own, and a given frame has level 0 (Chen et al. 2024, "Diffusion Forcing").
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

#: A denoiser as the samplers see it: (x_t (b, c, f, h, w), tau (b, f)) -> prediction (b, c, f, h, w).
Denoise = Callable[[Tensor, Tensor], Tensor]

PREDICTIONS = ("epsilon", "v", "x_0")
Level = TypeVar("Level", float, Tensor)


def expand(level: Tensor, x: Tensor) -> Tensor:
    """A number a clip (b,) or a frame (b, f) -> the same, shaped to multiply x (b, c, ...) or (b, c, f, h, w)."""
    if level.dim() == 2:
        return level[:, None, :, None, None]
    return level.view(-1, *[1] * (x.dim() - 1))


def noisier(tau: Level, s: float) -> Level:
    """tau <- s tau / (1 + (s - 1) tau): noise levels whose log(tau / (1 - tau)) is log(s) more.

    Esser et al. 2024, "Scaling Rectified Flow Transformers", equation 23, with sqrt(m / n) = s.
    """
    return s * tau / (1 + (s - 1) * tau)


class DiffusionModel(ABC):
    """What both processes share: x_t = a(tau) x_0 + b(tau) epsilon, and what a network may predict of it.

    Args:
        prediction: what the network's output means: "epsilon", "x_0", or "v" (`velocity`).

    Raises:
        ValueError: for another prediction.
    """

    def __init__(self, prediction: str):
        if prediction not in PREDICTIONS:
            raise ValueError(f"unknown prediction {prediction!r}: choose from {', '.join(PREDICTIONS)}")
        self.prediction = prediction

    @abstractmethod
    def coefficients(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b) at noise level tau, in the shape of tau."""

    @abstractmethod
    def velocity(self, x_0: Tensor, noise: Tensor, tau: Tensor) -> Tensor:
        """The member's "v" target."""

    @abstractmethod
    def sample_tau(self, n: int, generator: torch.Generator | None = None, device="cpu") -> Tensor:
        """Noise levels (n,) to train on."""

    @abstractmethod
    def levels(self, num_inference_steps: int) -> list[float]:
        """Noise levels of a sampling run, from 1 down to 0: num_inference_steps + 1 numbers."""

    @abstractmethod
    def step(self, x_0: Tensor, x_t: Tensor, tau: Tensor, tau_next: Tensor, noise: Tensor | None) -> Tensor:
        """From x_t at `tau` to `tau_next` <= tau, given the network's clean sample. `noise` feeds stochastic members.

        Where both levels are equal (frames that are given, or wait), x_t stays as it is.
        """

    def add_noise(self, x_0: Tensor, noise: Tensor, tau: Tensor) -> Tensor:
        """x_t = a x_0 + b epsilon. Shapes (b, c, ...), tau (b,) or (b, f)."""
        a, b = self.coefficients(tau)
        return expand(a, x_0) * x_0 + expand(b, x_0) * noise

    def target(self, x_0: Tensor, noise: Tensor, tau: Tensor) -> Tensor:
        """What the network should have said: epsilon, x_0 or v."""
        if self.prediction == "v":
            return self.velocity(x_0, noise, tau)
        return noise if self.prediction == "epsilon" else x_0

    @abstractmethod
    def to_x_0(self, prediction: Tensor, x_t: Tensor, tau: Tensor) -> Tensor:
        """x_0, the clean sample that a prediction stands for; for "epsilon" undefined where a = 0."""

    def loss(self, prediction: Tensor, x_0: Tensor, noise: Tensor, tau: Tensor, known: Tensor | None = None) -> Tensor:
        """L = mean of w(tau) |prediction - target|^2 over the frames that are not `known` (b, f); NaN if all are.

        Ho et al. 2020, equation 14, for "epsilon"; Liu et al. 2023, equation 1, for rectified flow's "v".
        """
        error = self.weight(tau, x_0) * (prediction - self.target(x_0, noise, tau)).square()
        if known is None:
            return error.mean()
        unknown = expand((~known).to(error.dtype), error)
        return (error * unknown).sum() / unknown.expand_as(error).sum()

    def weight(self, tau: Tensor, x: Tensor) -> Tensor:
        """w(tau): one, unless a member says otherwise."""
        return torch.ones((), device=x.device)

    def sample(
        self,
        denoise: Denoise,
        x: Tensor,
        num_inference_steps: int,
        known: Tensor | None = None,
        generator: torch.Generator | None = None,
        on_step: Callable[[int, Tensor], None] | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """Walk from noise to data.

        Args:
            denoise: the network, guidance included.
            x: noise (b, c, f, h, w); where `known`, clean latents instead.
            num_inference_steps: one network evaluation each; with a `second_order` member two, but for the last.
            known: bool (b, f): frames that are given. They have noise level 0 throughout and come back to the last bit.
            generator: for the noise that stochastic members add.
            on_step: called after each step with its number and the present estimate of the clean sample.
            start: noise level in (0, 1] that each frame of `x` has (b, f); default 1. A frame that starts lower waits until the
                others have come down to its level, and goes on with them (Chen et al. 2024, "Diffusion Forcing"). A clean
                frame is `known`.

        Returns:
            The sample (b, c, f, h, w).
        """
        given = torch.zeros(x.shape[0], x.shape[2], dtype=torch.bool, device=x.device) if known is None else known
        keep = expand(given, x)
        ceiling = torch.where(given, 0.0, 1.0 if start is None else start)  # (b, f)
        levels = self.levels(num_inference_steps)
        for i, (now, then) in enumerate(zip(levels, levels[1:], strict=False)):
            tau, tau_next = ceiling.clamp(max=now), ceiling.clamp(max=then)  # tau_f = min(level, start_f)
            x_0 = self.to_x_0(denoise(x, tau), x, tau)
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device) if self.stochastic else None
            x_next = torch.where(keep, x, self.step(x_0, x, tau, tau_next, noise))
            if self.second_order and then > 0:
                x_0_next = self.to_x_0(denoise(x_next, tau_next), x_next, tau_next)
                x_next = torch.where(keep, x, self.correct(x_0, x, tau, x_0_next, x_next, tau_next))
            x = x_next
            if on_step is not None:
                on_step(i + 1, torch.where(keep, x, x_0))
        return x

    stochastic = False
    second_order = False

    def correct(
        self, x_0: Tensor, x_t: Tensor, tau: Tensor, x_0_next: Tensor, x_next: Tensor, tau_next: Tensor
    ) -> Tensor:
        """A `second_order` member's better step, with the clean samples seen at both ends of the first try.

        Raises:
            NotImplementedError: by members of first order.
        """
        raise NotImplementedError


class RectifiedFlow(DiffusionModel):
    """x_tau = (1 - tau) x_0 + tau epsilon: straight lines from data to noise, walked back by Euler's or Heun's method.

    Liu et al. 2023, equation 1, with time reversed (their t is 1 - tau). v = d x_tau / d tau = epsilon - x_0. With
    prediction "x_0" the loss stays in velocity space: |v_hat - v|^2 = |x_0_hat - x_0|^2 / tau^2, with tau held above
    `tau_min` (Li & He 2025, "Back to Basics").

    Args:
        prediction: "v" or "x_0".
        mean, std: training levels are tau = sigmoid(mean + std n), n normal (Esser et al. 2024, "Scaling Rectified
            Flow Transformers", equation 19).
        shift: s in tau <- s tau / (1 + (s - 1) tau), more of the sampling steps at high noise (ibid., equation 23).
        heun: correct each step by the velocity where it leads, for a second evaluation of the network (all steps but the
            last): an error of second order in the number of steps.

    Raises:
        ValueError: for "epsilon" or an unknown prediction.
    """

    tau_min = 0.2

    def __init__(
        self, prediction: str = "x_0", mean: float = 0.0, std: float = 1.0, shift: float = 1.0, heun: bool = False
    ):
        if prediction == "epsilon":
            raise ValueError("rectified flow predicts 'v' or 'x_0'")
        super().__init__(prediction)
        self.mean, self.std, self.shift, self.second_order = mean, std, shift, heun

    def coefficients(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """(1 - tau, tau)."""
        return 1 - tau, tau

    def velocity(self, x_0: Tensor, noise: Tensor, tau: Tensor) -> Tensor:
        """v = epsilon - x_0."""
        return noise - x_0

    def sample_tau(self, n: int, generator: torch.Generator | None = None, device="cpu") -> Tensor:
        """tau = sigmoid(mean + std n) in (0, 1), n standard normal: (n,)."""
        return torch.sigmoid(self.mean + self.std * torch.randn(n, generator=generator)).to(device)

    def levels(self, num_inference_steps: int) -> list[float]:
        """Even steps from 1 to 0, then shifted: tau <- s tau / (1 + (s - 1) tau); num_inference_steps >= 1."""
        even = [1 - i / num_inference_steps for i in range(num_inference_steps + 1)]
        return [noisier(tau, self.shift) for tau in even]

    def weight(self, tau: Tensor, x: Tensor) -> Tensor:
        """1 / max(tau, tau_min)^2 for "x_0", which makes it the velocity's error; 1 for "v"."""
        if self.prediction == "v":
            return super().weight(tau, x)
        return expand(tau.clamp(min=self.tau_min), x) ** -2

    def to_x_0(self, prediction: Tensor, x_t: Tensor, tau: Tensor) -> Tensor:
        """x_0 = x_tau - tau v."""
        return prediction if self.prediction == "x_0" else x_t - expand(tau, x_t) * prediction

    def step(self, x_0: Tensor, x_t: Tensor, tau: Tensor, tau_next: Tensor, noise: Tensor | None = None) -> Tensor:
        """Euler: x <- x + (tau' - tau) v with v = (x - x_0) / tau."""
        # the same, without a division where tau = 0: x' = x_0 + (tau' / tau) (x - x_0)
        ratio = torch.where(tau > 0, tau_next / tau.clamp(min=1e-12), 0.0)
        return x_0 + expand(ratio, x_t) * (x_t - x_0)

    def correct(
        self, x_0: Tensor, x_t: Tensor, tau: Tensor, x_0_next: Tensor, x_next: Tensor, tau_next: Tensor
    ) -> Tensor:
        """Heun: x <- x + (tau' - tau) (v + v') / 2, v at the step's start and v' at the end that Euler's step proposes.

        Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", algorithm 1.
        """
        safe = [expand(level.clamp(min=1e-12), x_t) for level in (tau, tau_next)]
        v, v_next = (x_t - x_0) / safe[0], (x_next - x_0_next) / safe[1]
        return x_t + expand(tau_next - tau, x_t) * (v + v_next) / 2


def linear_beta(T: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """beta_t from 1e-4 to 0.02 in equal steps (Ho et al. 2020, section 4). float64 (T,)."""
    return torch.linspace(first, last, T, dtype=torch.float64)


def cosine_beta(T: int = 1000, s: float = 0.008) -> Tensor:
    """beta_t = 1 - f(t+1)/f(t) with f(t) = cos^2((t/T + s)/(1 + s) pi/2), at most 0.999.

    Nichol & Dhariwal 2021, "Improved Denoising Diffusion Probabilistic Models", equation 17. float64 (T,).
    """
    f = torch.cos((torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


def zero_terminal_snr(beta: Tensor) -> Tensor:
    """The same schedule, stretched until nothing of the data is left at the last step: alpha_bar_{T-1} = 0.

    r_t <- (r_t - r_{T-1}) r_0 / (r_0 - r_{T-1}) with r = sqrt(alpha_bar).
    With "epsilon" the clean sample is then undefined at the last step: predict "v" or "x_0" (Lin et al. 2024, "Common
    Diffusion Noise Schedules and Sample Steps are Flawed", algorithm 1). float64 (T,).
    """
    r = (1 - beta.double()).cumprod(0).sqrt()
    r = (r - r[-1]) * r[0] / (r[0] - r[-1])
    alpha_bar = r**2
    return 1 - torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])


class DDPM(DiffusionModel):
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) epsilon (Ho et al. 2020, equation 4), walked back by DDPM or DDIM.

    Args:
        beta: the schedule (T,); alpha_t = 1 - beta_t, alpha_bar_t = alpha_0 ... alpha_t.
        prediction: "epsilon", "v" or "x_0".
        eta: 0 walks back as DDIM, without noise; 1 as DDPM (Song et al. 2021, equations 12 and 16; their alpha is alpha_bar
            here).

    Raises:
        ValueError: for an unknown prediction, and for "epsilon" with a schedule that ends in nothing but noise: there
            x_0 = (x_t - b epsilon) / a is 0 / 0.
    """

    def __init__(self, beta: Tensor | None = None, prediction: str = "v", eta: float = 0.0):
        super().__init__(prediction)
        self.beta = cosine_beta() if beta is None else beta
        self.alpha = 1 - self.beta
        self.alpha_bar = self.alpha.cumprod(0)
        self.eta = eta
        if prediction == "epsilon" and self.alpha_bar[-1] == 0:
            raise ValueError(
                "a schedule with zero terminal SNR cannot be walked back by 'epsilon': choose 'v' or 'x_0'"
            )

    @property
    def stochastic(self) -> bool:
        """True where a reverse step adds noise."""
        return self.eta > 0

    def alpha_bar_at(self, tau: Tensor) -> Tensor:
        """alpha_bar at noise level tau = (t + 1) / T, with alpha_bar = 1 at tau = 0."""
        table = torch.cat([torch.ones(1, dtype=self.alpha_bar.dtype), self.alpha_bar]).to(tau.device)
        return table[(tau * len(self.beta)).round().long()].to(tau.dtype)

    def coefficients(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """(sqrt(alpha_bar), sqrt(1 - alpha_bar))."""
        alpha_bar = self.alpha_bar_at(tau)
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def velocity(self, x_0: Tensor, noise: Tensor, tau: Tensor) -> Tensor:
        """v = sqrt(alpha_bar) epsilon - sqrt(1 - alpha_bar) x_0 (Salimans & Ho 2022, "Progressive Distillation", section 4)."""
        a, b = self.coefficients(tau)
        return expand(a, x_0) * noise - expand(b, x_0) * x_0

    def sample_tau(self, n: int, generator: torch.Generator | None = None, device="cpu") -> Tensor:
        """(t + 1) / T with t uniform."""
        T = len(self.beta)
        return ((torch.randint(T, (n,), generator=generator) + 1) / T).to(device)

    def levels(self, num_inference_steps: int) -> list[float]:
        """tau_i = round(T (1 - i / n)) / T: even steps of t + 1 ("trailing" spacing). More than T steps repeat levels."""
        T = len(self.beta)
        return [round(T * (1 - i / num_inference_steps)) / T for i in range(num_inference_steps + 1)]

    def to_x_0(self, prediction: Tensor, x_t: Tensor, tau: Tensor) -> Tensor:
        """x_0 = (x_t - b epsilon) / a, or a x_t - b v."""
        if self.prediction == "x_0":
            return prediction
        a, b = (expand(c, x_t) for c in self.coefficients(tau))
        return a * x_t - b * prediction if self.prediction == "v" else (x_t - b * prediction) / a

    def posterior(self, x_0: Tensor, x_t: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, equations 6 and 7; their t is t + 1 here).

        mu = (sqrt(alpha_bar_{t-1}) beta_t x_0 + sqrt(alpha_t) (1 - alpha_bar_{t-1}) x_t) / (1 - alpha_bar_t),
        beta_tilde = (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) beta_t, with alpha_bar_{-1} = 1.
        With x_0 = (x_t - sqrt(1 - alpha_bar_t) epsilon) / sqrt(alpha_bar_t) the mean is that of ibid., equation 11:
        mu = (x_t - beta_t / sqrt(1 - alpha_bar_t) epsilon) / sqrt(alpha_t).
        """
        previous = self.alpha_bar[t - 1] if t > 0 else torch.ones((), dtype=self.alpha_bar.dtype)
        rest = 1 - self.alpha_bar[t]
        mean = (previous.sqrt() * self.beta[t] * x_0 + self.alpha[t].sqrt() * (1 - previous) * x_t) / rest
        return mean.to(x_t.dtype), ((1 - previous) / rest * self.beta[t]).to(x_t.dtype)

    def step(self, x_0: Tensor, x_t: Tensor, tau: Tensor, tau_next: Tensor, noise: Tensor | None = None) -> Tensor:
        """x' = a' x_0 + sqrt(b'^2 - sigma^2) epsilon + sigma z (Song et al. 2021, equation 12).

        sigma = eta sqrt((1 - alpha_bar') / (1 - alpha_bar)) sqrt(1 - alpha_bar / alpha_bar') (ibid., equation 16).
        """
        bar, bar_next = (expand(self.alpha_bar_at(level), x_t) for level in (tau, tau_next))
        epsilon = (x_t - bar.sqrt() * x_0) / (1 - bar).sqrt().clamp(min=1e-6)
        # The clamps change nothing but 0 / 0, at given frames (bar = 1) and where nothing is left (bar = 0), and roots of
        # rounding errors below zero.
        fresh = (1 - bar_next) / (1 - bar).clamp(min=1e-12) * (1 - bar / bar_next.clamp(min=1e-12))
        sigma = self.eta * fresh.clamp(min=0).sqrt()
        x = bar_next.sqrt() * x_0 + (1 - bar_next - sigma**2).clamp(min=0).sqrt() * epsilon
        return x if noise is None else x + sigma * noise
