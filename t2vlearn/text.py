"""The text encoder: a caption becomes tokens, and a small Transformer turns them into vectors.

The article's first part. Its tokens (b, l, d) are read by cross-attention; its pooled vector (b, d) by adaLN.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn

from t2vlearn.attention import TransformerBlock
from t2vlearn.errors import UserError
from t2vlearn.world.captions import vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, UNK, NULL = "[PAD]", "[UNK]", "[NULL]"
MAX_TOKENS = 48
MAX_WORDS = 50_000  # of a vocabulary that is taken from captions


def check_words(pieces: Sequence[str]) -> None:
    """Refuse a prompt that is too long.

    Raises:
        UserError: for more than `MAX_TOKENS` words.
    """
    if len(pieces) > MAX_TOKENS:
        raise UserError(f"the prompt has {len(pieces)} words; at most {MAX_TOKENS} fit: shorten it")


def build_tokenizer(words: Sequence[str]) -> Tokenizer:
    """A word-level tokenizer: lower-cased English words, single Chinese characters, [UNK] for what it does not know."""
    vocab = {word: i for i, word in enumerate((PAD, UNK, NULL, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=UNK))
    # NFKC folds full-width forms; BertNormalizer lower-cases, drops control characters, puts spaces around Chinese ones.
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.BertNormalizer()])
    # Then what is no letter and no number goes: punctuation, emoji, symbols.
    removed = pre_tokenizers.Split(Regex(r"[^\p{L}\p{N}]+"), "removed")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), removed])
    return tokenizer


def split(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words and characters that the tokenizer looks up, punctuation left out."""
    text = text.encode(errors="replace").decode()  # a terminal's stray bytes arrive as lone surrogates
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))]


def words_of(captions: Iterable[str]) -> list[str]:
    """The words and characters of these captions, by spelling; of more than `MAX_WORDS` the most frequent ones."""
    tokenizer = build_tokenizer(())
    counts = Counter(piece for caption in captions for piece in split(tokenizer, caption))
    return sorted(sorted(counts, key=lambda word: (-counts[word], word))[:MAX_WORDS])


class Text(NamedTuple):
    """An encoded caption batch: tokens (b, l, d), mask (b, l) with True for real tokens, pooled (b, d)."""

    tokens: Tensor
    mask: Tensor
    pooled: Tensor


class TextEncoder(nn.Module):
    """Captions -> tokens (b, l, d), mask (b, l), pooled vector (b, d), by a pre-norm Transformer encoder.

    x = E[id]; x <- Block(x) for each block; tokens = LN(x); pooled = sum_i m_i tokens_i / sum_i m_i with the mask m.

    The order of the words is in the blocks' attention: queries and keys of word p are turned by the angles p w with
    w_i = 10000^(-2 i / d_k), so that "the word before" is the same turn everywhere (Su et al. 2021, "RoFormer", section 3.2.2).
    With positions added to E[id] instead, whose colour is whose is learnt later (`benchmarks/binding.py`).

    The empty caption is the single token [NULL]: the unconditional half of classifier-free guidance, trained as such
    by dropping captions (Ho & Salimans 2022, "Classifier-Free Diffusion Guidance", algorithm 1).

    Args:
        words: the vocabulary without the special tokens; default: all words of the toy world's captions.
        dim: d.
        depth: number of Transformer blocks.
        num_heads: attention heads a block.
    """

    def __init__(self, words: Sequence[str] | None = None, dim: int = 128, depth: int = 3, num_heads: int = 4):
        super().__init__()
        self.words = tuple(vocabulary() if words is None else words)
        self.tokenizer = build_tokenizer(self.words)
        self.embedding = nn.Embedding(len(self.words) + 3, dim)
        nn.init.normal_(self.embedding.weight, std=0.5)
        half = dim // num_heads // 2  # d_k / 2
        self.register_buffer("frequencies", 10_000.0 ** (-torch.arange(half) / half), persistent=False)
        self.blocks = nn.ModuleList(TransformerBlock(dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def pieces(self, text: str) -> list[str]:
        """The words and characters that the tokenizer looks up, punctuation left out."""
        return split(self.tokenizer, text)

    def unknown_words(self, text: str) -> dict[str, list[str]]:
        """Words of `text` outside the vocabulary, each with up to three known words that are spelt like it."""
        known = set(self.words)
        return {
            piece: difflib.get_close_matches(piece, self.words, n=3, cutoff=0.6)
            for piece in self.pieces(text)
            if piece not in known
        }

    def tokenize(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids (b, l) and mask (b, l), True for real tokens. Empty captions become [NULL].

        Raises:
            UserError: for no captions, or one of more than `MAX_TOKENS` words.
        """
        if isinstance(captions, str) or not captions:
            raise UserError("captions are a list of texts, at least one")
        rows = []
        for caption in captions:
            pieces = self.pieces(caption)
            check_words(pieces)
            unknown = self.tokenizer.token_to_id(UNK)
            ids = [self.tokenizer.token_to_id(piece) for piece in pieces]
            rows.append([unknown if i is None else i for i in ids] or [self.tokenizer.token_to_id(NULL)])
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        device = self.embedding.weight.device
        return ids.to(device), (ids != 0).to(device)

    def pretrained_tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer as `transformers` knows tokenizers: batches, decoding, saving.

        Two things differ from `tokenize`: an empty caption has no tokens there, and "[PAD]" written out is the token itself.
        """
        from transformers import PreTrainedTokenizerFast  # two seconds, which nobody else should wait for

        return PreTrainedTokenizerFast(
            tokenizer_object=self.tokenizer, pad_token=PAD, unk_token=UNK, model_max_length=MAX_TOKENS
        )

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (b, l), mask (b, l) -> tokens (b, l, d), pooled (b, d): the mean over real tokens."""
        return self.read(self.embedding(ids), mask)

    def angles(self, length: int) -> Tensor:
        """p w of each word: (1, l, d_k / 2)."""
        return torch.arange(length, device=self.embedding.weight.device)[None, :, None] * self.frequencies

    def read(self, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The same from words that are embedded already, (b, l, d) = E[id]."""
        x, angles = words, self.angles(words.shape[1])
        for block in self.blocks:
            x = block(x, mask, angles)
        x = self.norm(x)
        # pooled = sum_i m_i x_i / sum_i m_i
        weight = mask.unsqueeze(-1).to(x.dtype)
        return x, (x * weight).sum(1) / weight.sum(1)

    def encode(self, captions: Sequence[str]) -> Text:
        """Captions -> tokens (b, l, d), mask (b, l), pooled (b, d).

        Raises:
            UserError: for no captions, or one of more than `MAX_TOKENS` words.
        """
        ids, mask = self.tokenize(captions)
        tokens, pooled = self(ids, mask)
        return Text(tokens, mask, pooled)
