"""A borrowed text encoder: a tiny, random BERT of transformers in front of ours."""

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from t2vlearn import TextEncoder
from t2vlearn.borrowed import BorrowedTextEncoder
from t2vlearn.errors import UserError

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CAPTIONS = ["a red puppy jumps", "the kitten runs to the left", "a puppy in the park", "a big star grows at night"] * 3


@pytest.fixture
def text():
    torch.manual_seed(0)
    words = ["[UNK]", "[PAD]", "puppy", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")
    config = BertConfig(
        vocab_size=len(words), hidden_size=48, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        pad_token_id=1,
    )  # fmt: skip
    return BorrowedTextEncoder(TextEncoder(dim=16, depth=1, num_heads=2).eval(), BertModel(config), fast)


def test_a_words_state_is_the_mean_over_its_pieces(text):
    """Against the model called by hand: "puppy" is one piece, "hound" five letters."""
    states = text.states(["a hound", "puppy"])
    assert [h.shape for h in states] == [(2, 48), (1, 48)]
    ids = torch.tensor([text.tokenizer.convert_tokens_to_ids(["a", "h", "##o", "##u", "##n", "##d"])])
    with torch.no_grad():
        last = text.model(ids).last_hidden_state[0]
    torch.testing.assert_close(states[0], torch.stack([last[0], last[1:].mean(0)]), atol=1e-5, rtol=1e-4)


def test_the_fit_is_ridge_regression(text):
    """Against least squares on stacked equations: H and sqrt(n ridge) I on the left, E and 0 on the right."""
    unexplained = text.fit(CAPTIONS, ridge=0.05, batch=5)
    h = torch.cat(text.states(CAPTIONS)).double()
    ids, mask = text.own.tokenize(CAPTIONS)
    e = text.own.embedding(ids[mask]).detach().double()
    centred_h, centred_e = h - h.mean(0), e - e.mean(0)
    damping = (0.05 * len(h)) ** 0.5 * torch.eye(48).double()
    left = torch.cat([centred_h, damping])
    right = torch.cat([centred_e, torch.zeros(48, 16).double()])
    weight = torch.linalg.lstsq(left, right).solution
    torch.testing.assert_close(text.projection.weight.double(), weight.T, atol=1e-4, rtol=1e-3)
    rest = e - text.projection(h.float()).double()
    assert unexplained == pytest.approx(float(rest.square().mean() / centred_e.square().mean()), rel=1e-3)
    assert 0 < unexplained < text.fit(CAPTIONS, ridge=100.0) < 1


def test_words_that_own_does_not_know_and_empty_captions_are_not_fitted(text):
    text.fit(CAPTIONS, batch=5)
    weight = text.projection.weight.clone()
    known = text.fit([*CAPTIONS, "", "hound"], batch=len(CAPTIONS) + 2)
    assert known == pytest.approx(text.fit(CAPTIONS, batch=5), rel=1e-3)
    torch.testing.assert_close(text.projection.weight, weight, atol=1e-5, rtol=1e-4)


def test_words_go_through_the_projection_and_the_empty_caption_does_not(text):
    text.fit(CAPTIONS)
    tokens, mask, pooled = text.encode(["a hound", "", "puppy"])
    assert mask.tolist() == [[True, True], [True, False], [True, False]]
    torch.testing.assert_close(tokens[1, :1], text.own.encode([""])[0][0])
    h = text.projection(text.states(["a hound"])[0])
    with torch.no_grad():
        wanted, mean = text.own.read(h[None], torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(tokens[0], wanted[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(pooled[0], mean[0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(tokens[0, 1], text.encode(["a spaniel"])[0][0, 1])  # both are [UNK] to ours
    torch.testing.assert_close(text.encode(["", ""])[2], text.own.encode(["", ""])[2])


def test_what_cannot_be_spelt_is_unknown(text):
    assert text.unknown_words("a hound 在") == {"在": []} and text.pieces("a hound!") == ["a", "hound"]


def test_a_pipeline_takes_it(text, tiny_pipeline, tmp_path):
    """In the place of the pipeline's own, from which it was made."""
    own = tiny_pipeline.text_encoder
    borrowed = BorrowedTextEncoder(own, text.model, text.tokenizer)
    borrowed.fit(CAPTIONS)
    tiny_pipeline.text_encoder = borrowed
    try:
        with pytest.raises(UserError, match="borrowed text encoder is not saved"):
            tiny_pipeline.save_pretrained(tmp_path / "weights")
        one, other = tiny_pipeline(["a hound", "a spaniel"], num_inference_steps=1, seed=[0, 0]).frames
    finally:
        tiny_pipeline.text_encoder = own
    assert (one != other).any()
