"""The toy world as a source of clips. (`test_stages` looks at the batches that come of it.)"""

from dataclasses import replace

import numpy as np
import torch

from t2vlearn.codec import FrameCodec
from t2vlearn.recipe import PRESETS
from t2vlearn.sources import World
from t2vlearn.world import render, sample_scenes

CPU = torch.device("cpu")


def test_a_step_has_scenes_of_its_own_and_a_part_of_them_looks_as_in_the_whole():
    world = World(replace(PRESETS["tiny"], two_actor_share=0.5), 3)
    clips = world.draw(2, 4, 10, np.random.default_rng(1))
    two = np.random.default_rng(1).random(4) < 0.5
    assert two.any() and not two.all()
    ones, twos = (sample_scenes(4, split, 3, start=20) for split in ("train", "two_actors"))
    assert clips == [(20 + i, (twos if two[i] else ones)[i]) for i in range(4)]
    frames = world.frames(clips, [0, 15], CPU)
    assert torch.equal(frames, render([scene for _, scene in clips], 16, 32, 3, [0, 15], start=20))
    assert torch.equal(world.frames(clips[2:], [0, 15], CPU), frames[2:])
    torch.manual_seed(0)
    codec = FrameCodec(4, 4, 8).eval()
    assert torch.equal(world.latents(clips, [0, 15], codec, CPU), codec.encode(frames))


def test_examples_are_held_out_and_no_training_clips():
    captions, frames = World(PRESETS["tiny"], 3).examples([0, 5], CPU)
    scenes = sample_scenes(8, "heldout", 1)
    assert captions == [scene.caption("en", seed=1) for scene in scenes]
    assert torch.equal(frames, render(scenes, 16, 32, 1, [0, 5]))


def test_captions_are_drawn_by_chance():
    world = World(PRESETS["tiny"], 3)
    clip = world.draw(0, 1, 1, np.random.default_rng(0))[0]
    assert len({world.caption(clip, np.random.default_rng(i)) for i in range(20)}) > 5
