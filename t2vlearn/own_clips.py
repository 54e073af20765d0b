"""Videos of one's own as a source of training clips: each is read once; what the model sees of it stays in the run's folder.

That is 16 small frames a video, far less than the video itself. The codec learns from the frames. Once it is done it encodes
them all, and the later stages learn from the latents.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from t2vlearn.codec import FrameCodec
from t2vlearn.decoding import Unusable, read_clip
from t2vlearn.errors import UserError
from t2vlearn.files import whole_file
from t2vlearn.folder import Skipped, Video, find_videos, total_bytes
from t2vlearn.text import MAX_TOKENS, build_tokenizer, split

FOLDER, INDEX, SKIPPED = ".clips", "index.json", "skipped.txt"
PER_FILE = 512  # clips


def prepare(data: Path, out: Path, num_frames: int, size: int, progress: Callable[[int, float], None]) -> list[Skipped]:
    """Read all videos of a folder (`find_videos`) into `out`: frames and captions, and a list of what was skipped.

    Captions are cut to the words that the text encoder takes.

    Args:
        data: the folder of videos.
        out: the run's folder. `.clips/` in it is made anew; `skipped.txt` is there only if something is skipped.
        num_frames, size: of each clip.
        progress: called with the number of files that are done and the fraction of all bytes, after each file.

    Returns:
        What was skipped.

    Raises:
        UserError: if no video can be used, or nothing can be written.
    """
    total, read, folder = max(total_bytes(data), 1), 0, out / FOLDER
    remove(out)
    (out / SKIPPED).unlink(missing_ok=True)
    tokenizer = build_tokenizer(())
    captions: list[str] = []
    clips: list[Tensor] = []
    skipped: list[Skipped] = []
    for done, (video, frames) in enumerate(_decoded(find_videos(data), num_frames, size), 1):
        words = split(tokenizer, video.caption) if isinstance(video, Video) else []
        if isinstance(video, Skipped):
            skipped.append(video)
        elif not words:
            skipped.append(Skipped(video.name, "no words in its caption"))
        elif isinstance(frames, str):
            skipped.append(Skipped(video.name, frames))
        else:
            captions.append(" ".join(video.caption.split() if len(words) <= MAX_TOKENS else words[:MAX_TOKENS]))
            clips.append(torch.from_numpy(frames))
        if len(clips) == PER_FILE:
            _save(folder / _name("frames", len(captions) - 1), torch.stack(clips))
            clips = []
        read += video.size if isinstance(video, Video) else 0
        progress(done, min(read / total, 1.0))
    if skipped:
        with whole_file(out / SKIPPED) as temporary:
            lines = (f"{name}: {reason}".replace("\n", " ") + "\n" for name, reason in skipped)
            temporary.write_text("".join(lines), encoding="utf-8", errors="replace")
    if not captions:
        why = f": {summary(skipped)}; the list is in {out / SKIPPED}" if skipped else ""
        raise UserError(f"there is no captioned video in {data} that can be used{why}")
    if clips:
        _save(folder / _name("frames", len(captions) - 1), torch.stack(clips))
    with whole_file(folder / INDEX) as temporary:
        temporary.write_text(json.dumps({"captions": captions}, ensure_ascii=False), encoding="utf-8", errors="replace")
    return skipped


def summary(skipped: Sequence[Skipped]) -> str:
    """How many were skipped, and for which reasons, in a line without names."""
    reasons = Counter(reason for _, reason in skipped).most_common(4)
    rest = len(skipped) - sum(n for _, n in reasons)
    told = [f"{reason} ({n})" for reason, n in reasons] + ([f"other reasons ({rest})"] if rest else [])
    return f"{len(skipped)} skipped: {', '.join(told)}"


def remove(out: Path) -> None:
    """A run that is over needs no clips."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


class OwnClips:
    """The clips that `prepare` has left in a run's folder; the number of one is all that stands for it.

    Every epoch shows each clip once, in an order that follows from (seed, epoch). Where a stage goes on with fewer clips a
    step, it goes on at another place of the list.

    Args:
        out: the run's folder.
        seed: of the order.

    Raises:
        UserError: if nothing is prepared there.
    """

    def __init__(self, out: Path, seed: int):
        self.folder, self.seed = out / FOLDER, seed
        try:
            index = json.loads((self.folder / INDEX).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UserError(
                f"the clips in {self.folder} are missing: choose another folder with --out to read the videos again"
            ) from None
        self.captions: list[str] = index["captions"]
        self._orders: dict[int, np.ndarray] = {}
        self._files: dict[str, safe_open] = {}

    def __deepcopy__(self, memo: dict) -> OwnClips:
        return self  # the running average of a task needs no clips of its own

    def about(self) -> dict:
        """What weights say of the clips that they have learnt from: how many, and a caption that they know."""
        return {"clips": len(self.captions), "example": self.captions[0]}

    def draw(self, step: int, n: int, room: int, rng: np.random.Generator) -> list[int]:
        """Number step * n and the next ones of an endless list: a permutation of all clips, then another one."""
        places = (divmod(i, len(self.captions)) for i in range(step * n, (step + 1) * n))
        return [int(self._order(epoch)[place]) for epoch, place in places]

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            self._orders = {k: order for k, order in self._orders.items() if k == epoch - 1}
            self._orders[epoch] = np.random.default_rng((self.seed, epoch)).permutation(len(self.captions))
        return self._orders[epoch]

    def caption(self, clip: int, rng: np.random.Generator) -> str:
        """What is said about it."""
        return self.captions[clip]

    def frames(self, clips: Sequence[int], numbers: Sequence[int], device: torch.device) -> Tensor:
        """The frames of these numbers: float32 (n, 3, f, s, s) in [-1, 1]."""
        frames = torch.stack([self._read("frames", clip)[list(numbers)] for clip in clips])  # (n, f, s, s, 3)
        return frames.to(device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1

    def latents(self, clips: Sequence[int], numbers: Sequence[int], codec: FrameCodec, device: torch.device) -> Tensor:
        """The latents of these frames, as `encode_all` has left them: (n, c, f, h, w)."""
        return torch.stack([self._read("latents", clip)[:, list(numbers)] for clip in clips]).to(device).float()

    def examples(self, numbers: Sequence[int], device: torch.device) -> tuple[list[str], Tensor]:
        """The first clips of the folder."""
        return self.captions[:8], self.frames(range(len(self.captions[:8])), numbers, device)

    @torch.no_grad()
    def encode_all(self, codec: FrameCodec, device: torch.device, progress: Callable[[int, float], None]) -> None:
        """Encode all clips into float16 latents, where that is not done yet with this very codec; frames remain.

        Raises:
            UserError: if they cannot be written.
        """
        digest = hashlib.sha256(b"".join(v.cpu().numpy().tobytes() for v in codec.state_dict().values())).hexdigest()
        self._files = {}
        for first in range(0, len(self.captions), PER_FILE):
            path = self.folder / _name("latents", first)
            if not (path.exists() and safe_open(path, "pt").metadata() == {"codec": digest}):
                clips = range(first, min(first + PER_FILE, len(self.captions)))
                numbers = range(len(self._read("frames", first)))
                latents = [codec.encode(self.frames([clip], numbers, device))[0].half().cpu() for clip in clips]
                _save(path, torch.stack(latents), {"codec": digest})
            done = min(first + PER_FILE, len(self.captions))
            progress(done, done / len(self.captions))

    def _read(self, kind: str, clip: int) -> Tensor:
        """One clip of a file that stays open: a part of it is in memory, as far as the system sees fit."""
        name = _name(kind, clip)
        if name not in self._files:
            self._files[name] = safe_open(self.folder / name, "pt")
        return self._files[name].get_slice("clips")[clip % PER_FILE]


def _name(kind: str, clip: int) -> str:
    return f"{kind}-{clip // PER_FILE:05}.safetensors"


def _save(path: Path, clips: Tensor, metadata: dict[str, str] | None = None) -> None:
    try:
        with whole_file(path) as temporary:
            save_file({"clips": clips.contiguous()}, temporary, metadata)
    except SafetensorError as error:
        raise UserError(f"cannot write {path}: {error}; free some space or choose another disk") from None


def _decoded(
    videos: Iterable[Video | Skipped], num_frames: int, size: int
) -> Iterator[tuple[Video | Skipped, np.ndarray | str]]:
    """The same in the same order, each with its frames or with why there are none: as many at a time as there are cores."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def read(video: Video | Skipped) -> np.ndarray | str:
        try:
            if isinstance(video, Skipped):
                return video.reason
            with video.open() as file:
                return read_clip(file, num_frames, size)
        except Unusable as error:
            return str(error)
        except OSError as error:
            return f"cannot be read: {error.strerror}"

    waiting: deque[tuple[Video | Skipped, Future]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for video in videos:
            waiting.append((video, pool.submit(read, video)))
            if len(waiting) > workers:
                first, result = waiting.popleft()
                yield first, result.result()
        for video, result in waiting:
            yield video, result.result()
