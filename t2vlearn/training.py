"""Training from nothing: the codec, then text encoder and key frames, then the video generator, each with EMA.

A run is resumed exactly: batches depend on (seed, stage, step) and on which part of the stage is done (`stages`), and a
checkpoint holds everything else. By the clock that part is never quite the same twice, in two runs or with a stop in one.
Where several processes train together (`processes`, or `accelerate launch`), all do the same steps, each on its part of the
batch. The first one's clock counts, and it alone writes and reports.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from t2vlearn import checkpoint, media, own_clips, run_folder
from t2vlearn.errors import UserError, memory_advice
from t2vlearn.first_weights import first_pipeline, lineage
from t2vlearn.own_clips import OwnClips
from t2vlearn.pipeline import to_uint8
from t2vlearn.processes import stops
from t2vlearn.recipe import PRESETS, STAGES, TrainConfig
from t2vlearn.run_log import LOG, PREPARATIONS, Progress, RunLog, check_tracker
from t2vlearn.sources import Source, World
from t2vlearn.stage_run import StageRun
from t2vlearn.stages import TASKS
from t2vlearn.text import words_of

__all__ = ["PREPARATIONS", "PRESETS", "Interrupted", "Progress", "TrainConfig", "train"]

PATIENCE = 20  # steps in a row without a usable gradient
SHEETS = "samples"  # their folder
SHEET_STEPS = 8  # of sampling, for a sample sheet: enough to see what has been learnt
SHEET_PART = 0.05  # of a run by the clock, at most, goes into sample sheets after a stage's first


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C, SIGTERM or SIGHUP; a checkpoint is written, and the message says how to resume."""


def train(
    config: TrainConfig,
    out: str | Path,
    minutes: float | None = None,
    steps: int | None = None,
    resume: bool = False,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    checkpoint_minutes: float = 2.0,
    weights: str | Path | None = None,
    accumulate: int = 1,
    tracker: str | None = None,
    data: str | Path | None = None,
) -> Path:
    """Train a pipeline and save it in `out`. A stage whose share is zero is left out.

    Args:
        config: the recipe, such as PRESETS["tiny"].
        out: folder for the weights, the checkpoint, the log and sample sheets.
        minutes: length of the run by the clock, or
        steps: by optimiser steps over all stages; one of the two.
        resume: go on from the checkpoint in `out`.
        seed: of data, noise and initial weights.
        progress: called after each step.
        checkpoint_minutes: time between checkpoints.
        weights: go on from these (a folder or a Hub id) instead of from nothing; another seed then gives clips that they
            have not seen. Networks are as large as theirs, whatever the recipe says (`first_weights`). Of the codec only the
            decoder goes on, for the denoisers know the encoder's latents.
        accumulate: take each batch in so many parts, one after the other, and step once: less memory, the same result. It may
            differ from one resumption to the next.
        tracker: draw the curves there too: one that `accelerate` knows, such as "tensorboard", which writes into `out`.
        data: learn from the captioned videos in this folder (`folder.find_videos`) instead of from the toy world. The
            vocabulary is that of their captions, behind that of `weights`. What cannot be used is skipped, with a warning
            that says how many there are; `skipped.txt` lists them. Several machines need one `out`, on a shared disk.

    Returns:
        `out`, which `TextToVideoPipeline.from_pretrained` loads.

    Raises:
        UserError: if both or none of minutes and steps are given, nothing can be resumed, `out` holds an unfinished run that is
            not resumed, `weights` make other clips than the recipe's, no video of `data` can be used, `out` cannot be
            written or another run holds it, memory runs out, the tracker is not installed, or the loss stays NaN.
        Interrupted: after Ctrl-C, SIGTERM or a closed terminal, once the checkpoint is written. (Not while videos are read:
            nothing is learnt yet.)
    """
    if (minutes is None) == (steps is None):
        raise UserError("give either minutes or steps")
    if not (minutes or steps or 0) > 0:
        raise UserError("training needs a positive number of minutes or steps")
    if accumulate < 1:
        raise UserError(f"a batch cannot be taken in {accumulate} parts: choose 1 or more")
    check_tracker(tracker)
    out = Path(out)
    if resume:  # before a folder is made that nobody wants
        checkpoint.check(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / LOG).touch()
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; choose another folder") from None
    # bf16 is 30 to 300 times slower than float32 on a CPU without instructions for it (benchmarks/LOG.md).
    precision = "bf16" if torch.cuda.is_available() else "no"
    accelerator = Accelerator(mixed_precision=precision, log_with=tracker, project_dir=out)
    smaller = f"take each batch in more parts than {accumulate} (--accumulate), or choose a smaller preset"
    with run_folder.held(out, accelerator), memory_advice(smaller):
        log = RunLog(out, accelerator, progress)
        try:
            if not resume and checkpoint.exists(out):
                raise UserError(
                    f"{out} holds an unfinished run: go on with --resume, or choose another folder with --out"
                )
            return _Run(
                accelerator, log, config, out, minutes, steps, resume, seed, checkpoint_minutes, weights, accumulate, data
            ).run()  # fmt: skip
        finally:
            log.close()


def sheet_after(due: float, now: float, every: float, spent: float) -> float:
    """When the next sample sheet is due, as a part of a stage: one of due + n every, unless sheets would take too long.

    A minute's run needs its seconds for its steps: at least spent / SHEET_PART lies between two sheets.

    Args:
        due: when the last one was due.
        now: when it was begun.
        every: the usual distance.
        spent: what it took, as a part of the stage; 0 where steps are counted.
    """
    return max(due + every * (1 + (now - due) // every), now + spent / SHEET_PART)


class _Run:
    """The state of one call of `train`."""

    def __init__(
        self, accelerator, log, config, out, minutes, steps, resume, seed, checkpoint_minutes, weights, accumulate, data
    ):
        if weights:  # whoever asks is new, and would move words that the denoisers can read already
            config = replace(config, questions=0.0, words=0.0)
        if data is not None:  # where nothing can be asked, single frames teach looks sooner (benchmarks/LOG.md)
            config = replace(config, images=max(config.images, TrainConfig.images))
        self.accelerator, self.log, self.accumulate = accelerator, log, accumulate
        self.config, self.out, self.seed = config, out, seed
        self.minutes, self.steps, self.checkpoint_seconds = minutes, steps, 60 * checkpoint_minutes
        set_seed(seed)
        torch.set_flush_denormal(True)  # an untrained network's tiny numbers cost up to a hundred times the time
        self.first = self.accelerator.is_main_process
        self.weights, self.data, self.stop = weights, data, threading.Event()
        found = checkpoint.read(out, self._recipe()) if resume else None
        self.own = None if data is None else self._own_clips(resume)
        self.source: Source = self.own or World(config, seed)
        words = words_of(self.own.captions) if self.own else []
        self.pipe = first_pipeline(config.pipeline, weights, words).to(self.accelerator.device)
        self.stage_number, self.stage = 0, None
        self.sheets, self.next_sheet = 0, config.sheet_every  # so many are written; the next one is due at
        if found:
            self._load(*found)
        elif self.first:  # a run may have ended here
            self.log.cut(0)
            for sheet in (out / SHEETS).glob("[0-9]*-*.png"):
                sheet.unlink()

    def _own_clips(self, resume: bool) -> OwnClips:
        """The clips of the folder's videos; a run that goes on has them already."""
        if not resume:
            self._alone(PREPARATIONS[0], self._read_videos)
        return OwnClips(self.out, self.seed)

    def _read_videos(self, tell: Callable[[int, float], None]) -> None:
        c = self.config.pipeline
        if skipped := own_clips.prepare(Path(self.data), self.out, c.num_frames, c.size, tell):
            warnings.warn(f"{own_clips.summary(skipped)}; the list is in {self.out / own_clips.SKIPPED}", stacklevel=2)

    def _alone(self, name: str, work: Callable[[Callable[[int, float], None]], None]) -> None:
        """Let the first process do something that tells how far it is; the others wait from one report to the next."""
        start = time.monotonic()

        def tell(done: int, fraction: float) -> None:
            seconds = time.monotonic() - start
            left = seconds * (1 - fraction) / max(fraction, 1e-9)
            self.log.tell(Progress(name, fraction, done, math.nan, done / max(seconds, 1e-9), left, 0))
            if self.stop.is_set():
                self._total(-1.0)
                raise self._interrupted(None)
            self._total(1.0)

        if self.first:
            work(tell)
            self._total(0.0)
        else:
            while told := self._total(0.0):
                if told < 0:
                    raise self._interrupted(None)

    def run(self) -> Path:
        in_main = threading.current_thread() is threading.main_thread()
        handlers = {s: signal.signal(s, lambda *_: self.stop.set()) for s in (stops() if in_main else ())}
        try:
            while self.stage_number < len(STAGES):
                if self.config.share[self.stage_number]:
                    self._run_stage()
                else:
                    self.stage_number += 1
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self.pipe.info = {"seed": self.seed, "machine": self._machine(),
                          **({"minutes": self.minutes} if self.minutes else {"steps": self.steps}),
                          **({"after": lineage(self.pipe.info)} if self.weights else {}),
                          **(self.own.about() if self.own else {})}  # fmt: skip
        if self.first:
            self.pipe.save_pretrained(self.out)
            checkpoint.remove(self.out)
            if self.data is not None:
                own_clips.remove(self.out)
        return self.out

    def _machine(self) -> str:
        gpu = self.accelerator.device.type == "cuda"
        one = torch.cuda.get_device_name() if gpu else f"{torch.get_num_threads()} CPU threads"
        processes = self.accelerator.num_processes
        return one if processes == 1 else f"{processes} x {one}"

    def _start_stage(self) -> StageRun:
        if self.own and STAGES[self.stage_number] != "codec":
            encode, codec = self.own.encode_all, self.pipe.visual_encoder.codec
            self._alone(PREPARATIONS[1], lambda tell: encode(codec, self.accelerator.device, tell))
        if STAGES[self.stage_number] == "video" and not self.weights:
            # What the key frames' denoiser has learnt of looks and words is the best start that there is.
            self.pipe.video_generator.denoiser.load_state_dict(self.pipe.visual_encoder.denoiser.state_dict())
        task = TASKS[STAGES[self.stage_number]](self.pipe, self.config, self.seed, self.source)
        return StageRun(task, self.config, self.accelerator, self.accumulate)

    def _total(self, value: float) -> float:
        """The sum over all processes, which all of them get."""
        if self.accelerator.num_processes == 1:
            return value
        return float(self.accelerator.reduce(torch.tensor(value, device=self.accelerator.device).double(), "sum"))

    def _fraction(self, stage: StageRun) -> float:
        share = self.config.share[self.stage_number]
        if self.steps:
            return stage.step / max(round(self.steps * share), 1)
        return stage.seconds / (60 * self.minutes * share)

    def _run_stage(self) -> None:
        name = STAGES[self.stage_number]
        stage = self.stage = self.stage or self._start_stage()
        saved = last = time.monotonic()
        while (fraction := self._total(self._fraction(stage) * self.first)) < 1:
            value = stage.advance(fraction)
            if not math.isnan(value):
                stage.loss = value if math.isnan(stage.loss) else stage.loss + 0.05 * (value - stage.loss)
            now = time.monotonic()
            stage.seconds += now - last
            last = now
            if self.first:
                self._report(name, stage)
            if stage.skipped_in_a_row == PATIENCE:
                raise UserError(
                    f"the loss has not been a number for {PATIENCE} steps: start again with another seed, or in Python with "
                    "a TrainConfig of smaller muon_lr and adamw_lr"
                )
            if fraction >= self.next_sheet:  # before a checkpoint, which knows that it is written
                began = time.monotonic()
                self._write_sheet(name, stage)
                whole = 60 * self.minutes * self.config.share[self.stage_number] if self.minutes else math.inf
                spent = (time.monotonic() - began) / whole
                self.next_sheet = sheet_after(self.next_sheet, fraction, self.config.sheet_every, spent)
            if self._total(self.stop.is_set()):  # whoever was told to
                raise self._interrupted(stage)
            if now - saved > self.checkpoint_seconds:
                self._save(stage)
                saved = time.monotonic()
        stage.task.load_state_dict(stage.ema.module.state_dict())
        stage.task.eval()
        self._write_sheet(name, stage)
        self.stage_number, self.stage, self.next_sheet = self.stage_number + 1, None, self.config.sheet_every
        if self.stage_number < len(STAGES):
            self._save(None)

    def _report(self, name: str, stage: StageRun) -> None:
        share, fraction = self.config.share, min(self._fraction(stage), 1.0)
        rate = stage.clips / max(stage.seconds, 1e-9)
        done = sum(share[: self.stage_number]) + share[self.stage_number] * fraction
        left = stage.seconds / max(fraction, 1e-9) / share[self.stage_number] * (1 - done)
        self.log.report(Progress(name, done, stage.step, stage.loss, rate, left, stage.skipped), stage.seconds)

    @torch.no_grad()
    def _write_sheet(self, name: str, stage: StageRun) -> None:
        """Frames and their reconstructions, or captions drawn by the averaged weights: the toy world's are held-out ones."""
        if not self.first:
            return
        pipe = self.pipe
        captions, clips = self.source.examples(pipe.keyframe_numbers, pipe.device)
        with stage.averaged_weights():
            if name == "codec":
                codec = pipe.visual_encoder.codec
                frames = to_uint8(torch.cat([clips, codec.decode(codec.encode(clips))], dim=2))
            elif name == "key frames":  # the video generator has not learnt anything yet
                text, null = pipe.encode_prompt(captions)
                _, noise = pipe.initial_noise(range(len(captions)))
                drawn = pipe.visual_encoder.generate(
                    pipe.diffusion, text, null, noise, SHEET_STEPS, pipe.config.guidance_scale
                )
                frames = to_uint8(pipe.visual_encoder.codec.decode(drawn))
            else:
                frames = pipe(captions, SHEET_STEPS).frames
        self.sheets += 1
        media.write_clips(self.out / SHEETS / f"{self.sheets:03d}-{name.replace(' ', '-')}.png", frames)

    # ------------------------------------------------------------------ checkpoints

    def _interrupted(self, stage: StageRun | None) -> Interrupted:
        return Interrupted(f"stopped; {self._save(stage)} is written. To go on, run the same command with --resume")

    def _recipe(self) -> str:
        return json.dumps(
            {"config": asdict(self.config), "minutes": self.minutes, "steps": self.steps, "seed": self.seed}
            | ({"weights": str(self.weights)} if self.weights else {})
            | ({"data": str(self.data)} if self.data is not None else {})
        )

    def _save(self, stage: StageRun | None) -> Path:
        if not self.first:
            return self.out / checkpoint.LATEST
        tensors = {f"pipe.{k}": v for k, v in self.pipe.state_dict().items()}
        position: dict[str, Any] = {"stage": self.stage_number, "log": self.log.length()}
        position |= {"sheets": self.sheets, "next_sheet": self.next_sheet}
        if stage is not None:
            tensors |= stage.tensors()
            position |= {"step": stage.step, "seconds": stage.seconds, "updates": stage.ema.updates}
            position |= {"skipped": stage.skipped, "loss": stage.loss, "clips": stage.clips, "began": stage.task.began}
        return checkpoint.write(self.out, tensors, self._recipe(), position)

    def _load(self, tensors: dict[str, torch.Tensor], position: dict) -> None:
        self.stage_number, self.sheets = int(position["stage"]), int(position["sheets"])
        self.next_sheet = position["next_sheet"]
        if self.first:
            self.log.cut(int(position["log"]))
        self.pipe.load_state_dict({k[5:]: v for k, v in tensors.items() if k.startswith("pipe.")})
        if "step" in position:
            self.stage = self._start_stage()
            self.stage.restore(tensors)
            self.stage.step, self.stage.seconds = int(position["step"]), position["seconds"]
            self.stage.loss, self.stage.clips = position["loss"], int(position["clips"])
            self.stage.ema.updates, self.stage.skipped = int(position["updates"]), int(position["skipped"])
            self.stage.task.began = tuple(position.get("began", (0, 0.0)))  # an earlier version did not save it
