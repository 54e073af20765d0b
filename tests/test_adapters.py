"""New characters: nothing changes before learning nor after forgetting; a file brings back what was learnt; two add up."""

import pytest
import torch
from safetensors.torch import save_file

from t2vlearn.errors import UserError
from t2vlearn.pipeline import TextToVideoPipeline

pytest.importorskip("peft", reason="comes with the extra `personal`")
from t2vlearn.adapters import (  # noqa: E402
    GrownEmbedding,
    add_character,
    characters,
    load_character,
    networks,
    remove_character,
    save_character,
    use_characters,
    weights_of,
)


@pytest.fixture
def pipe(own_pipeline):
    return own_pipeline


def picture(pipe, prompt="a red star jumps"):
    return torch.from_numpy(pipe(prompt, num_inference_steps=2).frames).float()


def stir(pipe, word, seed=0):
    """What learning leaves behind: adapters that change something."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for network in networks(pipe).values():
            for name, parameter in network.named_parameters():
                if "lora_B" in name and f".{word}." in name:
                    parameter.normal_(std=0.3)


def test_an_adapter_that_has_learnt_nothing_changes_nothing(pipe):
    before = picture(pipe)
    add_character(pipe, "robot")
    assert torch.equal(picture(pipe), before)
    assert characters(pipe) == ["robot"] and not pipe.unknown_words("a robot")


def test_the_new_words_row_begins_as_the_mean_of_what_it_is_like(pipe):
    encoder = pipe.text_encoder
    ids = [encoder.tokenizer.token_to_id(word) for word in ("puppy", "car")]
    mean = encoder.embedding.weight[ids].mean(0)
    add_character(pipe, "robot", like=["puppy", "car"])
    robot = encoder.embedding(encoder.tokenize(["robot"])[0])[0, 0]
    torch.testing.assert_close(robot, mean)


def test_forgetting_gives_back_every_bit(pipe):
    state, before = {k: v.clone() for k, v in pipe.state_dict().items()}, picture(pipe)
    pipe.text_encoder.norm.requires_grad_(False)
    trainable = {name for name, parameter in pipe.named_parameters() if parameter.requires_grad}
    add_character(pipe, "robot")
    stir(pipe, "robot")
    assert not torch.equal(picture(pipe), before)
    remove_character(pipe, "robot")
    after = pipe.state_dict()
    assert after.keys() == state.keys() and all(torch.equal(after[k], v) for k, v in state.items())
    assert torch.equal(picture(pipe), before) and pipe.unknown_words("a robot") == {"robot": []} | pipe.unknown_words(
        "a robot"
    )
    assert {name for name, parameter in pipe.named_parameters() if parameter.requires_grad} == trainable


def test_a_file_brings_the_character_back(pipe, tmp_path):
    add_character(pipe, "robot", like=["puppy"])
    stir(pipe, "robot")
    with torch.no_grad():
        for parameter in pipe.parameters():
            parameter.copy_(parameter.half().float())  # a file holds half precision
    wanted = picture(pipe, "a robot jumps")
    path = save_character(pipe, "robot", tmp_path / "robot.safetensors")
    remove_character(pipe, "robot")
    assert load_character(pipe, path) == "robot"
    assert torch.equal(picture(pipe, "a robot jumps"), wanted)


def test_two_characters_add_up_and_each_can_be_left_out(pipe):
    layer, x = "before.0.conv_1", torch.randn(2, 16, 4, 4)
    denoiser = networks(pipe)["keyframes"]
    plain = denoiser.get_submodule(layer)(x)
    for seed, word in enumerate(("robot", "ghost")):
        add_character(pipe, word)
        stir(pipe, word, seed)
    changes = {}
    for words in (["robot"], ["ghost"], ["robot", "ghost"], []):
        use_characters(pipe, words)
        changes[tuple(words)] = (denoiser.get_submodule(layer)(x) - plain).detach()
    assert changes["robot",].abs().max() > 1e-2 < changes["ghost",].abs().max()
    torch.testing.assert_close(changes["robot", "ghost"], changes["robot",] + changes["ghost",], atol=1e-4, rtol=1e-4)
    assert not changes[()].any()
    remove_character(pipe, "robot")
    torch.testing.assert_close(denoiser.get_submodule(layer)(x) - plain, changes["ghost",])
    assert characters(pipe) == ["ghost"]


def test_a_grown_embedding_looks_up_old_and_new_rows():
    grown = GrownEmbedding(torch.nn.Embedding(3, 2), ())
    grown.rows["a"] = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    assert grown(torch.tensor([[3, 0]])).tolist() == [[[1.0, 2.0], grown.base.weight[0].tolist()]]


@pytest.mark.parametrize("word", ["puppy", "two words", "Robot", "", "train", "items"])
def test_a_word_has_to_be_new_and_one(pipe, word):
    before = pipe.text_encoder.words
    with pytest.raises(UserError, match="choose"):
        add_character(pipe, word)
    assert pipe.text_encoder.words == before and not characters(pipe)


@pytest.mark.parametrize("word", ["0", "attention", "norm"])
def test_a_name_that_layers_have_too_takes_its_own_weights_alone(pipe, word):
    add_character(pipe, word)
    for network in networks(pipe).values():
        own = [
            name
            for name, parameter in network.named_parameters()
            if any(parameter is p for p in weights_of(network, word).values())
        ]
        assert own and own == [name for name, _ in network.named_parameters() if "lora_" in name]


def test_what_it_is_like_has_to_be_known(pipe):
    with pytest.raises(UserError, match="does not know 'dragon'"):
        add_character(pipe, "robot", like=["puppy", "dragon"])
    assert not characters(pipe)
    assert characters(pipe) == []


def test_mistakes_say_what_to_do(pipe, tmp_path):
    with pytest.raises(UserError, match="no character 'robot'"):
        save_character(pipe, "robot", tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_text("nothing")
    with pytest.raises(UserError, match="no character"):
        load_character(pipe, tmp_path / "x.safetensors")
    save_file({}, tmp_path / "y.safetensors", metadata={"format": "t2vlearn character 99", "word": "robot"})
    with pytest.raises(UserError, match="of this version"):
        load_character(pipe, tmp_path / "y.safetensors")
    add_character(pipe, "robot")
    save_character(pipe, "robot", tmp_path / "robot.safetensors")
    with pytest.raises(UserError, match="knows the word"):
        load_character(pipe, tmp_path / "robot.safetensors")
    with pytest.raises(UserError, match="remove_character"):
        pipe.save_pretrained(tmp_path / "weights")
    other = TextToVideoPipeline(size=16, dim=32, depth=2, num_heads=2, text_depth=1, codec_width=16, width=16, convs=2)
    with pytest.raises(UserError, match="another shape"):
        load_character(other, tmp_path / "robot.safetensors")
    assert characters(other) == []
