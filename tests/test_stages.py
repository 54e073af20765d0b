"""The stages: each step's batch follows from its number, holds what it should, and can be learnt."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from t2vlearn.circles import ENOUGH
from t2vlearn.pipeline import PipelineConfig, TextToVideoPipeline
from t2vlearn.recipe import PRESETS, STAGES
from t2vlearn.stages import TASKS
from t2vlearn.world import parse_prompt, render, sample_scene, sample_scenes

SMALL = PipelineConfig(dim=16, depth=1, num_heads=2, text_depth=1, codec_width=8, latent_channels=4)
MICRO = replace(PRESETS["tiny"], pipeline=SMALL, batch=(4, 2, 2), questions=0.0, turns=(0.0, 0.0))
CPU = torch.device("cpu")


def task(stage, seed=0, **changes):
    torch.manual_seed(0)
    return TASKS[stage](TextToVideoPipeline(**vars(SMALL)), replace(MICRO, **changes), seed)


@pytest.mark.parametrize("stage", STAGES)
def test_a_batch_depends_on_seed_stage_and_step_alone(stage):
    first, second = task(stage), task(stage)
    noise = 1 if stage == "codec" else 5
    torch.manual_seed(1)
    wanted = first.batch(5, CPU)
    for step in (0, 3, 5):  # on another path, with another random state
        again = second.batch(step, CPU)
    assert all(torch.equal(a, b) for a, b in zip(wanted, again, strict=True))
    for other in (first.batch(6, CPU), task(stage, seed=1).batch(5, CPU)):
        assert not torch.equal(wanted[0], other[0]) and not torch.equal(wanted[noise], other[noise])


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "fraction", [0.0, 0.2, 0.5, 0.9]
)  # words alone, single frames, circles or fewer frames, everything
def test_a_step_stays_on_its_device(stage, fraction):
    """The meta device stands for a GPU: it computes no numbers, and refuses what mixes it with the CPU."""
    meta = torch.device("meta")
    pipe = TextToVideoPipeline(**vars(SMALL)).to(meta)
    own = TASKS[stage](pipe, replace(MICRO, questions=0.1, images=0.35, turns=(0.35, 0.6)), 0).to(meta)
    drawn = own.source.frames  # by the CPU: rendering has to know how large things are
    own.source.frames = lambda clips, numbers, device: drawn(clips, numbers, CPU).to(device)
    batch = own.batch(4 * ENOUGH, meta, fraction)  # so many steps that there is time for the lesson in circles
    flat = [tensor for part in batch for tensor in (part.values() if isinstance(part, dict) else [part])]
    assert {tensor.device for tensor in flat} == {meta}
    loss = own(*batch)
    loss.backward()
    assert loss.device == meta
    assert stage != "key frames" or own.lesson.circling == (1 if fraction == 0.5 else 0.1)


@pytest.mark.parametrize(("share", "split"), [(0.0, "train"), (1.0, "two_actors")])
def test_the_codec_sees_two_frames_of_each_clip(share, split):
    frames, noise, shift = task("codec", two_actor_share=share).batch(3, CPU)
    assert frames.shape == (4, 3, 32, 32) and noise.shape == (4, 4, 8, 8) and shift.shape == (4, 2)
    clips = render(sample_scenes(2, split, 0, start=6), 16, 32, 0, start=6)
    for i, frame in enumerate(frames):
        assert any(torch.equal(frame, clips[i // 2, :, t]) for t in range(16))
    assert not torch.equal(frames[0], frames[1])


def test_half_of_the_codecs_frames_are_moved_by_up_to_a_cell():
    shift = torch.cat([task("codec", batch=(64, 2, 2)).batch(step, CPU)[2] for step in range(20)])
    still = (shift == 0).all(1).float().mean()
    # 1280 frames; of those that are drawn to move, one in 81 moves by (0, 0)
    assert still == pytest.approx(0.5 + 0.5 / 81, abs=4 * (0.25 / 1280) ** 0.5)
    assert shift.unique().tolist() == list(range(-4, 5))


@pytest.mark.parametrize(("share", "alike"), [(0.0, 1.0), (0.25, 0.75), (1.0, 0.0)])
def test_some_clips_have_frames_of_mixed_noise_levels(share, alike):
    own = task("key frames", batch=(4, 100, 2), mixed_levels=share)
    tau = torch.cat([own.batch(step, CPU)[4] for step in range(3)])
    assert (tau == tau[:, :1]).all(1).float().mean() == pytest.approx(alike, abs=0.1)
    assert len(tau.unique()) >= 300


@pytest.mark.parametrize(("stage", "numbers"), [("key frames", [0, 5, 10, 15]), ("video", list(range(16)))])
def test_denoisers_see_the_latents_of_their_frames_beside_the_caption(stage, numbers):
    own = task(stage, batch=(4, 3, 3), two_actor_share=0.0, caption_dropout=0.0)
    latents, ids, mask, known, tau, noise, times = own.batch(2, CPU)
    scenes = sample_scenes(3, "train", 0, start=24)  # room for four times as many in each step
    clips = render(scenes, 16, 32, 0, start=24)[:, :, numbers]
    assert torch.equal(latents, own.codec[0].encode(clips)) and not latents.requires_grad
    assert known.shape == (3, len(numbers)) and noise.shape == latents.shape and (mask == (ids != 0)).all()
    assert tau.shape == known.shape and ((tau > 0) & (tau < 1)).all()
    assert torch.equal(times, torch.tensor(numbers).expand(3, -1) / 15)
    encoder = TextToVideoPipeline(**vars(SMALL)).text_encoder
    for row, scene in zip(ids, scenes):
        named = parse_prompt(" ".join(encoder.tokenizer.id_to_token(i) for i in row[row > 0].tolist()))
        assert named and named.items() <= scene.attributes.items()


def test_the_toy_worlds_batches_stay_what_they_were():
    """Chance is used up in this order: frames, two actors, captions. Weights in the world go on from such batches."""
    own = task("video", batch=(4, 3, 6), two_actor_share=0.3, caption_dropout=0.2, chinese_share=0.5, thinned=0.0)
    for step in (0, 3):
        rng = np.random.default_rng((0, 2, step))
        two = rng.random(6) < 0.3
        scenes = [sample_scene(24 * step + i, "two_actors" if two[i] else "train", 0) for i in range(6)]
        captions = []
        for scene in scenes:
            captions.append("")
            if rng.random() >= 0.2:
                captions[-1] = scene.caption("zh" if rng.random() < 0.5 else "en", seed=int(rng.integers(2**31)))
        batch = own.batch(step, CPU)
        assert torch.equal(batch[1], own.tokenize(captions)[0])
        assert torch.equal(batch[0], own.codec[0].encode(render(scenes, 16, 32, 0, start=24 * step)))


def test_key_frames_begin_with_single_frames_of_four_times_as_many_clips():
    own = task("key frames", batch=(4, 3, 3), two_actor_share=0.0, caption_dropout=0.0, images=0.25)
    seen = set()
    for step in range(30):
        latents, ids, mask, known, tau, noise, times = own.batch(step, CPU, fraction=0.24)
        assert (
            latents.shape == noise.shape == (12, 4, 1, 8, 8) and not known.any() and known.shape == tau.shape == (12, 1)
        )
        number = round(float(times[0, 0]) * 15)
        assert torch.equal(times, torch.full((12, 1), number / 15))
        frames = render(sample_scenes(12, "train", 0, start=12 * step), 16, 32, 0, [number], start=12 * step)
        assert torch.equal(latents, own.codec[0].encode(frames))
        seen.add(number)
    assert seen == {0, 5, 10, 15}
    assert own(latents, ids, mask, known, tau, noise, times).isfinite()
    assert own.batch(0, CPU, fraction=0.25)[0].shape == (3, 4, 4, 8, 8)
    assert task("video", images=1.0, thinned=0.0).batch(0, CPU, fraction=0.0)[0].shape[2] == 16


def test_the_video_stage_begins_with_half_of_the_frames_the_key_frames_among_them():
    own, seen = task("video", batch=(4, 3, 3), two_actor_share=0.0, thinned=0.25), set()
    for step in range(30):
        latents, ids, mask, known, tau, noise, times = own.batch(step, CPU, fraction=0.24)
        numbers = (times[0] * 15).round().int().tolist()
        assert latents.shape == noise.shape == (3, 4, 8, 8, 8) and known.shape == tau.shape == (3, 8)
        assert numbers == sorted(set(numbers)) and {0, 5, 10, 15} <= set(numbers)
        frames = render(sample_scenes(3, "train", 0, start=12 * step), 16, 32, 0, numbers, start=12 * step)
        assert torch.equal(latents, own.codec[0].encode(frames))
        for row in known:
            given = [i for i, here in zip(numbers, row.tolist()) if here]
            assert given in ([], [0], [0, 15], [0, 5, 10, 15], numbers[:4])
        seen |= set(numbers)
    assert seen == set(range(16))
    assert own(latents, ids, mask, known, tau, noise, times).isfinite()
    assert own.batch(0, CPU, fraction=0.25)[0].shape == (3, 4, 16, 8, 8)


def test_captions_are_dropped_chinese_and_about_two_as_often_as_asked():
    ids = task("key frames", caption_dropout=1.0).batch(0, CPU)[1]
    null = TextToVideoPipeline(**vars(SMALL)).text_encoder.tokenizer.token_to_id("[NULL]")
    assert ids.tolist() == [[null], [null]]
    encoder = TextToVideoPipeline(**vars(SMALL)).text_encoder
    for share, chinese in ((1.0, True), (0.0, False)):
        ids = task("key frames", caption_dropout=0.0, chinese_share=share).batch(0, CPU)[1]
        words = [encoder.tokenizer.id_to_token(i) for i in ids[ids > 0].tolist()]
        assert all(word.isascii() != chinese for word in words)
    clips = task("video", two_actor_share=0.25).source.draw(0, 800, 800, np.random.default_rng(0))
    counts = [len(scene.actors) for _, scene in clips]
    assert counts.count(2) / 800 == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 800) ** 0.5)


def test_the_empty_caption_gets_gradient_from_training_batches():
    """With every second caption dropped, the null token is trained by the very batches of a run; with none dropped, not."""
    null = TextToVideoPipeline(**vars(SMALL)).text_encoder.tokenizer.token_to_id("[NULL]")
    for share in (0.5, 0.0):
        own = task("key frames", batch=(4, 8, 2), caption_dropout=share)
        for parameter in own.denoiser.parameters():  # gates and outputs start at zero, where nothing is heard
            torch.nn.init.normal_(parameter, std=0.1)
        batch = own.batch(0, CPU)
        own(*batch).backward()
        gradient = float(own.text_encoder.embedding.weight.grad[null].norm())
        assert (gradient > 1e-6) == (share > 0) == bool((batch[1] == null).any())


def shares(stage, n=16000):
    """How often each pattern of given frames is drawn."""
    numbers = [0, 5, 10, 15] if stage == "key frames" else list(range(16))
    rows = task(stage).known(np.random.default_rng(0), n, numbers).int().tolist()
    patterns = ["".join(map(str, row)) for row in rows]
    return {pattern: patterns.count(pattern) / n for pattern in set(patterns)}


def assert_shares(drawn, expected, n=16000):
    assert drawn.keys() == expected.keys()
    for pattern, share in expected.items():
        assert drawn[pattern] == pytest.approx(share, abs=4 * (share * (1 - share) / n) ** 0.5), pattern


def test_key_frames_that_are_given():
    """In one of eight the first; in one of eight each by the toss of a coin, but never all; else none."""
    coin = 1 / 8 / 16
    expected = {f"{i:04b}": coin for i in range(1, 15)}
    assert_shares(shares("key frames"), expected | {"0000": 6 / 8 + 2 * coin, "1000": 1 / 8 + coin})


def test_frames_that_are_given():
    assert_shares(
        shares("video"),
        {
            "1000010000100001": 5 / 8,
            "1111000000000000": 1 / 8,
            "1000000000000000": 1 / 16,
            "1000000000000001": 1 / 16,
            "0000000000000000": 1 / 8,
        },
    )


def test_of_a_very_short_clip_never_all_frames_are_given():
    short = replace(MICRO, pipeline=replace(SMALL, num_frames=4, num_keyframes=4))
    video = TASKS["video"](TextToVideoPipeline(**vars(short.pipeline)), short, 0)
    known = video.known(np.random.default_rng(0), 200, [0, 1, 2, 3])
    assert known.any() and not known.all(1).any()


def test_what_each_stage_trains():
    names = {stage: {name.split(".")[0] for name, _ in task(stage).named_parameters()} for stage in STAGES}
    assert names == {"codec": {"codec"}, "key frames": {"text_encoder", "denoiser"}, "video": {"denoiser"}}


@pytest.mark.parametrize("stage", STAGES)
def test_every_task_learns_its_batch(stage):
    own = task(stage, batch=(4, 4, 2)).train()
    batch = own.batch(0, CPU)
    optimiser = torch.optim.AdamW(own.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = own(*batch)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
