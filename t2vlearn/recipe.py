"""A recipe: what the stages of training are, and in numbers how each is trained."""

from __future__ import annotations

from dataclasses import dataclass, field

from t2vlearn.config import PipelineConfig

STAGES = ("codec", "key frames", "video")


@dataclass(frozen=True)
class TrainConfig:
    """A recipe: the model, and how its three stages are trained.

    Attributes:
        pipeline: the networks' sizes; given weights bring their own (`first_weights`).
        batch: clips a step in each stage (frames in the codec's), over all processes.
        share: each stage's part of the time, or of the steps; zero leaves it out.
        muon_lr: learning rate of the hidden matrices in each stage.
        adamw_lr: learning rate of everything else in each stage.
        ema_decay: d of the running average (`EMA`).
        max_grad_norm: gradients are scaled down to this length.
        caption_dropout: share of captions replaced by the empty one, for classifier-free guidance.
        chinese_share, two_actor_share: shares of the toy world's training clips.
        words: the first part of the key frames' stage, in which a step has as many times more captions as there are key
            frames and no picture, and the words answer the questions alone (benchmarks/LOG.md); none where nothing is asked.
        images: the first part of the key frames' stage, in which a step sees one key frame of each of as many times more
            clips as there are key frames: looks are learnt sooner from many subjects than from four views of a few. Not in the
            presets, whose questions teach looks; training on one's own videos, of which nothing is asked, has the
            default at least (benchmarks/LOG.md).
        turns: the part of the key frames' stage, from one moment to another, in which everything circles, if there is time for
            enough steps: which way round is not learnt otherwise (`circles`). None where both are the same.
        thinned: the first part of the video stage, in which a step sees the key frames and half of the clip's frames in all: in
            the same time it makes 1.7 times as many steps (benchmarks/LOG.md).
        mixed_levels: share of clips whose frames each have a noise level of their own. Where all are alike, a frame's own
            evidence is as good as its neighbours', and nothing is gained from looking at them (benchmarks/LOG.md).
        questions: weight of the questions that the toy world can answer (`questions`), beside each stage's loss but the last's;
            0 asks none. Several times as many captions are followed after the same time (benchmarks/LOG.md).
        sheet_every: a sample sheet is written after each such part of a stage, and more rarely in a short run by the clock.

    Raises:
        ValueError: for a `sheet_every` of 0 or below, or `turns` that do not follow `words` in order.
    """

    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    batch: tuple[int, int, int] = (64, 16, 4)
    share: tuple[float, float, float] = (0.13, 0.63, 0.24)
    muon_lr: tuple[float, float, float] = (3e-3, 1.2e-3, 3e-3)
    adamw_lr: tuple[float, float, float] = (2e-3, 1e-3, 2e-3)
    ema_decay: float = 0.999
    max_grad_norm: float = 1.0
    caption_dropout: float = 0.1
    chinese_share: float = 0.4
    two_actor_share: float = 0.1
    words: float = 0.0
    images: float = 0.4
    turns: tuple[float, float] = (0.0, 0.0)
    thinned: float = 0.7
    mixed_levels: float = 0.5
    questions: float = 0.0
    sheet_every: float = 0.2

    def __post_init__(self):
        if self.sheet_every <= 0:
            raise ValueError(f"sheet_every is {self.sheet_every}: use a part of a stage, above 0")
        first, last = self.turns
        if first != last and not self.words <= first < last <= 1:
            raise ValueError(f"turns are {self.turns}: they follow the words, {self.words}, and end at 1 at the latest")


PRESETS = {
    # 32 x 32, two CPU cores, minutes. In so short a time the steps count, and one convolutional block at each end, without the
    # attention over time that follows every second one, makes half as many again as the bundled weights' four
    # (benchmarks/LOG.md). The codec is what the subject waits for, hence its share, and circles want a lesson (`circles`).
    "tiny": TrainConfig(
        pipeline=PipelineConfig(convs=1),
        batch=(32, 16, 4),
        share=(0.24, 0.62, 0.14),
        muon_lr=(5e-3, 3.2e-3, 3e-3),
        adamw_lr=(2e-3, 1.5e-3, 2e-3),
        questions=0.1,
        words=0.1,
        images=0.0,
        turns=(0.35, 0.6),
    ),
    "base": TrainConfig(  # 64 x 64, one GPU; also runs on a CPU
        pipeline=PipelineConfig(size=64, down=8, latent_channels=16, codec_width=128, dim=256, depth=8, num_heads=8),
        batch=(128, 128, 32),
        questions=0.1,
        words=0.1,
        images=0.0,
        turns=(0.35, 0.6),
    ),
}
