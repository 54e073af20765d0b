"""The text encoder: what becomes a word, and that a caption's vectors depend on that caption alone."""

import string

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from t2vlearn.errors import UserError
from t2vlearn.text import MAX_TOKENS, TextEncoder
from t2vlearn.world.captions import PATTERNS, write_caption
from t2vlearn.world.lexicon import split_words
from t2vlearn.world.scenes import SPLITS, sample_scenes

CAPTIONS = ["a brown puppy plays in the park", "a red star", "一只小狗在公园里玩耍", ""]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return TextEncoder(dim=32, depth=2, num_heads=4).eval()


# ------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("A Brown PUPPY, please!", ["a", "brown", "puppy", "please"]),
        ("counter-clockwise", ["counter", "clockwise"]),
        ("一只小狗在公园里玩耍。", list("一只小狗在公园里玩耍")),
        ("红色puppy在jumps", ["红", "色", "puppy", "在", "jumps"]),
        ("ｐｕｐｐｙ　ＰＡＲＫ", ["puppy", "park"]),
        ("pup\x00py\u200b \tin\r\nthe\x1b park", ["puppy", "in", "the", "park"]),
        ("🐶 puppy 🏞️ park 👩‍🚀", ["puppy", "park"]),
        ("[NULL] [PAD] [UNK]", ["null", "pad", "unk"]),
        ("café", ["cafe"]),
        ("🐶🐶 … !!", []),
        (" \t\n", []),
        ("", []),
    ],
)
def test_pieces(encoder, text, pieces):
    assert encoder.pieces(text) == pieces


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("patterns", PATTERNS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_caption_is_known_and_split_as_the_world_splits_it(encoder, split, patterns, language):
    for i, scene in enumerate(sample_scenes(60, split)):
        caption = write_caption(scene, language, i, patterns)
        assert encoder.pieces(caption) == split_words(caption)
        assert encoder.unknown_words(caption) == {}
        assert len(encoder.pieces(caption)) <= MAX_TOKENS


def test_unknown_words_come_with_known_ones_that_are_spelt_like_them(encoder):
    unknown = encoder.unknown_words("a brwon pupy and a zzzzzz 龙 in the park")
    assert list(unknown) == ["brwon", "pupy", "zzzzzz", "龙"]
    assert "brown" in unknown["brwon"] and unknown["pupy"][0] == "puppy"
    assert unknown["zzzzzz"] == unknown["龙"] == []
    assert all(len(near) <= 3 and set(near) <= set(encoder.words) for near in unknown.values())


def test_ids_stand_for_the_words_they_came_from(encoder):
    ids, mask = encoder.tokenize(["a Brown puppy", "xyzzy puppy", ""])
    assert ids.shape == mask.shape == (3, 3)
    back = [[encoder.tokenizer.id_to_token(i) for i in row] for row in ids.tolist()]
    assert back == [["a", "brown", "puppy"], ["[UNK]", "puppy", "[PAD]"], ["[NULL]", "[PAD]", "[PAD]"]]
    assert mask.tolist() == [[True] * 3, [True, True, False], [True, False, False]]
    assert len(encoder.embedding.weight) == len(encoder.words) + 3 == encoder.tokenizer.get_vocab_size()


@pytest.mark.parametrize("text", ["[NULL]", "[null]", "[PAD]"])
def test_a_prompt_cannot_spell_a_special_token(encoder, text):
    assert encoder.tokenize([text])[0].tolist() == encoder.tokenize(["xyzzy"])[0].tolist()


def test_a_prompt_of_more_words_than_fit_is_refused(encoder):
    assert encoder.tokenize(["puppy " * 48])[0].shape == (1, 48)
    for text in ("puppy " * 49, "狗" * 49):
        with pytest.raises(UserError, match="the prompt has 49 words; at most 48 fit: shorten it"):
            encoder.tokenize([text])


@pytest.mark.parametrize("captions", ["a red star", []])
def test_one_text_is_no_list_of_captions(encoder, captions):
    with pytest.raises(UserError, match="a list of texts"):
        encoder.encode(captions)


words = st.sampled_from(
    ["puppy", "park", "red", "xyzzy", "狗", "公", "龙", "Ｐ", "🐶", "\x00", "\u0301", "\u202e", "[PAD]"]
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(words, max_size=20).map(" ".join)))
def test_any_text_can_be_tokenised(encoder, text):
    pieces = encoder.pieces(text)
    ids, mask = encoder.tokenize([text])
    assert mask.all() and ids.shape == (1, max(len(pieces), 1))
    unknown = encoder.unknown_words(text)
    back = [encoder.tokenizer.id_to_token(i) for i in ids[0].tolist()]
    assert back == (["[UNK]" if piece in unknown else piece for piece in pieces] or ["[NULL]"])
    assert encoder.pieces(" ".join(pieces)) == pieces  # what came out goes in again


@settings(max_examples=50, deadline=None)
@given(st.lists(words, min_size=40, max_size=200).map(" ".join))
def test_a_long_text_is_taken_whole_or_refused(encoder, text):
    n = len(encoder.pieces(text))
    if n > 48:
        with pytest.raises(UserError, match=f"the prompt has {n} words"):
            encoder.tokenize([text])
    else:
        assert encoder.tokenize([text])[0].shape == (1, max(n, 1))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(string.ascii_letters, min_size=1), max_size=10), st.sampled_from([" ", "\n", ", ", " - ", "。"])
)
def test_plain_words_are_split_where_python_would_split_them(encoder, plain, separator):
    assert encoder.pieces(separator.join(plain)) == [word.lower() for word in plain]


# ------------------------------------------------------------------ vectors


def test_a_caption_means_the_same_alone_and_in_a_batch(encoder):
    """The article feeds a batch-first tensor to a sequence-first module: there, captions would attend to each other."""
    tokens, mask, pooled = encoder.encode(CAPTIONS)
    assert tokens.shape == (4, 10, 32) and pooled.shape == (4, 32)
    for i, caption in enumerate(CAPTIONS):
        alone, alone_mask, alone_pooled = encoder.encode([caption])
        n = alone.shape[1]
        assert alone_mask.all() and mask[i].sum() == n
        torch.testing.assert_close(tokens[i, :n], alone[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(pooled[i], alone_pooled[0], atol=1e-5, rtol=1e-5)


def test_what_stands_in_the_padding_changes_nothing(encoder):
    ids, mask = encoder.tokenize(CAPTIONS)
    other = torch.where(mask, ids, torch.randint(3, len(encoder.words), ids.shape))
    for first, second in zip(encoder(ids, mask), encoder(other, mask)):
        real = mask if first.dim() == 3 else slice(None)
        torch.testing.assert_close(first[real], second[real], atol=1e-5, rtol=1e-5)


def test_the_pooled_vector_is_the_mean_over_real_tokens(encoder):
    tokens, mask, pooled = encoder.encode(CAPTIONS)
    for row, real, mean in zip(tokens.detach().numpy(), mask.numpy(), pooled.detach().numpy()):
        np.testing.assert_allclose(row[real].mean(0), mean, atol=1e-6)


def test_order_words_and_case(encoder):
    def pooled(text):
        return encoder.encode([text])[2]

    assert (pooled("a red star and a blue car") - pooled("a blue star and a red car")).abs().max() > 1e-3
    assert (pooled("a red star") - pooled("a red heart")).abs().max() > 1e-3
    assert torch.equal(pooled("A RED, star!"), pooled("a red star"))
    assert torch.equal(pooled(" "), pooled(""))


def test_the_null_caption_is_a_trained_token_and_padding_is_not(encoder):
    ids, mask = encoder.tokenize(["a red star", ""])
    encoder.zero_grad()
    encoder(ids, mask)[1].square().sum().backward()
    gradient = encoder.embedding.weight.grad
    null = encoder.tokenizer.token_to_id("[NULL]")
    assert gradient[null].abs().max() > 0 and (gradient[0] == 0).all()


def test_a_vocabulary_of_ones_own(encoder):
    own = TextEncoder(["dragon", "龙"], dim=8, depth=1, num_heads=2)
    assert own.tokenize(["龙 DRAGON puppy"])[0].tolist() == [[4, 3, 1]]
    assert own.unknown_words("dragn") == {"dragn": ["dragon"]}
