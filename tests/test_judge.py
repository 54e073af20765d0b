"""The judge: its bundled weights read real clips, and its training loss falls."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from t2vlearn.codec import FrameCodec, psnr
from t2vlearn.errors import UserError
from t2vlearn.judge import NUM_FRAMES, Judge, match, train_judge, worsen
from t2vlearn.pipeline import to_uint8
from t2vlearn.world import ATTRIBUTES, Actor, Scene, render, sample_scenes

SECOND = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "second_judge.py"))["SecondJudge"]


@pytest.fixture(scope="module")
def judge():
    return Judge.from_pretrained()


def test_reads_real_clips_almost_always_right(judge):
    scenes = sample_scenes(200, "heldout", seed=77)
    readings = judge.read(render(scenes, size=32, seed=78))
    right = [all(r[key] == value for key, value in s.attributes.items()) for r, s in zip(readings, scenes)]
    assert np.mean(right) >= 0.985  # 0.995 is the requirement; 200 clips leave room for chance


def test_reads_larger_clips_by_averaging_them_down(judge):
    scenes = sample_scenes(40, seed=79)
    readings = judge.read(render(scenes, size=64, seed=80))
    assert np.mean([r["subject"] == s.attributes["subject"] for r, s in zip(readings, scenes)]) >= 0.9


def test_reads_uint8_frames_like_the_tensor_they_came_from(judge):
    clips = render(sample_scenes(4, seed=1), size=32, seed=1)
    frames = ((clips + 1) * 127.5).round().byte().permute(0, 2, 3, 4, 1).numpy()
    for a, b in zip(judge.read(clips), judge.read(frames)):
        assert {k: v for k, v in a.items() if k != "confidence"} == {k: v for k, v in b.items() if k != "confidence"}


def test_readings_have_the_keys_of_a_scene_and_a_probability_for_each(judge):
    two = Scene((Actor("puppy", "brown", "big", "jumps"), Actor("star", "red", "big", "jumps")), "park")
    reading = judge.read(render([two], size=32, seed=0), actors=2)[0]
    confidence = reading.pop("confidence")
    assert reading.keys() == confidence.keys() == two.attributes.keys()
    assert all(0 < p <= 1 for p in confidence.values())
    assert all(value in ATTRIBUTES[key.removesuffix("_2")] for key, value in reading.items())
    assert reading["subject"] != reading["subject_2"]


def test_one_actor_is_read_as_asked_as_it_is_read_alone(judge):
    scenes = sample_scenes(4, seed=1)
    clips = to_uint8(render(scenes, size=32, seed=1))
    alone = judge.read(clips)
    for one, other in zip(alone, judge.read_as_asked(clips, [{"subject": "puppy"}] * 4), strict=True):
        assert one.keys() == other.keys() and one["confidence"].keys() == other["confidence"].keys()
        assert {k: v for k, v in one.items() if k != "confidence"} == {
            k: v for k, v in other.items() if k != "confidence"
        }
        assert one["confidence"] == pytest.approx(other["confidence"])


def test_every_frame_counts(judge):
    clips = render(sample_scenes(1, seed=3), size=32, seed=3)
    before = judge.features(clips)
    for frame in (0, 7, 15):
        changed = clips.clone()
        changed[:, :, frame] = -changed[:, :, frame]
        assert not torch.allclose(judge.features(changed), before)


def test_another_length_is_refused(judge):
    with pytest.raises(ValueError, match=f"{NUM_FRAMES} frames"):
        judge.read(np.zeros((1, 8, 32, 32, 3), np.uint8))


def test_what_it_cannot_read_is_refused_in_a_line(judge):
    clips = np.zeros((1, NUM_FRAMES, 32, 32, 3), np.uint8)
    for frames, actors, says in (
        (clips, 3, "1 actor or 2"),
        (clips[0], 1, "five dimensions"),
        (clips[:0], 1, "five dimensions"),
    ):
        with pytest.raises(UserError, match=says):
            judge.read(frames, actors)
    assert judge.read(np.zeros((1, NUM_FRAMES, 48, 32, 3), np.uint8))[0]["place"]  # it is looked at as a square


def test_one_reading_is_matched_with_two_requests_as_it_is():
    reading = {"subject": "cat", "colour": "red"}
    assert match(reading, {"subject": "dog", "subject_2": "cat"}) == reading


def test_weights_that_are_no_judge_are_named(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="holds no judge: give a folder made by `Judge.save_pretrained`"):
        Judge.from_pretrained(tmp_path)


def test_worsened_clips_keep_most_of_the_picture_and_are_repeatable():
    clips = render(sample_scenes(12, seed=2), size=32, seed=2, frames=range(0, 16, 2))
    codec = FrameCodec(4, 4, 16).eval()
    with torch.no_grad():
        once, again = (worsen(clips, codec, np.random.default_rng(0)) for _ in range(2))
    assert torch.equal(once, again)
    changed = (once != clips).flatten(1).any(1)
    assert 0 < changed.sum() < len(clips)  # some stay as they are
    drawn = torch.from_numpy(
        np.random.default_rng(0).random(len(clips)) <= 0.92
    )  # the others went through an untrained codec
    assert 0 < drawn.sum() and psnr(once[drawn], clips[drawn]) > 15


def test_a_batch_in_which_no_size_can_be_read_has_a_loss(judge):
    scene = Scene((Actor("star", "red", "big", "grows"),), "park")
    assert torch.isfinite(judge.loss(render([scene], 16, 32, 0)[:, :, ::2], [scene]))


@pytest.mark.parametrize("kind", [Judge, SECOND])
def test_training_lowers_the_loss(kind):
    losses = []
    keep = FrameCodec(4, 4, 16).eval()
    train_judge(keep, steps=60, batch=8, kind=kind, on_step=lambda i, loss, ema: losses.append(loss))
    assert np.mean(losses[-3:]) < losses[0] - 1


def test_it_learns_from_the_splits_that_it_is_told():
    seen = []

    class Watched(Judge):
        def loss(self, clips, scenes):
            seen.extend(len(scene.actors) for scene in scenes)
            return super().loss(clips, scenes)

    train_judge(FrameCodec(4, 4, 16).eval(), steps=2, batch=4, kind=Watched, shares=(0.0, 0.0, 1.0))
    assert seen == [2] * 8


def test_the_second_judge_reads_each_subject_from_where_it_stands():
    """Where the map of a subject is sharp, what stands elsewhere changes nothing of what is read of it, but for its edges."""
    torch.manual_seed(0)
    second = SECOND().eval()
    with torch.no_grad():
        for layer in (0, 2, 4, 6):
            second.maps[layer].weight.abs_()  # bright things excite every map
        second.scores.weight.fill_(50.0)
    clips = torch.full((1, 3, 8, 32, 32), -1.0)
    clips[..., 4:8, 4:8] = 1.0
    changed = clips.clone()
    changed[..., 26:30, 26:30] = 0.5
    with torch.no_grad():
        (before, after) = (second.see(x) for x in (clips, changed))
    torch.testing.assert_close(before[:, 1:], after[:, 1:], atol=1e-3, rtol=1e-3)
    assert (before[:, 0] - after[:, 0]).abs().max() > 1e-3  # the whole is read from everywhere
