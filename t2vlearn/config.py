"""What a pipeline is made of, in numbers: `config.json` beside its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from t2vlearn.diffusion import DDPM, DiffusionModel, RectifiedFlow, linear_beta

#: What a field may hold: a `config.json` from elsewhere can say anything.
KINDS: dict[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "str": str, "list[str]": list}
LARGEST = 2**16
COUNTS = ("depth", "convs", "text_depth")  # of layers: there may be none


@dataclass
class PipelineConfig:
    """Everything that the networks' shapes and the sampler depend on. Saved beside the weights as JSON.

    Attributes:
        size: height and width of a frame, in pixels.
        num_frames: frames of a clip.
        num_keyframes: key frames, evenly spread from the first frame to the last.
        down: pixels along a side of one latent cell.
        latent_channels, codec_width: see `FrameCodec`.
        dim, depth, num_heads, width, convs: see `SpaceTimeDenoiser`.
        text_depth: blocks of the text encoder.
        process: "rectified_flow" or "ddpm".
        prediction: what the denoisers say: "epsilon" (ddpm only), "v" or "x_0".
        tau_mean, shift: mean of the training levels' log(tau / (1 - tau)), and shift of the sampling levels of `RectifiedFlow`.
        guidance_scale: how hard these weights are pulled unless a caller says otherwise. Young ones need more than good ones.
        words: the vocabulary; empty: that of the toy world.

    Raises:
        ValueError: for a field of another kind or out of range, if latents do not divide into patches of 2 x 2 cells, for
            heads that do not divide `dim` into even parts, a `width` that is no multiple of the heads or of its groups of 8,
            a `codec_width` that cannot be halved as often as the decoder does, fewer than two key frames, a `shift` of
            0 or below, or an unknown process.
    """

    size: int = 32
    num_frames: int = 16
    num_keyframes: int = 4
    down: int = 4
    latent_channels: int = 8
    codec_width: int = 64
    dim: int = 128
    depth: int = 4
    num_heads: int = 4
    width: int = 64
    convs: int = 4
    text_depth: int = 3
    process: str = "rectified_flow"
    prediction: str = "x_0"
    tau_mean: float = 1.2
    shift: float = 1.0
    guidance_scale: float = 3.0
    words: list[str] = field(default_factory=list)

    def __post_init__(self):
        for name, kind in ((entry.name, entry.type) for entry in fields(self)):
            value, least = getattr(self, name), 0 if name in COUNTS else 1
            if isinstance(value, bool) or not isinstance(value, KINDS[str(kind)]):
                raise ValueError(f"{name} is {value!r}, and has to be {kind}")
            if kind == "int" and not least <= value <= LARGEST:
                raise ValueError(f"{name} is {value}: use a whole number from {least} to {LARGEST}")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is {value}: use a finite number")
        if not all(isinstance(word, str) for word in self.words):
            raise ValueError("words are texts")
        if self.size % (2 * self.down):
            raise ValueError(f"size {self.size} is not a multiple of {2 * self.down}, two latent cells")
        if self.dim % (2 * self.num_heads):
            raise ValueError(f"dim {self.dim} is not a multiple of {2 * self.num_heads}, an even width for each head")
        if self.width % self.num_heads or self.width % max(self.width // 8, 1):
            raise ValueError(f"width {self.width} is not a multiple of {self.num_heads}, the heads, and of 8")
        if self.codec_width % max(self.down // 2, 1):
            raise ValueError(f"codec_width {self.codec_width} is not a multiple of {self.down // 2}, half of down")
        if self.shift <= 0:
            raise ValueError(f"shift is {self.shift}: use a number above 0")
        if not 2 <= self.num_keyframes <= self.num_frames:
            raise ValueError(f"between 2 and {self.num_frames} key frames are needed, not {self.num_keyframes}")
        if self.process not in ("rectified_flow", "ddpm"):
            raise ValueError(f"unknown process {self.process!r}: choose 'rectified_flow' or 'ddpm'")

    def diffusion(self) -> DiffusionModel:
        """The process that these weights are trained and sampled with."""
        if self.process == "ddpm":
            # At the cosine schedule's end next to nothing of x_0 is left, and errors in epsilon grow by a thousand in a step.
            return DDPM(linear_beta() if self.prediction == "epsilon" else None, self.prediction)
        return RectifiedFlow(self.prediction, mean=self.tau_mean, shift=self.shift)

    def least_weights(self) -> int:
        """How many numbers the networks of this configuration hold at least: its large matrices."""
        d, w, z = self.dim, self.width, self.latent_channels
        cells = (self.size // (2 * self.down)) ** 2
        # Of a block: queries, keys, values and output (4 d²), feed-forward (8 d²), modulation (6 d²). Of a FrameBlock: 18 w².
        denoiser = (
            18 * self.depth * d**2 + 36 * self.convs * w**2 + (8 + 4 * self.convs) * w * d + cells * d + 18 * z * w
        )
        text = 12 * self.text_depth * d**2 + len(self.words) * d
        codec = 18 * self.codec_width**2 + 9 * z * self.codec_width
        return 2 * denoiser + text + codec

    def check_size(self, held: int) -> None:
        """Refuse a file of too few numbers before any memory is taken for the networks.

        Raises:
            ValueError: for fewer than `least_weights`.
        """
        if self.least_weights() > held:
            raise ValueError(f"it asks for more than {self.least_weights()} numbers, and the weights are {held}")
