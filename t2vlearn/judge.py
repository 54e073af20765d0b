"""The judge: reads a scene's attributes back from pixels, so that "does it follow the prompt" becomes a number.

A small network of its own: trained on real clips (with blur, noise and codec artefacts), never on generated ones, on all
combinations, and sharing no weights with the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2vlearn.codec import FrameCodec
from t2vlearn.errors import UserError
from t2vlearn.optim import EMA, Muon, schedule, split_parameters
from t2vlearn.pipeline import to_tensor
from t2vlearn.storage import load_folder, load_weights, save_folder
from t2vlearn.world.render import render
from t2vlearn.world.scenes import ATTRIBUTES, PLACES, SECOND, SPLITS, SUBJECTS, Scene, sample_scene

BUNDLED = Path(__file__).parent / "weights" / "judge"
SIZE = 32  # what the judge looks at; larger clips are averaged down
NUM_FRAMES = 16
READ = ("colour", "size", "action")  # what is read of each subject that is there


def check_length(num_frames: int) -> None:
    """Refuse clips of another length than the judge reads.

    Raises:
        UserError: for another number of frames.
    """
    if num_frames != NUM_FRAMES:
        raise UserError(
            f"the judge reads clips of {NUM_FRAMES} frames, and these have {num_frames}: choose weights for {NUM_FRAMES}"
        )


def match(reading: dict, asked: Mapping[str, str]) -> dict:
    """The reading of two actors in the order of `asked` (`Scene.attributes`, `parse_prompt`): the judge's is by certainty.

    Where only one of the two subjects is right, it may stay in the wrong place, and then counts as wrong. So shares of single
    attributes are a little too low; "joint" is what it is, for it needs both subjects.
    """
    second = "subject" + SECOND
    if second not in asked or asked["subject"] != reading.get(second):
        return reading

    def other(key: str) -> str:
        return key + SECOND if key in ("subject", *READ) else key.removesuffix(SECOND)

    def swapped(of: dict) -> dict:
        return {other(key): swapped(value) if key == "confidence" else value for key, value in of.items()}

    return swapped(reading)


def _first(reading: dict) -> dict:
    """What a reading says of its first actor."""
    return {k: _first(v) if k == "confidence" else v for k, v in reading.items() if not k.endswith(SECOND)}


class Judge(nn.Module):
    """Clip -> place, and for each subject: is it there, and if so its colour, size and action.

    A CNN sees each frame. From its maps, one path follows where things are over time (for actions), another looks for
    shapes wherever they are (for subjects). One small network then answers the same questions about each subject in
    turn, so that one actor and two are read alike. The even frames and the odd frames are looked at separately and what
    was seen is averaged: training needs only one half a clip, and every frame counts in the end.
    """

    def __init__(self, width: int = 32, features: int = 192):
        super().__init__()
        self.config = {"width": width, "features": features}
        w, d = width, features
        self.maps = nn.Sequential(
            nn.Conv2d(3, w, 5, stride=2, padding=2), nn.ReLU(),  # (b f, w, 16, 16)
            nn.Conv2d(w, 2 * w, 3, stride=2, padding=1), nn.ReLU(),  # (b f, 2 w, 8, 8)
        )  # fmt: skip
        self.where = nn.Sequential(
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * w, d), nn.ReLU(),  # (b f, d)
        )  # fmt: skip
        self.time = nn.Sequential(
            nn.Conv1d(d, d, 3, padding=1), nn.ReLU(),  # (b, d, 8)
            nn.Conv1d(d, d, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),  # (b, 4 d)
        )  # fmt: skip
        self.shapes = nn.Sequential(
            nn.Conv2d(2 * w, 3 * w, 3, padding=1), nn.ReLU(),
            nn.Conv2d(3 * w, 4 * w, 3, padding=1), nn.ReLU(),  # (b f/2, 4 w, 8, 8)
        )  # fmt: skip
        self.join = nn.Sequential(nn.Linear(4 * d + 4 * w, 2 * d), nn.ReLU())
        self.place = nn.Linear(2 * d, len(PLACES))
        self.present = nn.Linear(2 * d, len(SUBJECTS))
        self.query = nn.Embedding(len(SUBJECTS), 2 * d)
        self.about = nn.Sequential(nn.Linear(2 * d, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU())
        self.read_out = nn.ModuleDict({name: nn.Linear(d, len(ATTRIBUTES[name])) for name in READ})
        nn.init.normal_(self.query.weight, 1.0, 0.5)

    def see(self, clips: Tensor) -> Tensor:
        """Half clips (b, 3, 8, h, w) in [-1, 1] -> features (b, 2 d)."""
        frames = clips.transpose(1, 2).flatten(0, 1)
        if frames.shape[-2:] != (SIZE, SIZE):
            frames = F.interpolate(frames, size=(SIZE, SIZE), mode="area")
        maps = self.maps(frames.contiguous(memory_format=torch.channels_last))
        motion = self.time(self.where(maps).unflatten(0, (len(clips), -1)).transpose(1, 2))  # (b, 4 d)
        every_other = maps.unflatten(0, (len(clips), -1))[:, ::2].flatten(0, 1)
        shapes = self.shapes(every_other).amax((2, 3)).unflatten(0, (len(clips), -1)).mean(1)  # (b, 4 w)
        return self.join(torch.cat([motion, shapes], dim=1))

    def features(self, clips: Tensor) -> Tensor:
        """Clips (b, 3, 16, h, w) -> features (b, 2 d), the mean of both halves: what the Fréchet distance compares."""
        return (self.see(clips[:, :, ::2]) + self.see(clips[:, :, 1::2])) / 2

    def forward(self, seen: Tensor) -> dict[str, Tensor]:
        """Features -> logits: "place" (b, 5), "subject" (b, 9), and of each subject "colour" (b, 9, 6), "size", "action"."""
        about = self.about(seen.unsqueeze(1) * self.query.weight)  # (b, 9, d)
        answers = {name: head(about) for name, head in self.read_out.items()}
        return answers | {"place": self.place(seen), "subject": self.present(seen)}

    @torch.no_grad()
    def read(self, frames: np.ndarray | Tensor, actors: int = 1) -> list[dict]:
        """What is seen in clips, in the keys of `Scene.attributes`, and "confidence": key -> probability.

        Args:
            frames: uint8 (n, 16, h, w, 3), or a tensor (n, 3, 16, h, w) in [-1, 1].
            actors: how many to look for, 1 or 2. Of two, the one that is seen more surely comes first.

        Raises:
            UserError: for anything but clips, clips of another length, or another number of actors.
        """
        if actors not in (1, 2):
            raise UserError(f"the judge looks for 1 actor or 2, not {actors}")
        if frames.ndim != 5 or not len(frames):
            raise UserError(f"a batch of clips is needed, of five dimensions, not {tuple(frames.shape)}")
        clips = frames if isinstance(frames, Tensor) else to_tensor(frames)
        check_length(clips.shape[2])
        logits: dict[str, list[Tensor]] = {name: [] for name in (*READ, "place", "subject")}
        for part in clips.split(64):
            for name, value in self(self.features(part)).items():
                logits[name].append(value)
        joined = {name: torch.cat(values) for name, values in logits.items()}
        place = joined["place"].softmax(-1)
        readings = []
        for i in range(len(clips)):
            reading: dict = {"place": PLACES[int(place[i].argmax())]}
            confidence = {"place": float(place[i].max())}
            for slot, subject in enumerate(joined["subject"][i].topk(actors).indices.tolist()):
                suffix = SECOND * slot
                reading["subject" + suffix] = SUBJECTS[subject]
                confidence["subject" + suffix] = float(joined["subject"][i, subject].sigmoid())
                for name in READ:
                    chances = joined[name][i, subject].softmax(-1)
                    reading[name + suffix] = ATTRIBUTES[name][int(chances.argmax())]
                    confidence[name + suffix] = float(chances.max())
            readings.append(reading | {"confidence": confidence})
        return readings

    def read_as_asked(self, frames: np.ndarray, asked: Sequence[Mapping[str, str]]) -> list[dict]:
        """`read`, of as many actors as each clip's prompt names, in its order (`parse_prompt`, `match`)."""
        return [
            match(seen, wanted) if "subject" + SECOND in wanted else _first(seen)
            for seen, wanted in zip(self.read(frames, actors=2), asked, strict=True)
        ]

    def loss(self, clips: Tensor, scenes: list[Scene]) -> Tensor:
        """Cross-entropy on half clips (b, 3, 8, h, w): the place, which subjects are there, and what is read of those."""
        logits = self(self.see(clips))
        place = torch.tensor([PLACES.index(scene.place) for scene in scenes])
        present = torch.zeros(len(scenes), len(SUBJECTS))
        answers: dict[str, list[tuple[int, int, int]]] = {name: [] for name in READ}
        for i, scene in enumerate(scenes):
            for actor in scene.actors:
                subject = SUBJECTS.index(actor.subject)
                present[i, subject] = 1
                for name in READ:
                    value = actor.named_size if name == "size" else getattr(actor, name)
                    if value is not None:
                        answers[name].append((i, subject, ATTRIBUTES[name].index(value)))
        loss = F.cross_entropy(logits["place"], place)
        loss = loss + len(SUBJECTS) * F.binary_cross_entropy_with_logits(logits["subject"], present)
        for name, rows in answers.items():
            if rows:  # of what grows or shrinks no size is asked
                clip, subject, value = torch.tensor(rows).T
                loss = loss + F.cross_entropy(logits[name][clip, subject], value)
        return loss

    @classmethod
    def from_pretrained(cls, folder: Path | str | None = None) -> Judge:
        """Load a judge: the bundled one, or one from a folder.

        Raises:
            UserError: if the folder is missing, damaged, or holds no judge.
        """
        source = BUNDLED if folder is None else Path(folder)
        config, weights = load_folder(source)
        try:
            judge = cls(**config["judge"])
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{source} holds no judge: give a folder made by `Judge.save_pretrained`") from None
        load_weights(judge, weights, source)
        return judge.eval()

    def save_pretrained(self, folder: str | Path, info: dict) -> None:
        """Write the weights folder."""
        save_folder(Path(folder), self.state_dict(), {"judge": self.config, "info": info})


def worsen(clips: Tensor, codec: FrameCodec, rng: np.random.Generator) -> Tensor:
    """Real clips as a generator might make them: some blurred, some noisy, some through the codec with noisy latents."""
    out = clips.clone()
    kind = rng.random(len(clips))
    for i in np.flatnonzero(kind < 0.25):  # blur: mix with a 3 x 3 average
        blurred = F.avg_pool2d(clips[i].transpose(0, 1), 3, 1, 1, count_include_pad=False).transpose(0, 1)
        out[i].lerp_(blurred, float(rng.random()))
    coded = np.flatnonzero(kind > 0.92)
    if len(coded):
        latents = codec.encode(clips[coded])
        noise = torch.from_numpy(rng.standard_normal(tuple(latents.shape), dtype=np.float32))
        out[coded] = codec.decode(latents + 0.25 * float(rng.random()) * noise).clamp(-1, 1)
    level = 0.15 * rng.random(len(clips)) * (rng.random(len(clips)) < 0.5)
    noise = rng.standard_normal(tuple(clips.shape), dtype=np.float32)
    return out + torch.from_numpy(noise * level.astype(np.float32)[:, None, None, None, None])


def train_judge(
    codec: FrameCodec,
    steps: int,
    batch: int = 64,
    seed: int = 0,
    on_step: Callable[[int, float, Judge], None] | None = None,
    kind: type[Judge] | None = None,
    shares: tuple[float, float, float] = (0.65, 0.1, 0.25),
) -> Judge:
    """Train a judge from nothing: scenes of one actor in all combinations, and of two in those that training shows.

    Args:
        codec: gives the artefacts.
        steps, batch: optimiser steps and clips each.
        seed: of weights, clips and artefacts.
        on_step: called with the step, the loss and the running average.
        kind: of judge, by its class; default: the one that ships.
        shares: of the scenes' splits, one actor (training and held-out combinations) and two.
    """
    torch.manual_seed(seed)
    judge = (kind or Judge)()
    ema = EMA(judge, 0.998)
    matrices, others = split_parameters(judge, keep_out=("maps.0.", "place", "present", "read_out"))
    optimisers = [Muon(matrices, lr=2e-3), torch.optim.AdamW(others, lr=2e-3, weight_decay=0.01)]
    base = [group["lr"] for o in optimisers for group in o.param_groups]
    for step in range(steps):
        for optimiser, lr in zip(optimisers, base, strict=True):
            optimiser.param_groups[0]["lr"] = lr * schedule(step / steps, step, cool_down=0.5)
        rng = np.random.default_rng((seed, step))
        splits = rng.choice(SPLITS, size=batch, p=shares)
        scenes = [sample_scene(step * batch + i, str(split), seed + 1000) for i, split in enumerate(splits)]
        half = range(int(rng.integers(2)), NUM_FRAMES, 2)
        clips = render(scenes, NUM_FRAMES, SIZE, seed + 1000, half, start=step * batch)
        with torch.no_grad():
            clips = worsen(clips, codec, rng)
        loss = judge.loss(clips, scenes)
        judge.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        ema.update(judge)
        if on_step is not None:
            on_step(step + 1, loss.item(), ema.module)
    return ema.module
