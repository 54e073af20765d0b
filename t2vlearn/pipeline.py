"""The article's diagram as code: text -> text encoder -> visual encoder (key frames) -> video generator -> video."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from t2vlearn.codec import FrameCodec
from t2vlearn.config import PipelineConfig
from t2vlearn.denoiser import SpaceTimeDenoiser
from t2vlearn.errors import UserError
from t2vlearn.storage import CONFIG_FILE, WEIGHTS_FILE, load_folder, load_weights, save_folder
from t2vlearn.text import Text, TextEncoder, check_words
from t2vlearn.video import VideoGenerator, steps_between
from t2vlearn.visual import VisualEncoder

BUNDLED = Path(__file__).parent / "weights" / "pipeline"


@dataclass
class Output:
    """What the pipeline made: `frames` uint8 (n, f, h, w, 3), `keyframes` uint8 (n, k, h, w, 3), and the prompts."""

    frames: np.ndarray
    keyframes: np.ndarray
    prompts: list[str]

    def save(self, path: str | Path, index: int | None = None) -> Path:
        """Write a file by its suffix: .mp4, .webm, .gif, .webp, or .png (contact sheet).

        Several clips stand side by side in a video and below each other in a contact sheet; `index` picks one. The file
        says of itself that it is generated (`media.MARK`).

        Raises:
            UserError: for an unknown suffix or a folder that cannot be written.
        """
        from t2vlearn import media

        clips = self.frames if index is None else self.frames[[index]]
        return media.write_clips(path, clips, mark=media.MARK)


def to_uint8(frames: Tensor) -> np.ndarray:
    """round(127.5 (clamp(x, -1, 1) + 1)): (n, 3, f, h, w) -> uint8 (n, f, h, w, 3)."""
    return ((frames.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 4, 1).cpu().numpy()


def to_tensor(frames: np.ndarray) -> Tensor:
    """x / 127.5 - 1: uint8 (n, f, h, w, 3) -> float32 (n, 3, f, h, w) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).float().permute(0, 4, 1, 2, 3) / 127.5 - 1


class TextToVideoPipeline(nn.Module, PyTorchModelHubMixin, library_name="t2vlearn", tags=["text-to-video"]):
    """Text -> video. Call it with a prompt; see `__call__`.

    Args:
        info: where the weights came from (machine, minutes, seed, scores).
        **config: fields of `PipelineConfig`.
    """

    def __init__(self, info: dict | None = None, **config):
        super().__init__()
        self.config = c = PipelineConfig(**config)
        self.info = info or {}
        grid = c.size // c.down
        self.text_encoder = TextEncoder(c.words or None, c.dim, c.text_depth, c.num_heads)
        c.words = list(self.text_encoder.words)

        def denoiser():
            return SpaceTimeDenoiser(c.latent_channels, grid, c.dim, c.depth, c.num_heads, width=c.width, convs=c.convs)

        times = [round(i * (c.num_frames - 1) / (c.num_keyframes - 1)) for i in range(c.num_keyframes)]
        self.keyframe_numbers = times
        codec = FrameCodec(c.latent_channels, c.down, c.codec_width)
        self.visual_encoder = VisualEncoder(codec, denoiser(), [t / (c.num_frames - 1) for t in times])
        self.video_generator = VideoGenerator(denoiser(), c.num_frames)
        self.diffusion = c.diffusion()
        self.eval()

    # ------------------------------------------------------------------ use

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        num_inference_steps: int = 20,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        seed: int | Sequence[int] = 0,
        image: np.ndarray | None = None,
        keyframes: np.ndarray | dict[int, np.ndarray] | None = None,
        continue_from: np.ndarray | None = None,
        callback: Callable[[str, int, int, Tensor], None] | None = None,
    ) -> Output:
        """Generate one clip a prompt.

        Repeatable: prompt and seed give the same clip to the last bit, on one machine with the same versions and number of
        threads; so do weights saved and loaded (they are half precision), and `generate_long` for its first segment. In a
        batch, or on more threads, sums are taken in another order: latents differ by less than 1e-4, pictures by one level at
        most (benchmarks/determinism.py). Other processors, a GPU and other versions of torch may differ by more.

        Args:
            prompt: one prompt or a batch, English or Chinese.
            num_inference_steps: network evaluations for the key frames, or for a continued clip; filling in between key frames
                takes a fifth as many, at least two (`video.steps_between`).
            guidance_scale: s of classifier-free guidance; 1 leaves it out; default: the weights' own, `config.guidance_scale`.
                It acts on the key frames, or on a continued clip; filling in between key frames uses 1.
            negative_prompt: what guidance moves away from; default: the empty caption.
            seed: of the first clip (the next ones count on), or one seed a clip.
            image: first frame, uint8 (h, w, 3), as an array or a picture of Pillow's.
            keyframes: all key frames, uint8 (k, h, w, 3), or some: {frame number in `keyframe_numbers`: image}.
            continue_from: an earlier clip, uint8 (f, h, w, 3): its last four frames, or all of a shorter one, are this
                clip's first; at least one frame is left to draw.
            callback: called as (stage, step, number of steps, latents) with stage "key frames" or "video" and the present
                estimate of the clean latents.

        Returns:
            `Output` with frames and key frames.

        Raises:
            UserError: for an empty, over-long or wholly unknown prompt, a bad number of steps or guidance, seeds that are
                not one a prompt or out of range, an image of another size, or key frames at other places.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        guidance_scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        check_numbers(num_inference_steps, guidance_scale)
        for text in prompts or [""]:
            self.check_prompt(text)
        if negative_prompt:
            self.check_prompt(negative_prompt)
        text, null = self.encode_prompt(prompts, negative_prompt)
        n, c = len(prompts), self.config
        seeds = list(seed) if isinstance(seed, Iterable) else [seed + i for i in range(n)]
        if len(seeds) != n:
            raise UserError(f"{n} prompts need {n} seeds, not {len(seeds)}")

        def report(stage: str, steps: int):
            return None if callback is None else lambda i, x: callback(stage, i, steps, x)

        # 1. Key frames: from text alone, or around those that are given.
        latents, key_noise = self.initial_noise(seeds)
        known = torch.zeros(n, c.num_frames, dtype=torch.bool, device=self.device)
        if continue_from is not None:
            if image is not None or keyframes is not None:
                raise UserError("a clip that continues another has no image or key frames: give one or the other")
            if len(continue_from) == 0:
                raise UserError("the clip to continue from is empty: give at least one frame")
            given = dict(enumerate(continue_from[-min(4, c.num_frames - 1) :]))
        else:
            given = self._given_keyframes(image, keyframes)
        for number, frame in given.items():
            latents[:, :, number] = self._encode_image(frame)
            known[:, number] = True
        if continue_from is None:
            key_known = known[:, self.keyframe_numbers]
            key_noise = torch.where(key_known[:, None, :, None, None], latents[:, :, self.keyframe_numbers], key_noise)
            latents[:, :, self.keyframe_numbers] = self.visual_encoder.generate(
                self.diffusion, text, null, key_noise, num_inference_steps, guidance_scale, key_known,
                on_step=report("key frames", num_inference_steps),
            )  # fmt: skip
            known[:, self.keyframe_numbers] = True
            num_inference_steps = steps_between(num_inference_steps)
            guidance_scale = 1.0  # key frames say all that the text says; guidance adds nothing in between
        # 2. The clip around the known frames.
        latents = self.video_generator.generate(
            self.diffusion, text, null, latents, known, num_inference_steps, guidance_scale,
            on_step=report("video", num_inference_steps),
        )  # fmt: skip
        frames = to_uint8(self.visual_encoder.codec.decode(latents))
        for number, frame in given.items():
            frames[:, number] = frame
        return Output(frames, frames[:, self.keyframe_numbers], prompts)

    def unknown_words(self, prompt: str) -> dict[str, list[str]]:
        """Words of the prompt that the model does not know, each with known words that are spelt like it."""
        return self.text_encoder.unknown_words(prompt)

    def encode_prompt(self, prompts: list[str], negative_prompt: str = "") -> tuple[Text, Text]:
        """What the generators read: the encoded prompts, and the negative prompt as often."""
        tokens, mask, pooled = self.text_encoder.encode([*prompts, negative_prompt])
        n = len(prompts)
        text = Text(tokens[:n], mask[:n], pooled[:n])
        null = Text(*(part[n:].expand(n, *part.shape[1:]) for part in (tokens, mask, pooled)))
        return text, null

    def initial_noise(self, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What sampling starts from: standard normal (n, c, f, h, w) for the frames and (n, c, k, h, w) for the key frames.

        A clip's noise depends on its own seed alone.

        Raises:
            UserError: for a seed that is no whole number, below 0, or from 2^63 up.
        """
        if not all(isinstance(s, int | np.integer) and 0 <= s < 2**63 for s in seeds):
            raise UserError(f"seeds are whole numbers from 0 up to 2^63 - 1, not {list(seeds)}")
        generators, c = [torch.Generator().manual_seed(int(s)) for s in seeds], self.config
        grid = c.size // c.down

        def noise(frames: int) -> Tensor:
            shape = (c.latent_channels, frames, grid, grid)
            return torch.stack([torch.randn(shape, generator=g) for g in generators]).to(self.device)

        return noise(c.num_frames), noise(c.num_keyframes)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def check_prompt(self, prompt: str) -> None:
        """Warn of words that the model does not know.

        Raises:
            UserError: for a prompt that is empty or too long, or of which no word is known.
        """
        pieces = self.text_encoder.pieces(prompt)
        if not pieces:
            raise UserError('the prompt is empty: write what the clip should show, such as "a puppy in the park"')
        check_words(pieces)
        unknown = self.unknown_words(prompt)
        hints = [f"{word!r}" + (f" (near: {', '.join(near)})" if near else "") for word, near in unknown.items()]
        if unknown and len(unknown) == len(set(pieces)):
            raise UserError(
                f"no word of the prompt is known: {'; '.join(hints)}. `t2vlearn info --words` lists the words"
            )
        if unknown:
            warnings.warn(f"unknown words say nothing to the model: {'; '.join(hints)}", stacklevel=3)

    def _encode_image(self, frame: np.ndarray) -> Tensor:
        size, frame = self.config.size, np.asarray(frame)
        if frame.shape != (size, size, 3) or frame.dtype != np.uint8:
            raise UserError(f"an image of {size} x {size} x 3 in uint8 is needed, not {frame.shape} in {frame.dtype}")
        return self.visual_encoder.codec.encode(to_tensor(frame[None, None])[:, :, 0].to(self.device))

    def _given_keyframes(self, image, keyframes) -> dict[int, np.ndarray]:
        given = {} if image is None else {0: image}
        if keyframes is not None and not isinstance(keyframes, dict):
            if len(keyframes) != len(self.keyframe_numbers):
                raise UserError(f"{len(self.keyframe_numbers)} key frames are needed, not {len(keyframes)}")
            keyframes = dict(zip(self.keyframe_numbers, keyframes, strict=True))
        if given.keys() & (keyframes or {}).keys():
            raise UserError("the first key frame is given twice, by image and by keyframes: leave one out")
        given |= keyframes or {}
        if not set(given) <= set(self.keyframe_numbers):
            raise UserError(f"key frames stand at frames {self.keyframe_numbers}, not at {sorted(given)}")
        return given

    # ------------------------------------------------------------------ files

    @classmethod
    def from_pretrained(cls, source: str | Path | None = None, revision: str | None = None) -> TextToVideoPipeline:
        """Load weights: the bundled ones, a folder, or a model id ("owner/name") on the Hugging Face Hub.

        Raises:
            UserError: if the weights are missing, truncated, altered, or of another version of t2vlearn.
        """
        folder = BUNDLED if source is None else Path(source)
        if not folder.exists() and isinstance(source, str) and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", source):
            folder = _download(source, revision)
        if not folder.is_dir():
            raise UserError(f"no weights folder at {folder}: give a folder made by `t2vlearn train`, or a Hub id")
        config, weights = load_folder(folder)
        try:
            info = dict(config.pop("info", {}))
            PipelineConfig(**config).check_size(sum(tensor.numel() for tensor in weights.values()))
            pipe = cls(info, **config)
        except (TypeError, ValueError) as error:
            raise UserError(f"{folder / CONFIG_FILE} describes no pipeline of these weights: {error}") from None
        load_weights(pipe, weights, folder)
        return pipe

    def _save_pretrained(self, save_directory: Path) -> None:
        if not isinstance(self.text_encoder, TextEncoder):
            raise UserError("a borrowed text encoder is not saved with the weights: put the pipeline's own back first")
        if any(".base_layer." in name for name in self.state_dict()):
            raise UserError("characters are not saved with the weights: use `save_character`, then `remove_character`")
        save_folder(save_directory, self.state_dict(), {"info": self.info, **vars(self.config)})

    def save_pretrained(self, save_directory: str | Path, **hub: object) -> Path:
        """Write the weights folder: `config.json` and `model.safetensors` (float16).

        Args:
            save_directory: the folder; it is made.
            hub: what `push_to_hub` says beside it, which this model does not need.

        Raises:
            UserError: if it cannot be written, or while the pipeline has characters (`t2vlearn.adapters`) or a borrowed text
                encoder.
        """
        folder = Path(save_directory)
        self._save_pretrained(folder)
        return folder


def _download(model_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model_id, revision=revision, allow_patterns=[WEIGHTS_FILE, CONFIG_FILE]))
    except Exception as error:
        # A name that no model can have, no network, a proxy: each library in between has errors of its own.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"there is no folder {model_id}, and the Hub did not give a model of that name ({reason}): "
            "check the name, or give a folder that t2vlearn train has made"
        ) from None


def check_numbers(steps: int, guidance: float) -> None:
    """Refuse what no sampler can do.

    Raises:
        UserError: for a number of steps that is not whole or below one, or a guidance scale below 0 or not finite.
    """
    if not isinstance(steps, int | np.integer) or steps < 1:
        raise UserError(f"the number of steps is {steps}: a whole number from 1 up is needed, 20 is usual")
    if not (math.isfinite(guidance) and guidance >= 0):
        raise UserError(f"the guidance scale is {guidance}: use a number from 0 up; 1 is none, 2 to 3 are usual")
