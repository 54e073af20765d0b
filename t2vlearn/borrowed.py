"""A pretrained text encoder in front of ours: it knows many words, and our model knows what to draw for a few of them.

Large systems read their prompts with a frozen language model (Saharia et al. 2022, "Photorealistic Text-to-Image Diffusion
Models with Deep Language Understanding", section 2.1). Here one takes the place of the table of word vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from t2vlearn.text import UNK, TextEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


class BorrowedTextEncoder(nn.Module):
    """Captions -> tokens, mask, pooled vector, as `TextEncoder`, whose table E of word vectors is replaced: E[id] <- W h + b.

    h is the mean of the pretrained model's last states over the pieces of a word. W and b are fitted so that words that both
    know keep their vectors; a word that only the pretrained model knows then gets a vector near those of its like.
    Everything behind the table stays. Put it in the place of `TextToVideoPipeline.text_encoder`.

    Args:
        own: the encoder that the rest of the model was trained with.
        model: a pretrained encoder of `transformers`, frozen.
        tokenizer: its fast tokenizer.
    """

    def __init__(self, own: TextEncoder, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast):
        super().__init__()
        self.own, self.model, self.tokenizer = own, model.eval().requires_grad_(False), tokenizer
        width = own.embedding.embedding_dim
        self.projection = nn.Linear(model.config.hidden_size, width).requires_grad_(False)

    def pieces(self, text: str) -> list[str]:
        """As `TextEncoder.pieces`."""
        return self.own.pieces(text)

    def unknown_words(self, text: str) -> dict[str, list[str]]:
        """Words that the pretrained model's tokenizer cannot even spell."""
        unknown = self.tokenizer.unk_token
        return {word: [] for word in self.pieces(text) if unknown in self.tokenizer.tokenize(word)}

    @torch.no_grad()
    def states(self, captions: Sequence[str]) -> list[Tensor]:
        """h of each word of each caption: (l, width of the pretrained model)."""
        words = [self.pieces(caption) for caption in captions]
        batch = self.tokenizer(words, is_split_into_words=True, padding=True, return_tensors="pt")
        last = self.model(**batch.to(self.projection.weight.device)).last_hidden_state
        found = []
        for i, row in enumerate(words):
            owner = torch.tensor([-1 if w is None else w for w in batch.word_ids(i)], device=last.device)
            found.append(torch.stack([last[i, owner == w].mean(0) for w in range(len(row))]))
        return found

    @torch.no_grad()
    def fit(self, captions: Sequence[str], ridge: float = 0.1, batch: int = 50) -> float:
        """W, b = argmin mean |W h + b - E[id]|^2 + ridge |W|^2, over the words of captions that `own` knows.

        Returns:
            The share of the variance of E[id] that stays unexplained.
        """
        captions = [caption for caption in captions if self.pieces(caption)]
        states = [h for i in range(0, len(captions), batch) for h in self.states(captions[i : i + batch])]
        ids, mask = self.own.tokenize(captions)
        ids = ids[mask]
        known = ids != self.own.tokenizer.token_to_id(UNK)
        h, e = torch.cat(states)[known].double(), self.own.embedding(ids[known]).double()
        h_mean, e_mean = h.mean(0), e.mean(0)
        h, e = h - h_mean, e - e_mean
        # (H'H / n + ridge I) W' = H'E / n
        damped = h.T @ h / len(h) + ridge * torch.eye(h.shape[1], dtype=h.dtype, device=h.device)
        weight = torch.linalg.solve(damped, h.T @ e / len(h))
        self.projection.weight.copy_(weight.T)
        self.projection.bias.copy_(e_mean - h_mean @ weight)
        return float((e - h @ weight).square().mean() / e.square().mean())

    @torch.no_grad()
    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Captions -> tokens (b, l, d), mask (b, l), pooled (b, d). The empty caption is `own`'s.

        Raises:
            UserError: for a caption of more words than `own` takes.
        """
        ids, mask = self.own.tokenize(captions)
        words = self.own.embedding(ids)
        filled = [i for i, caption in enumerate(captions) if self.pieces(caption)]
        for i, h in zip(filled, self.states([captions[i] for i in filled]) if filled else []):
            words[i, : len(h)] = self.projection(h)
        tokens, pooled = self.own.read(words, mask)
        return tokens, mask, pooled
