"""What a run starts from: given weights keep what they know, and new words come behind the old ones."""

from dataclasses import replace

import pytest
import torch

from t2vlearn.errors import UserError
from t2vlearn.first_weights import first_pipeline, lineage
from t2vlearn.pipeline import PipelineConfig, TextToVideoPipeline

SMALL = PipelineConfig(size=16, dim=16, depth=1, num_heads=2, text_depth=1, codec_width=8, latent_channels=4)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    return TextToVideoPipeline(**vars(replace(SMALL, words=["dog", "park"]))).save_pretrained(tmp_path)


def test_without_weights_the_captions_words_are_the_vocabulary():
    assert first_pipeline(SMALL, new=["bike", "自"]).config.words == ["bike", "自"]
    assert "puppy" in first_pipeline(SMALL).config.words  # the toy world's


def test_old_words_keep_their_vectors_and_new_ones_come_behind(folder, tmp_path):
    old = TextToVideoPipeline.from_pretrained(folder)
    pipe = first_pipeline(SMALL, folder, ["bike", "dog", "自"])
    assert pipe.config.words == ["dog", "park", "bike", "自"] and not pipe.unknown_words("dog 自 bike park")
    rows, before = pipe.text_encoder.embedding.weight, old.text_encoder.embedding.weight
    assert rows.shape == (7, 16) and torch.equal(rows[:5], before) and rows[5:].std() > 0.1
    for one, other in zip(old.text_encoder.encode(["dog park", ""]), pipe.text_encoder.encode(["dog park", ""])):
        assert torch.equal(one, other)
    assert not any(p.requires_grad for p in pipe.visual_encoder.codec.encoder.parameters())
    again = TextToVideoPipeline.from_pretrained(pipe.save_pretrained(tmp_path / "grown"))
    assert again.config.words == pipe.config.words
    torch.testing.assert_close(again.text_encoder.embedding.weight, rows, atol=1e-3, rtol=1e-3)


def test_given_weights_bring_their_sizes_and_take_what_is_free(folder):
    pipe = first_pipeline(replace(SMALL, depth=2, convs=1, tau_mean=0.5, guidance_scale=1.0), folder, ["bike"])
    assert (pipe.config.depth, pipe.config.convs) == (SMALL.depth, SMALL.convs)
    assert (pipe.config.tau_mean, pipe.config.guidance_scale, pipe.diffusion.mean) == (0.5, 1.0, 0.5)
    state = pipe.state_dict()
    for name, value in TextToVideoPipeline.from_pretrained(folder).visual_encoder.state_dict().items():
        assert torch.equal(state[f"visual_encoder.{name}"], value)


def test_weights_that_make_other_clips_are_refused(folder):
    with pytest.raises(UserError, match=r"another model \(num_frames, num_keyframes\): choose the preset"):
        first_pipeline(replace(SMALL, num_frames=8, num_keyframes=2), folder, ["bike"])
    with pytest.raises(UserError, match=r"another model \(words\)"):  # without new words it would forget the old ones
        first_pipeline(SMALL, folder)


def test_where_weights_came_from():
    assert (
        lineage({"seed": 0, "minutes": 58, "machine": "x", "after": "steps 3"}) == "minutes 58, seed 0, after steps 3"
    )
