"""Learning a character: the loss falls, the base stays, mistakes are refused before anything is changed."""

import copy
import re

import numpy as np
import pytest
import torch

from t2vlearn import TextToVideoPipeline
from t2vlearn.errors import UserError
from t2vlearn.world import caption_with, render, sample_scenes

pytest.importorskip("peft", reason="comes with the extra `personal`")
from t2vlearn.adapters import characters  # noqa: E402
from t2vlearn.personal import learn_character  # noqa: E402

SCENES = sample_scenes(8, "train", 1)
CAPTIONS = [caption_with("robot", scene, i) for i, scene in enumerate(SCENES)]


@pytest.fixture
def pipe(own_pipeline):
    return own_pipeline


@pytest.fixture
def clips():
    return render(SCENES, 16, 16, seed=1)


def test_learning_lowers_the_loss_and_leaves_the_base_alone(pipe, clips):
    base = {k: v.clone() for k, v in pipe.state_dict().items()}
    losses = learn_character(pipe, "robot", clips, CAPTIONS, steps=(24, 40, 30), batch=(8, 4, 2), lr=1e-2)
    assert {name: len(values) for name, values in losses.items()} == {"decoder": 24, "keyframes": 40, "video": 30}
    for values in losses.values():
        assert sum(values[-8:]) < sum(values[:8])
    state = pipe.state_dict()
    for key, value in base.items():
        key = key.replace("text_encoder.embedding.weight", "text_encoder.embedding.base.weight")
        found = state[key] if key in state else state[re.sub(r"\.(\w+)$", r".base_layer.\1", key)]
        assert torch.equal(found, value), key
    assert not any("time_before" in key or "time_after" in key for key in state if "lora" in key)


def test_a_clip_of_nothing_but_key_frames_teaches_no_nonsense():
    pipe = TextToVideoPipeline(
        size=16, num_frames=4, num_keyframes=4, dim=16, depth=1, num_heads=2, text_depth=1, width=8
    )
    losses = learn_character(pipe, "robot", render(SCENES, 4, 16, seed=1), CAPTIONS, (1, 1, 2), (8, 4, 2))
    assert np.isfinite(losses["video"]).all()


def test_clips_and_captions_have_to_fit(pipe, clips):
    with pytest.raises(UserError, match="captions as clips"):
        learn_character(pipe, "robot", clips, CAPTIONS[:3])
    for word in ("Robot", "two words"):
        with pytest.raises(UserError, match="not one lower-case word"):
            learn_character(pipe, word, clips, [f"a {word} jumps"] * len(clips))
    with pytest.raises(UserError, match="needs the word"):
        learn_character(pipe, "robot", clips, ["a star"] * len(clips))
    with pytest.raises(UserError, match="words; at most"):
        learn_character(pipe, "robot", clips, ["robot " * 49] * len(clips))
    with pytest.raises(UserError, match="on the CPU"):
        learn_character(copy.deepcopy(pipe).to("meta"), "robot", clips, CAPTIONS)
    assert characters(pipe) == []
