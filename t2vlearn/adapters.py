"""New characters: a word that the model did not know, taught by low-rank adapters beside weights that stay as they are.

LoRA (Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1): W x becomes W x + B A x with A (r, n)
and B (m, r), B zero at first. Adapted are the layers that say how a thing looks: the convolutions inside frames, the
Transformer's self-attention and feed-forward, and the codec's decoder. How things move is left to `TimeAttention`, which
stays as it is. The word is one more row of the text encoder's embedding (Gal et al. 2023, "An Image is Worth One Word", teach
that row alone). Some clips of the old world are rehearsed beside the new ones (Ruiz et al. 2023, "DreamBooth").

Each character is an adapter of its own; those that are in use together add up. Needs the extra `personal` (peft).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from t2vlearn.denoiser import Text, training_loss
from t2vlearn.errors import UserError
from t2vlearn.optim import Muon
from t2vlearn.pipeline import TextToVideoPipeline, to_tensor
from t2vlearn.text import build_tokenizer
from t2vlearn.world import render, sample_scenes

RANK = 8
#: What is adapted in a denoiser.
LAYERS = r"(before|after)\.\d+\.conv_[12]|blocks\.\d+\.(self_attention\.to_(q|kv|out)|feed_forward\.[02])"
ROW_LR = 3e-2  # AdamW's, for the word's row
OLD = 0.25  # share of old clips in a batch
IMAGES = 0.6  # first part of the key frames' steps that works on single frames: looks, before motions
TAU_MEAN = 1.0  # of the key frames' noise levels: lower than in training, for places and motions are known


class GrownEmbedding(nn.Module):
    """E with a row more for each new word: (v, d) -> (v + number of new words, d).

    Args:
        base: E, which stays as it is.
    """

    def __init__(self, base: nn.Embedding):
        super().__init__()
        self.base = base
        self.rows = nn.ParameterDict()

    @property
    def weight(self) -> Tensor:
        """(v + number of new words, d)."""
        return torch.cat([self.base.weight, *(row[None] for row in self.rows.values())])

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (b, l) -> (b, l, d)."""
        return F.embedding(ids, self.weight)


def networks(pipe: TextToVideoPipeline) -> dict[str, nn.Module]:
    """The networks that are adapted."""
    return {
        "decoder": pipe.visual_encoder.codec.decoder,
        "keyframes": pipe.visual_encoder.denoiser,
        "video": pipe.video_generator.denoiser,
    }


def characters(pipe: TextToVideoPipeline) -> list[str]:
    """The new words that the pipeline knows by now."""
    embedding = pipe.text_encoder.embedding
    return list(embedding.rows) if isinstance(embedding, GrownEmbedding) else []


def use_characters(pipe: TextToVideoPipeline, words: Sequence[str]) -> None:
    """Let the adapters of these characters count, and no others; with none the pipeline draws as it did before.

    Raises:
        UserError: for a word that was never added.
    """
    for word in words:
        _check(pipe, word)
    for network in networks(pipe).values():
        for _, layer in _adapted(network):
            layer.set_adapter(list(words), inference_mode=True)
            layer.enable_adapters(bool(words))


def add_character(pipe: TextToVideoPipeline, word: str, like: Sequence[str] = ()) -> None:
    """Make room for a word: an embedding row, the mean of those of the words `like`, and adapters that change nothing yet.

    Raises:
        UserError: for what is not one word, or a word that the model knows.
    """
    from peft import LoraConfig, inject_adapter_in_model

    encoder = pipe.text_encoder
    if encoder.pieces(word) != [word]:
        raise UserError(f"{word!r} is not one lower-case word: choose a name such as 'robot'")
    if word in encoder.words:
        raise UserError(f"the model knows the word {word!r} already: choose another, such as 'robot'")
    known = [encoder.tokenizer.token_to_id(w) for w in like or encoder.words]
    if not isinstance(encoder.embedding, GrownEmbedding):
        encoder.embedding = GrownEmbedding(encoder.embedding)
    encoder.embedding.rows[word] = nn.Parameter(encoder.embedding.weight[known].mean(0).detach())
    encoder.words = (*encoder.words, word)
    encoder.tokenizer = build_tokenizer(encoder.words)
    pipe.requires_grad_(False)
    for network in networks(pipe).values():
        config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=_layers(network))
        inject_adapter_in_model(config, network, adapter_name=word)
    use_characters(pipe, characters(pipe))


def remove_character(pipe: TextToVideoPipeline, word: str) -> None:
    """Forget a word again. Without its last character the pipeline is what it was before, to the last bit.

    Raises:
        UserError: for a word that was never added.
    """
    _check(pipe, word)
    encoder = pipe.text_encoder
    del encoder.embedding.rows[word]
    encoder.words = tuple(w for w in encoder.words if w != word)
    encoder.tokenizer = build_tokenizer(encoder.words)
    left = characters(pipe)
    for network in networks(pipe).values():
        for name, layer in _adapted(network):
            layer.delete_adapter(word)
            if not left:
                network.set_submodule(name, layer.get_base_layer())
    if left:
        use_characters(pipe, left)
    else:
        encoder.embedding = encoder.embedding.base
        pipe.requires_grad_(True)


def learn_character(
    pipe: TextToVideoPipeline,
    word: str,
    clips: np.ndarray | Tensor,
    captions: Sequence[str],
    steps: tuple[int, int, int] = (150, 350, 100),
    batch: tuple[int, int, int] = (48, 8, 4),
    lr: float = 6e-3,
    seed: int = 0,
    like: Sequence[str] = (),
    on_step: Callable[[str, int, float], None] | None = None,
) -> dict[str, list[float]]:
    """Teach the pipeline a word from captioned clips; afterwards it knows the word, as after `load_character`.

    The losses are those of training, `FrameCodec.loss` and `training_loss`, over the adapters and the word's row alone.

    Args:
        pipe: the model.
        word: the new word.
        clips: uint8 (n, f, h, w, 3), or (n, 3, f, h, w) in [-1, 1].
        captions: n sentences with the word in them.
        steps: for the codec's decoder, for the key frames and for the video generator.
        batch: frames, clips and clips a step; of single frames four times as many as of the key frames' clips.
        lr: Muon's learning rate, falling to zero in the second half.
        seed: of everything random.
        like: known words of which the new one is a kind: its row begins as their mean (default: the mean of all words).
        on_step: called as (network, step, loss).

    Returns:
        The losses of each network: "decoder", "keyframes" and "video".

    Raises:
        UserError: for a bad word, or clips and captions that do not fit.
    """
    x, c = clips if isinstance(clips, Tensor) else to_tensor(clips), pipe.config
    if x.shape[1:] != (3, c.num_frames, c.size, c.size) or len(x) != len(captions) or not len(x):
        raise UserError(
            f"as many captions as clips of {c.num_frames} frames of {c.size} x {c.size} are needed, "
            f"not {len(captions)} and {tuple(x.shape)}"
        )
    if not all(word in pipe.text_encoder.pieces(caption) for caption in captions):
        raise UserError(f"every caption needs the word {word!r} in it")
    torch.manual_seed(seed)
    add_character(pipe, word, like)
    use_characters(pipe, [word])
    lesson = _Lesson(pipe, x, list(captions), seed)
    row = pipe.text_encoder.embedding.rows[word]
    losses: dict[str, list[float]] = {}
    for (name, network), n_steps, n in zip(networks(pipe).items(), steps, batch):
        trained = list(_weights(network, word).values())
        optimisers: list[torch.optim.Optimizer] = [Muon(trained, lr=lr, weight_decay=0.0)]
        if name == "keyframes":
            trained.append(row)
            optimisers.append(torch.optim.AdamW([row], lr=ROW_LR, weight_decay=0.0))
        rates = [optimiser.param_groups[0]["lr"] for optimiser in optimisers]
        for parameter in trained:
            parameter.requires_grad_(True)
        losses[name] = []
        for step in range(n_steps):
            for optimiser, rate in zip(optimisers, rates):
                optimiser.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 20, 2 * (1 - step / n_steps))
            loss = lesson.decoder_loss(n) if name == "decoder" else lesson.denoiser_loss(name, n, step / n_steps)
            loss.backward()
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad()
            losses[name].append(loss.item())
            if on_step is not None:
                on_step(name, step + 1, loss.item())
        for parameter in trained:
            parameter.requires_grad_(False)
    use_characters(pipe, characters(pipe))
    return losses


class _Lesson:
    """The clips of a new character and as many old ones, and the losses on them."""

    def __init__(self, pipe: TextToVideoPipeline, clips: Tensor, captions: list[str], seed: int):
        self.pipe, self.captions, self.rng = pipe, captions, np.random.default_rng(seed)
        self.old = sample_scenes(len(clips), "train", seed)
        self.clips = clips, render(self.old, pipe.config.num_frames, pipe.config.size, seed)
        with torch.no_grad():
            self.latents = tuple(pipe.visual_encoder.codec.encode(c) for c in self.clips)

    def picks(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of new clips and of old ones, n together."""
        return tuple(np.split(self.rng.integers(len(self.captions), size=n), [n - round(n * OLD)]))

    def decoder_loss(self, n: int) -> Tensor:
        """The codec's loss on n frames, with latents as noisy as a generator's, or less."""
        picks = self.picks(n)
        frames = torch.cat([
            clips[pick, :, self.rng.integers(clips.shape[2], size=len(pick))] for clips, pick in zip(self.clips, picks)
        ])  # fmt: skip
        shape = self.latents[0].shape
        noise = torch.randn(n, shape[1], *shape[3:]) * torch.rand(n, 1, 1, 1)
        return self.pipe.visual_encoder.codec.loss(frames, noise, torch.zeros(n, 2))

    def denoiser_loss(self, name: str, n: int, fraction: float) -> Tensor:
        """The denoising loss on n clips, or on four times as many frames; `fraction` of the steps is done."""
        pipe, rng, frames = self.pipe, self.rng, self.pipe.config.num_frames
        numbers = pipe.keyframe_times if name == "keyframes" else list(range(frames))
        if name == "keyframes" and fraction < IMAGES:
            n, numbers = n * len(numbers), [int(rng.integers(frames))]
        new, old = self.picks(n)
        latents = torch.cat([self.latents[0][new], self.latents[1][old]])[:, :, numbers]
        texts = [self.captions[i] for i in new]
        texts += ["" if rng.random() < 0.4 else self.old[i].caption("en", int(rng.integers(2**31))) for i in old]
        known = torch.zeros(n, len(numbers), dtype=torch.bool)
        tau = pipe.diffusion.sample_tau(n)[:, None]
        if name == "keyframes":
            tau = torch.sigmoid(TAU_MEAN + torch.randn(n, 1))
        else:
            known[:, pipe.keyframe_times] = True
        times = (torch.tensor(numbers) / (frames - 1)).expand(n, -1)
        text, noise = Text(*pipe.text_encoder.encode(texts)), torch.randn(latents.shape)
        return training_loss(networks(pipe)[name], pipe.diffusion, latents, times, text, known, tau, noise)


def save_character(pipe: TextToVideoPipeline, word: str, path: str | Path) -> Path:
    """Write one character as safetensors in float16: its adapters and its word's row.

    Raises:
        UserError: for a word that was never added, or a file that cannot be written.
    """
    half = {key: p.detach().half().contiguous() for key, p in _tensors(pipe, word).items()}
    try:
        save_file(half, path, metadata={"format": "t2vlearn character 1", "word": word})
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {path}: {error}; choose another file or folder") from None
    return Path(path)


def load_character(pipe: TextToVideoPipeline, path: str | Path) -> str:
    """Teach the pipeline what `save_character` wrote, beside what it knows; returns the word.

    Raises:
        UserError: for a file that is no character, or of a pipeline of another shape, or a word that is known already.
    """
    try:
        with safe_open(path, framework="pt") as file:
            word = (file.metadata() or {})["word"]
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(f"{path} is no character: give a file that `save_character` wrote ({error})") from None
    add_character(pipe, word)
    wanted = _tensors(pipe, word)
    if {k: p.shape for k, p in wanted.items()} != {k: p.shape for k, p in tensors.items()}:
        remove_character(pipe, word)
        raise UserError(f"{path} was taught to a model of another shape: use the weights that it was taught to")
    with torch.no_grad():
        for key, parameter in wanted.items():
            parameter.copy_(tensors[key])
    return word


def _check(pipe: TextToVideoPipeline, word: str) -> None:
    if word not in characters(pipe):
        raise UserError(f"the pipeline has no character {word!r}; it has: {', '.join(characters(pipe)) or 'none'}")


def _layers(network: nn.Module) -> str:
    """What peft adapts, as a pattern of names: see `LAYERS`; of a decoder all convolutions."""
    if not isinstance(network, nn.Sequential):
        return LAYERS
    adapted = [name for name, _ in _adapted(network)]
    convs = [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d) and "lora_" not in name]
    return "|".join(name.replace(".", r"\.") for name in adapted or convs)


def _adapted(network: nn.Module) -> list:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [(name, layer) for name, layer in network.named_modules() if isinstance(layer, BaseTunerLayer)]


def _weights(network: nn.Module, word: str) -> dict[str, nn.Parameter]:
    """A character's weights in one network, by names that do not hold the word."""
    return {key.replace(f".{word}.", "."): p for key, p in network.named_parameters() if f".{word}." in key}


def _tensors(pipe: TextToVideoPipeline, word: str) -> dict[str, nn.Parameter]:
    """All that a character is made of."""
    _check(pipe, word)
    tensors = {"row": pipe.text_encoder.embedding.rows[word]}
    for name, network in networks(pipe).items():
        tensors |= {f"{name}.{key}": p for key, p in _weights(network, word).items()}
    return tensors
