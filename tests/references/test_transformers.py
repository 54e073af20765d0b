"""The text encoder against an encoder of transformers with the same weights, and its tokenizer in that library's clothes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPTNeoXConfig, GPTNeoXModel

from t2vlearn.text import MAX_TOKENS, TextEncoder

CAPTIONS = ["a puppy in the park", "一只小狗在公园里玩耍", "", "a small green star jumps on the beach", "a dragon"]


def as_gpt_neox(ours: TextEncoder) -> GPTNeoXModel:
    """GPT-NeoX is pre-norm and rotary; it looks back only, but for the mask that it is given."""
    dim, heads = ours.embedding.embedding_dim, ours.blocks[0].attention.num_heads
    config = GPTNeoXConfig(
        vocab_size=ours.embedding.num_embeddings, hidden_size=dim, num_hidden_layers=len(ours.blocks),
        num_attention_heads=heads, intermediate_size=4 * dim, max_position_embeddings=MAX_TOKENS, hidden_act="gelu_new",
        use_parallel_residual=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
    )  # fmt: skip
    theirs = GPTNeoXModel(config).eval()
    modules = {"embed_in": ours.embedding, "final_layer_norm": ours.norm}
    state = {}
    for i, block in enumerate(ours.blocks):
        layer, attention = f"layers.{i}.", block.attention
        for part in ("weight", "bias"):
            # One matrix for all three, head by head.
            q, (k, v) = getattr(attention.to_q, part), getattr(attention.to_kv, part).chunk(2)
            joint = torch.cat([value.unflatten(0, (heads, -1)) for value in (q, k, v)], dim=1).flatten(0, 1)
            state[f"{layer}attention.query_key_value.{part}"] = joint
        modules |= {
            f"{layer}attention.dense": attention.to_out,
            f"{layer}input_layernorm": block.norm_1,
            f"{layer}post_attention_layernorm": block.norm_2,
            f"{layer}mlp.dense_h_to_4h": block.feed_forward[0],
            f"{layer}mlp.dense_4h_to_h": block.feed_forward[2],
        }
    state |= {f"{name}.{part}": value for name, m in modules.items() for part, value in m.state_dict().items()}
    theirs.load_state_dict(state)
    return theirs


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    encoder = TextEncoder(dim=32, depth=2, num_heads=4).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder


@pytest.fixture(scope="module")
def wrapped(encoder):
    return encoder.pretrained_tokenizer()


def test_same_vectors_as_transformers_encoder_with_the_same_weights(encoder):
    ids, mask = encoder.tokenize(CAPTIONS)
    with torch.no_grad():
        tokens, pooled = encoder(ids, mask)
        everywhere = mask[:, None, None].expand(-1, 1, mask.shape[1], -1)  # forwards, too
        theirs = as_gpt_neox(encoder)(input_ids=ids, attention_mask=everywhere).last_hidden_state
    torch.testing.assert_close(tokens[mask], theirs[mask], atol=1e-5, rtol=1e-5)
    for row, real, mean in zip(theirs, mask, pooled):
        torch.testing.assert_close(row[real].mean(0), mean, atol=1e-5, rtol=1e-5)


def test_the_wrapped_tokenizer_gives_the_encoders_ids_and_mask(encoder):
    batch = encoder.pretrained_tokenizer()([c for c in CAPTIONS if c], padding=True, return_tensors="pt")
    ids, mask = encoder.tokenize([c for c in CAPTIONS if c])
    assert torch.equal(batch["input_ids"], ids) and torch.equal(batch["attention_mask"].bool(), mask)


def test_the_wrapped_tokenizer_goes_there_and_back_and_can_be_saved(encoder, tmp_path):
    tokenizer = encoder.pretrained_tokenizer()
    ids = tokenizer("A red star, 一只小狗 dragon")["input_ids"]
    assert tokenizer.decode(ids).split() == ["a", "red", "star", "一", "只", "小", "狗", "[UNK]"]
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert again("A red star, 一只小狗 dragon")["input_ids"] == ids and again.pad_token_id == 0


@settings(max_examples=100, deadline=None)
@given(
    text=st.one_of(
        st.text(max_size=40), st.lists(st.sampled_from(["a red, star!", "狗。", "🐶", "dragon"])).map(" ".join)
    )
)
def test_the_wrapped_tokenizer_gives_the_same_ids_for_any_text(encoder, wrapped, text):
    text = text.encode(errors="replace").decode()
    if any(special in text for special in ("[PAD]", "[UNK]", "[NULL]")) or not encoder.pieces(text):
        return
    assert wrapped(text)["input_ids"] == encoder.tokenize([text])[0][0].tolist()
