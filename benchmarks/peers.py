"""Our model beside others of its size. `python benchmarks/peers.py [--seconds 240] [--samples 24] [--only NAME]`

It needs the peers: `pip install -c constraints.txt -e '.[peers]'`, best in an environment of its own.

Networks of some four million parameters each, text encoder included. The same world, captions, text encoder, process
(rectified flow), steps, guidance and judge for all, and in the turns the same batch. Pixels for `video-diffusion-pytorch`'s
Unet3D, as its authors use it; the latents of our bundled codec for the two networks of `diffusers` and for ours, which are
made for latents. Each peer's empty caption is trained (a tenth of the clips). Theirs are trained by AdamW, ours, the preset
`tiny`, as `t2vlearn train` does it (without the codec's stage): with questions, and key frames first. So one
of our clips is mostly one of four frames; `t2vlearn, video` is the time of whole ones.

First all take turns in one process: seconds a step, so that what slows the machine slows all. Then each, in a process of
its own, trains for the same time from nothing and makes held-out clips. Prints a table and writes
benchmarks/results/peers.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import MagicMock, patch

import numpy as np
import torch
from accelerate import Accelerator
from limit import machine_name
from rich.progress import track
from torch import Tensor, nn

from t2vlearn import Judge, TextToVideoPipeline
from t2vlearn.diffusion import RectifiedFlow
from t2vlearn.evaluation import SEED, Accuracy, prompts_of
from t2vlearn.optim import EMA, schedule
from t2vlearn.pipeline import to_uint8
from t2vlearn.recipe import PRESETS, STAGES
from t2vlearn.stage_run import StageRun
from t2vlearn.stages import TASKS, generator_at
from t2vlearn.text import Text, TextEncoder
from t2vlearn.world import render, sample_scenes

RESULT = Path(__file__).parent / "results" / "peers.json"
OURS, SIZE, FRAMES, DIM, BATCH = "t2vlearn", 32, 16, 128, 8
STEPS, GUIDANCE, LEARNING_RATE = 20, 3.0, 1e-3
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# ---------------------------------------------------------------------- the peers' networks


class Unet3D(nn.Module):
    """video-diffusion-pytorch (Ho et al. 2022, "Video Diffusion Models"): pixels, told the caption as one vector."""

    channels, side = 3, SIZE

    def __init__(self):
        super().__init__()
        # The package imports torchvision for reading folders, which we do not do; its wheel and our torch rarely fit.
        with patch.dict(sys.modules, {"torchvision": MagicMock()}):
            from video_diffusion_pytorch import Unet3D as Network

        self.network = Network(dim=32, cond_dim=DIM, dim_mults=(1, 2, 4), channels=3)
        self.network.null_cond_emb.requires_grad_(False)  # unused: the empty caption is trained as all others are

    def forward(self, x: Tensor, tau: Tensor, text: Text) -> Tensor:
        """The velocity."""
        return self.network(x, 1000 * tau, cond=text.pooled)


class DiffusersUnet(nn.Module):
    """diffusers' UNet3DConditionModel (ModelScope's text-to-video): latents, cross-attention to the words."""

    channels, side = 8, SIZE // 4

    def __init__(self):
        super().__init__()
        from diffusers import UNet3DConditionModel

        self.network = UNet3DConditionModel(
            in_channels=8, out_channels=8, block_out_channels=(48, 80), layers_per_block=1, norm_num_groups=16,
            down_block_types=("CrossAttnDownBlock3D", "CrossAttnDownBlock3D"),
            up_block_types=("CrossAttnUpBlock3D", "CrossAttnUpBlock3D"), cross_attention_dim=DIM, attention_head_dim=8,
        )  # fmt: skip

    def forward(self, x: Tensor, tau: Tensor, text: Text) -> Tensor:
        """The velocity."""
        return self.network(x, 1000 * tau, text.tokens * text.mask.unsqueeze(-1)).sample


class Wan(nn.Module):
    """diffusers' WanTransformer3DModel (Wan 2.1): a transformer over all space-time patches of the latents."""

    channels, side = 8, SIZE // 4

    def __init__(self):
        super().__init__()
        from diffusers import WanTransformer3DModel

        self.network = WanTransformer3DModel(
            num_attention_heads=6, attention_head_dim=32, in_channels=8, out_channels=8, text_dim=DIM, freq_dim=DIM,
            ffn_dim=768, num_layers=5,
        )  # fmt: skip

    def forward(self, x: Tensor, tau: Tensor, text: Text) -> Tensor:
        """The velocity."""
        return self.network(x, 1000 * tau, text.tokens * text.mask.unsqueeze(-1)).sample


PEERS: dict[str, type] = {"video-diffusion-pytorch": Unet3D, "diffusers UNet3D": DiffusersUnet, "diffusers Wan": Wan}


class Peer(nn.Module):
    """A text encoder as ours, a peer's network, and how they learn and make clips."""

    def __init__(self, network: type, codec: nn.Module):
        super().__init__()
        torch.manual_seed(0)
        self.text_encoder, self.network = TextEncoder(None, DIM, 3, 4), network()
        self.codec = [codec]  # in a list: it is not trained
        self.process = RectifiedFlow("v")
        self.to(DEVICE).train()
        parameters = [p for p in self.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, betas=(0.9, 0.99), fused=True)
        self.ema, self.count = EMA(nn.ModuleList([self.text_encoder, self.network])), 0

    def advance(self, fraction: float) -> None:
        """One step, with the schedule of ours."""
        for group in self.optimiser.param_groups:
            group["lr"] = LEARNING_RATE * schedule(fraction, self.count)
        rng = generator_at(0, "video", self.count)
        scenes = sample_scenes(BATCH, "train", 0, start=self.count * BATCH)
        clips = render(scenes, FRAMES, SIZE, 0, device=DEVICE, start=self.count * BATCH)
        captions = [
            "" if rng.random() < 0.1 else scene.caption("zh" if rng.random() < 0.4 else "en", seed=int(rng.integers(2**31)))
            for scene in scenes
        ]  # fmt: skip
        if self.network.channels != 3:
            with torch.no_grad():
                clips = self.codec[0].encode(clips)
        tau, noise = self.process.sample_tau(BATCH, device=DEVICE), torch.randn_like(clips)
        text = self.text_encoder.encode(captions)
        with torch.autocast("cuda", torch.bfloat16, enabled=DEVICE.type == "cuda"):
            prediction = self.network(self.process.add_noise(clips, noise, tau), tau, text).float()
        self.process.loss(prediction, clips, noise, tau).backward()
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.ema.update(nn.ModuleList([self.text_encoder, self.network]))
        self.count += 1

    @torch.no_grad()
    def make(self, captions: list[str], seed: int) -> np.ndarray:
        """Clips uint8 (n, f, h, w, 3) by the averaged weights."""
        encoder, network = self.ema.module
        text, null = (encoder.encode(c) for c in (captions, [""] * len(captions)))

        def denoise(x: Tensor, tau: Tensor) -> Tensor:
            plain = network(x, tau[:, 0], null)
            return plain + GUIDANCE * (network(x, tau[:, 0], text) - plain)

        torch.manual_seed(seed)
        shape = (len(captions), self.network.channels, FRAMES, self.network.side, self.network.side)
        clips = self.process.sample(denoise, torch.randn(shape, device=DEVICE), STEPS)
        return to_uint8(clips if self.network.channels == 3 else self.codec[0].decode(clips))


# ---------------------------------------------------------------------- ours


class Ours:
    """Our pipeline with the bundled codec, everything else from nothing: key frames, then the video generator."""

    def __init__(self, codec: nn.Module, batch: int | None = None):
        torch.manual_seed(0)
        config = PRESETS["tiny"]
        self.config = replace(config, batch=(batch,) * 3) if batch else config
        self.pipe = TextToVideoPipeline(**asdict(config.pipeline)).to(DEVICE)
        self.pipe.visual_encoder.codec.load_state_dict(codec.state_dict())
        self.accelerator = Accelerator(mixed_precision="bf16" if DEVICE.type == "cuda" else "no")

    def stage(self, name: str) -> StageRun:
        """A stage at its start."""
        return StageRun(TASKS[name](self.pipe, self.config, 0), self.config, self.accelerator)

    def train(self, seconds: float) -> int:
        """Both stages within that time; the number of clips seen."""
        shares = dict(zip(STAGES, self.config.share, strict=True))
        clips = 0
        for name in STAGES[1:]:
            if name == "video":
                start = self.pipe.visual_encoder.denoiser.state_dict()
                self.pipe.video_generator.denoiser.load_state_dict(start)
            run = self.stage(name)

            def advance(fraction: float, run: StageRun = run) -> None:
                nonlocal clips
                clips += run.task.batch_size * run.task.pictured(fraction)
                run.advance(fraction)

            spend(advance, seconds * shares[name] / (1 - shares["codec"]))
            run.task.load_state_dict(run.ema.module.state_dict())
            run.task.eval()
        return clips

    def make(self, captions: list[str], seed: int) -> np.ndarray:
        """Clips uint8 (n, f, h, w, 3)."""
        return self.pipe(captions, STEPS, GUIDANCE, seed=seed).frames


def spend(advance: Callable[[float], object], seconds: float) -> None:
    """Steps until the time is over."""
    start = time.perf_counter()
    while (fraction := (time.perf_counter() - start) / seconds) < 1:
        advance(fraction)


# ---------------------------------------------------------------------- the two measurements


def take_turns(names: list[str], rounds: int) -> dict[str, float]:
    """Median seconds a clip of a training step, all in turns."""
    codec = TextToVideoPipeline.from_pretrained().visual_encoder.codec.to(DEVICE)
    steps: dict[str, Callable] = {name: Peer(PEERS[name], codec).advance for name in names if name != OURS}
    ours = Ours(codec, BATCH)
    steps |= {f"{OURS}, {name}": ours.stage(name).advance for name in STAGES[1:]}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in track(range(rounds + 1), description="taking turns", show_speed=False):
        for name, step in steps.items():
            start = time.perf_counter()
            step(1 - turn / 100)  # late in a stage: key frames are whole clips by then
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[name].append((time.perf_counter() - start) / BATCH)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def alone(name: str, seconds: float, samples: int) -> dict:
    """Train one model for so long, and have its clips judged."""
    torch.set_flush_denormal(True)
    codec = TextToVideoPipeline.from_pretrained().visual_encoder.codec.to(DEVICE)
    if name == OURS:
        model = Ours(codec)
        clips = model.train(seconds)
        count = sum(p.numel() for p in model.pipe.parameters()) - sum(p.numel() for p in codec.parameters())
    else:
        model = Peer(PEERS[name], codec)
        spend(model.advance, seconds)
        clips, count = model.count * BATCH, sum(p.numel() for p in model.parameters())
    memory = torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else peak_memory()
    scenes, captions = prompts_of("heldout", samples)
    start = time.perf_counter()
    parts = [model.make(captions[i : i + BATCH], SEED + i) for i in range(0, samples, BATCH)]
    spent = time.perf_counter() - start
    accuracy = Accuracy.of(Judge.from_pretrained().read(np.concatenate(parts)), scenes, captions)
    return {
        "parameters": count,
        "clips_seen": clips,
        "memory_gb": memory / 1e9,
        "seconds_to_make_a_clip": spent / samples,
        "accuracy": {key: row["accuracy"] for key, row in accuracy.rows().items()},
    }


def peak_memory() -> float:
    """Bytes this process has held at most (Linux; elsewhere unknown). getrusage would count what its parent held."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240, help="training time of each")
    parser.add_argument("--samples", type=int, default=24, help="held-out clips of each")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each, in turns")
    parser.add_argument("--only", choices=[OURS, *PEERS], help="train this one alone and print JSON")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(alone(options.only, options.seconds, options.samples)))
        return
    if missing := [name for name in ("video_diffusion_pytorch", "diffusers") if find_spec(name) is None]:
        print(f"left out, for want of {', '.join(missing)}: pip install -c constraints.txt -e '.[peers]'")
        return
    per_clip = take_turns([OURS, *PEERS], options.rounds)
    # A clip costs what the recipe spends on it: the stages' shares of the time, each at its own speed.
    shares = dict(zip(STAGES, PRESETS["tiny"].share, strict=True))
    rates = [(shares[name], per_clip[f"{OURS}, {name}"]) for name in STAGES[1:]]
    per_clip[OURS] = sum(share for share, _ in rates) / sum(share / spent for share, spent in rates)
    models = {}
    for name in track([OURS, *PEERS], description="training alone", show_speed=False):
        command = [sys.executable, __file__, "--only", name, "--seconds", options.seconds, "--samples", options.samples]
        answer = subprocess.run([str(x) for x in command], capture_output=True, text=True, check=True).stdout
        models[name] = json.loads(answer.splitlines()[-1])
        models[name] |= {"seconds_a_clip": per_clip[name], "times_ours": per_clip[name] / per_clip[OURS]}
    for name, seconds in per_clip.items():
        print(f"{name:28} {1000 * seconds:8.1f} ms a clip of training, {seconds / per_clip[OURS]:6.1f} times ours")
    for name, row in models.items():
        print(
            f"{name:24} {row['parameters'] / 1e6:5.2f} M  {row['clips_seen']:6} clips seen  {row['memory_gb']:5.2f} GB  "
            f"{row['seconds_to_make_a_clip']:6.2f} s to make a clip  "
            + "  ".join(f"{key} {value:.2f}" for key, value in row["accuracy"].items())
        )
    machine = {"threads": torch.get_num_threads(), "device": str(DEVICE), "name": machine_name()}
    result = {"seconds": options.seconds, "samples": options.samples, "batch": BATCH, "machine": machine}
    RESULT.write_text(json.dumps(result | {"training_step": per_clip, "models": models}, indent=1) + "\n")


if __name__ == "__main__":
    main()
