"""Optimisation: Muon for the matrices inside a network, and the running average (EMA) of its weights.

Muon is momentum whose update is orthogonalised. Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in
neural networks", with the step size of Liu et al. 2025, "Muon is Scalable for LLM Training", so that AdamW's learning
rates carry over. `torch.optim.Muon` is the same method, but always computes in bfloat16: 2.6 s a step for 48 matrices on
a CPU without bf16 instructions (benchmarks/LOG.md). Here they keep their own type, and those of one shape go together.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Generic, TypeVar

import torch
from torch import Tensor

# Quintic iteration x <- a x + b x^3 + c x^5 on the singular values, which drives them towards one.
A, B, C = 3.4445, -4.7750, 2.0315
ROUNDS = 5


def schedule(fraction: float, step: int, warm_up: int = 50, cool_down: float = 0.4) -> float:
    """Factor of the learning rate: min(1, (step + 1) / warm_up, (1 - fraction) / cool_down), a trapezoid.

    Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations".

    Args:
        fraction: how much of the training is done, in [0, 1].
        step: number of the step, from 0 up.
        warm_up: steps at the beginning.
        cool_down: part of the training at its end.
    """
    return min(1.0, (step + 1) / warm_up, max(1 - fraction, 0.0) / cool_down)


def orthogonalise(g: Tensor) -> Tensor:
    """U V^T, nearly, for G = U diag(sigma) V^T: X <- P X with P = a + b S + c S^2, S = X X^T, from X = G / |G|.

    Newton and Schulz's iteration, `ROUNDS` of it (Liu et al. 2025, "Muon is Scalable for LLM Training", equation 2). Each
    P is a polynomial of the first S, so all of them commute: the rounds need S alone, which has as many rows as the smaller
    side of G, and X gets the product of all P in the end, in little more than half of the time (benchmarks/LOG.md).

    Args:
        g: matrices (..., n, m).
    """
    shape = g.shape
    x = g.reshape(-1, *shape[-2:])
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    s = x @ x.mT
    product = identity = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device).expand_as(s)
    for round_ in range(ROUNDS):
        # P = a + b S + c S^2;  X <- P X
        p = torch.baddbmm(s, s, s, beta=B, alpha=C).add_(identity, alpha=A)
        product = p @ product if round_ else p
        if round_ + 1 < ROUNDS:  # and so S <- P S P
            s = p @ s @ p
    x = product @ x
    return (x.mT if tall else x).reshape(shape)


class Muon(torch.optim.Optimizer):
    """M <- mu M + G;  W <- W - lr (0.2 sqrt(max(n, m)) orthogonalise(G + mu M) + lambda W).

    Args:
        params: weights of at least two dimensions; all but the first are taken together (convolutions).
        lr: learning rate on AdamW's scale.
        momentum: mu.
        weight_decay: lambda.

    Source of the step's size: Liu et al. 2025, equation 4.
    """

    def __init__(self, params, lr: float = 3e-3, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """One update of all parameters that have a gradient; `closure`, if given, computes the loss, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.flatten(1).shape].append(p)
            for (n, m), params in by_shape.items():
                updates = []
                for p in params:
                    if "momentum" not in self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p)
                    moment = self.state[p]["momentum"]
                    # M <- mu M + G; the update is G + mu M (Nesterov)
                    moment.mul_(group["momentum"]).add_(p.grad)
                    updates.append(p.grad.add(moment, alpha=group["momentum"]).flatten(1))
                directions = orthogonalise(torch.stack(updates)) * (0.2 * max(n, m) ** 0.5)
                # W <- W - lr (0.2 sqrt(max(n, m)) orthogonalise(.) + lambda W)
                for p, direction in zip(params, directions, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction.view_as(p), alpha=group["lr"])
        return loss


def split_parameters(module: torch.nn.Module, keep_out: tuple[str, ...] = ()) -> tuple[list[Tensor], list[Tensor]]:
    """(weight matrices and convolutions for Muon, everything else for AdamW): embeddings, biases and norms stay out.

    `keep_out` names further layers for AdamW, by parts of their parameters' names. What is frozen is in neither.
    """
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, torch.nn.Embedding)}
    for name, p in module.named_parameters():
        if not p.requires_grad:
            continue
        hidden = p.dim() >= 2 and id(p) not in embeddings and name.endswith("weight")
        (matrices if hidden and not any(part in name for part in keep_out) else others).append(p)
    return matrices, others


Module = TypeVar("Module", bound=torch.nn.Module)


class EMA(Generic[Module]):
    """Exponential moving average of a module: w_ema <- d w_ema + (1 - d) w, with d = min(decay, (1 + n) / (10 + n)).

    The warm-up of d, that of TensorFlow's ExponentialMovingAverage, lets the average forget the start. `module` is the
    averaged copy, ready for use.

    Args:
        module: what to follow; buffers are copied, not averaged.
        decay: d after the warm-up.
    """

    def __init__(self, module: Module, decay: float = 0.999):
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        """Take in the weights after an optimiser step."""
        self.updates += 1
        d = min(self.decay, (1 + self.updates) / (10 + self.updates))
        # w_ema <- d w_ema + (1 - d) w
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), 1 - d)
        for average, buffer in zip(self.module.buffers(), module.buffers(), strict=True):
            average.copy_(buffer)
