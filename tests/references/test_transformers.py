"""The text encoder against an encoder of transformers with the same weights, and its tokenizer in that library's clothes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PegasusConfig
from transformers.models.pegasus.modeling_pegasus import PegasusEncoder

from t2vlearn.text import MAX_TOKENS, TextEncoder

CAPTIONS = ["a puppy in the park", "一只小狗在公园里玩耍", "", "a small green star jumps on the beach", "a dragon"]


def as_pegasus(ours: TextEncoder) -> PegasusEncoder:
    """Pegasus' encoder is pre-norm, has no norm after the embeddings, and takes any table of positions."""
    dim, heads = ours.embedding.embedding_dim, ours.blocks[0].attention.num_heads
    config = PegasusConfig(
        vocab_size=ours.embedding.num_embeddings, d_model=dim, encoder_layers=len(ours.blocks),
        encoder_attention_heads=heads, encoder_ffn_dim=4 * dim, max_position_embeddings=MAX_TOKENS, dropout=0.0,
        attention_dropout=0.0, activation_dropout=0.0, activation_function="gelu_new", scale_embedding=False, pad_token_id=0,
    )  # fmt: skip
    theirs = PegasusEncoder(config).eval()
    state = {"embed_tokens.weight": ours.embedding.weight, "embed_positions.weight": ours.position}
    modules = {"layer_norm": ours.norm}
    for i, block in enumerate(ours.blocks):
        k, v = block.attention.to_kv.weight.chunk(2)
        k_bias, v_bias = block.attention.to_kv.bias.chunk(2)
        layer = f"layers.{i}."
        state |= {f"{layer}self_attn.k_proj.weight": k, f"{layer}self_attn.k_proj.bias": k_bias}
        state |= {f"{layer}self_attn.v_proj.weight": v, f"{layer}self_attn.v_proj.bias": v_bias}
        modules |= {
            f"{layer}self_attn.q_proj": block.attention.to_q,
            f"{layer}self_attn.out_proj": block.attention.to_out,
            f"{layer}self_attn_layer_norm": block.norm_1,
            f"{layer}fc1": block.feed_forward[0],
            f"{layer}fc2": block.feed_forward[2],
            f"{layer}final_layer_norm": block.norm_2,
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
        theirs = as_pegasus(encoder)(input_ids=ids, attention_mask=mask.long()).last_hidden_state
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
