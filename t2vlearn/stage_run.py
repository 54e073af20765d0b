"""One stage in progress: a task with its learning rates, optimisers and running average, step by step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor

from t2vlearn.optim import EMA, Muon, schedule, split_parameters
from t2vlearn.recipe import STAGES, TrainConfig
from t2vlearn.stages import Task


class StageRun:
    """A task with its optimisers and running average.

    Several processes each take their part of a batch. Their gradients, weighted by what the parts count, are averaged, so a
    step is that of one process with the whole batch. So it is where each takes its part in `accumulate` smaller ones, one
    after the other. Not the codec: its latents are normalised by the statistics of the whole batch, which no part knows.
    """

    def __init__(self, task: Task, config: TrainConfig, accelerator: Accelerator, accumulate: int = 1):
        self.accelerator, self.config, self.task = accelerator, config, task
        self.parts = 1 if task.stage == "codec" else accumulate
        matrices, others = split_parameters(task, task.for_adamw)
        self.ema = EMA(task.to(accelerator.device), config.ema_decay)  # the listeners are new, and were made on the CPU
        number = STAGES.index(task.stage)
        self.base_lr = (config.muon_lr[number], config.adamw_lr[number])
        muon = Muon(matrices, lr=self.base_lr[0])
        adamw = torch.optim.AdamW(others, lr=self.base_lr[1], betas=(0.9, 0.99), weight_decay=0.01, fused=True)
        self.module, *self.optimisers = accelerator.prepare(task.train(), muon, adamw)
        self.step = self.clips = 0
        self.seconds = 0.0
        self.loss = math.nan  # its running mean, which whoever shows it keeps
        self.skipped = self.skipped_in_a_row = 0

    def advance(self, fraction: float) -> float:
        """One optimiser step; returns the loss.

        A gradient with an entry that is not a number changes no weights and no statistics: the step counts as skipped, and
        its loss is NaN.
        """
        for optimiser, lr in zip(self.optimisers, self.base_lr, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = lr * schedule(fraction, self.step) * self.task.pace(fraction)
        buffers = [buffer.clone() for buffer in self.task.buffers()]  # a bad batch would spoil statistics for ever
        batches = list(self._batches(fraction))
        counts = [self.task.count(batch) for batch in batches]
        total = self.accelerator.reduce(torch.stack(counts).sum(), "mean")
        losses = torch.zeros((), device=self.accelerator.device)
        # Where some layers get no gradient, the wrapper that adds up the processes' gradients would wait for theirs.
        module = self.module if self.task.pictured(fraction) else self.task
        for number, (batch, count) in enumerate(zip(batches, counts, strict=True), 1):
            # The processes add up their gradients once a step.
            with self.accelerator.no_sync(self.module) if number < self.parts else nullcontext():
                with self.accelerator.autocast():
                    loss = module(*batch)
                loss = loss * (count / total)
                self.accelerator.backward(loss)
                losses += loss.detach()
        if module is not self.module:
            for p in self.task.parameters():
                p.grad = None if p.grad is None else self.accelerator.reduce(p.grad, "mean")
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), self.config.max_grad_norm)
        fine = math.isfinite(float(norm))  # one bad entry makes the whole length infinite or NaN
        for optimiser in self.optimisers:
            if fine:
                optimiser.step()
            optimiser.zero_grad()
        if fine:
            self.ema.update(self.task)
        else:
            for buffer, before in zip(self.task.buffers(), buffers, strict=True):
                buffer.copy_(before)
        self.skipped += not fine
        self.skipped_in_a_row = 0 if fine else self.skipped_in_a_row + 1
        self.step += 1
        self.clips += self.task.clips
        return float(self.accelerator.reduce(losses, "mean")) if fine else math.nan

    def _batches(self, fraction: float) -> Iterator[tuple[Tensor, ...]]:
        """This process's part of the step's batch, in smaller parts."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        for i in range(self.parts):
            self.task.part = (rank * self.parts + i, processes * self.parts)
            yield self.task.batch(self.step, self.accelerator.device, fraction)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The task's modules, which are the pipeline's, hold the running average for a while."""
        own = {name: value.clone() for name, value in self.task.state_dict().items()}
        training = self.task.training
        self.task.load_state_dict(self.ema.module.state_dict())
        self.task.eval()
        try:
            yield
        finally:
            self.task.load_state_dict(own)
            self.task.train(training)  # a codec whose stage is over must not go on counting its latents' statistics

    def tensors(self) -> dict[str, Tensor]:
        """Everything a checkpoint needs of this stage, by flat names."""
        state = {f"task.{k}": v for k, v in self.task.state_dict().items()}
        state |= {f"ema.{k}": v for k, v in self.ema.module.state_dict().items()}
        for i, optimiser in enumerate(self.optimisers):
            for number, values in optimiser.state_dict()["state"].items():
                state |= {f"optimiser.{i}.{number}.{name}": torch.as_tensor(v) for name, v in values.items()}
        return state

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        parts = {
            part: {k[len(part) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{part}.")}
            for part in ("task", "ema")
        }
        self.task.load_state_dict(parts["task"])
        self.ema.module.load_state_dict(parts["ema"])
        for i, optimiser in enumerate(self.optimisers):
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"optimiser.{i}."):
                    number, name = key.split(".")[2:]
                    state.setdefault(int(number), {})[name] = value
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
