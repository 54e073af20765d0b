"""New characters: a word that the model did not know, taught by low-rank adapters beside weights that stay as they are.

LoRA (Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1): W x becomes W x + B A x with A (r, n)
and B (m, r), B zero at first. Adapted are the layers that say how a thing looks: the convolutions inside frames, the
Transformer's self-attention and feed-forward, and the codec's decoder. `TimeAttention`, which joins each cell to
itself at other times, stays as it is. The word is one more row of the text encoder's embedding (Gal et al. 2023, "An Image
is Worth One Word", teach that row alone).

Each character is an adapter of its own; those that are in use together add up. Needs the extra `personal` (peft).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from t2vlearn.errors import UserError
from t2vlearn.pipeline import TextToVideoPipeline
from t2vlearn.text import build_tokenizer

RANK = 8
FORMAT = "t2vlearn character 1"
#: What is adapted in a denoiser.
LAYERS = r"(before|after)\.\d+\.conv_[12]|blocks\.\d+\.(self_attention\.to_(q|kv|out)|feed_forward\.[02])"


class GrownEmbedding(nn.Module):
    """E with a row more for each new word: (v, d) -> (v + number of new words, d).

    Args:
        base: E, which stays as it is.
        trainable: names of the pipeline's parameters that could be trained before.
    """

    def __init__(self, base: nn.Embedding, trainable: Sequence[str]):
        super().__init__()
        self.base, self.trainable = base, frozenset(trainable)
        self.rows = nn.ParameterDict()

    @property
    def weight(self) -> Tensor:
        """(v + number of new words, d)."""
        return torch.cat([self.base.weight, *(row[None] for row in self.rows.values())])

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (b, l) -> (b, l, d)."""
        return F.embedding(ids, self.weight)


def networks(pipe: TextToVideoPipeline) -> dict[str, Any]:
    """The networks that are adapted."""
    return {
        "decoder": pipe.visual_encoder.codec.decoder,
        "keyframes": pipe.visual_encoder.denoiser,
        "video": pipe.video_generator.denoiser,
    }


def characters(pipe: TextToVideoPipeline) -> list[str]:
    """The new words that the pipeline knows by now."""
    return list(rows_of(pipe))


def rows_of(pipe: TextToVideoPipeline) -> nn.ParameterDict:
    """New word -> its embedding row (d,)."""
    embedding: nn.Module = pipe.text_encoder.embedding
    return embedding.rows if isinstance(embedding, GrownEmbedding) else nn.ParameterDict()


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


def check_word(pipe: TextToVideoPipeline, word: str) -> None:
    """Refuse a name that captions could not hold.

    Raises:
        UserError: for what is not one lower-case word.
    """
    if pipe.text_encoder.pieces(word) != [word]:
        raise UserError(f"{word!r} is not one lower-case word: choose a name such as 'robot'")


def add_character(pipe: TextToVideoPipeline, word: str, like: Sequence[str] = ()) -> None:
    """Make room for a word: an embedding row, the mean of those of the words `like`, and adapters that change nothing yet.

    Raises:
        UserError: for what is not one word, a word that the model knows or torch keeps for itself ("train"), a word of `like`
            that the model does not know, or without peft.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise UserError("new characters need the extra `personal`: pip install 't2vlearn[personal]'") from None
    encoder = pipe.text_encoder
    check_word(pipe, word)
    if word in encoder.words:
        raise UserError(f"the model knows the word {word!r} already: choose another, such as 'robot'")
    if hasattr(nn.ModuleDict(), word) or hasattr(nn.ParameterDict(), word):  # there it would be an attribute
        raise UserError(f"torch keeps the name {word!r} for itself: choose another, such as 'robot'")
    if unknown := set(like) - set(encoder.words):
        raise UserError(f"the model does not know {', '.join(map(repr, sorted(unknown)))}: name words that it knows")
    known = [encoder.tokenizer.token_to_id(w) for w in like or encoder.words]
    mean = encoder.embedding.weight[known].mean(0).detach()
    if not characters(pipe):
        trainable = [name for name, parameter in pipe.named_parameters() if parameter.requires_grad]
        encoder.embedding = GrownEmbedding(encoder.embedding, trainable)  # type: ignore[assignment]
    rows_of(pipe)[word] = nn.Parameter(mean)
    encoder.words = (*encoder.words, word)
    encoder.tokenizer = build_tokenizer(encoder.words)
    pipe.requires_grad_(False)
    for network in networks(pipe).values():
        config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=_layers(network))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft says that there are several
            inject_adapter_in_model(config, network, adapter_name=word)
    use_characters(pipe, characters(pipe))


def remove_character(pipe: TextToVideoPipeline, word: str) -> None:
    """Forget a word again. Without its last character the pipeline is what it was before, to the last bit.

    Raises:
        UserError: for a word that was never added.
    """
    _check(pipe, word)
    encoder = pipe.text_encoder
    del rows_of(pipe)[word]
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
        trainable = encoder.embedding.trainable
        encoder.embedding = encoder.embedding.base  # type: ignore[assignment]
        for name, parameter in pipe.named_parameters():
            parameter.requires_grad_(name in trainable)


def save_character(pipe: TextToVideoPipeline, word: str, path: str | Path) -> Path:
    """Write one character as safetensors in float16: its adapters and its word's row.

    Raises:
        UserError: for a word that was never added, or a file that cannot be written.
    """
    half = {key: p.detach().half().contiguous() for key, p in _tensors(pipe, word).items()}
    try:
        save_file(half, path, metadata={"format": FORMAT, "word": word})
        Path(path).chmod(0o644)  # save_file leaves it to its owner alone
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
            said = file.metadata() or {}
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is no character: give a file that `save_character` wrote ({error})") from None
    if said.get("format") != FORMAT or "word" not in said:
        raise UserError(f"{path} is no character of this version: teach it again with `learn_character`")
    word = said["word"]
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


def weights_of(network: nn.Module, word: str) -> dict[str, Tensor]:
    """A character's weights in one network, by names that do not hold the word."""
    own = re.compile(rf"(?<=\.lora_[AB])\.{re.escape(word)}(?=\.)")
    return {own.sub("", key): p for key, p in network.named_parameters() if own.search(key)}


def _tensors(pipe: TextToVideoPipeline, word: str) -> dict[str, Tensor]:
    """All that a character is made of."""
    _check(pipe, word)
    tensors: dict[str, Tensor] = {"row": rows_of(pipe)[word]}
    for name, network in networks(pipe).items():
        tensors |= {f"{name}.{key}": p for key, p in weights_of(network, word).items()}
    return tensors
