"""The pipeline: the same seed gives the same clip, given frames come back exactly, mistakes get one clear line."""

import warnings

import numpy as np
import pytest
import torch

from t2vlearn import media
from t2vlearn.denoiser import guided
from t2vlearn.errors import UserError
from t2vlearn.pipeline import PipelineConfig, TextToVideoPipeline, to_tensor, to_uint8

PROMPT = "a brown puppy plays in the park"
CLIP = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
LONG = "puppy " * 49


@pytest.fixture(scope="module")
def pipe(tiny_pipeline):
    return tiny_pipeline


def make(pipe, prompt=PROMPT, steps=2, **options):
    return pipe(prompt, num_inference_steps=steps, **options)


def differ(first, second):
    return np.abs(first.frames.astype(int) - second.frames).mean() > 0.1


# ------------------------------------------------------------------ what comes out


def test_a_prompt_becomes_frames_and_key_frames(pipe):
    out = make(pipe)
    assert out.frames.shape == (1, 16, 32, 32, 3) and out.keyframes.shape == (1, 4, 32, 32, 3)
    assert out.frames.dtype == out.keyframes.dtype == np.uint8
    assert pipe.keyframe_numbers == [0, 5, 10, 15]
    assert (out.keyframes == out.frames[:, [0, 5, 10, 15]]).all()
    assert out.prompts == [PROMPT]


def test_pixels_go_in_and_come_out_unchanged():
    assert (to_uint8(to_tensor(CLIP[None])) == CLIP).all()
    edge = to_uint8(torch.tensor([-7.0, -1, 0, 1, 7]).view(1, 1, 1, 1, 5).expand(1, 3, 1, 1, 5))
    assert edge[0, 0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_the_seed_decides(pipe):
    first, again, other = make(pipe, seed=7), make(pipe, seed=7), make(pipe, seed=8)
    assert (first.frames == again.frames).all() and differ(first, other)
    assert (make(pipe, seed=np.int64(7)).frames == first.frames).all()
    torch.manual_seed(99)  # torch's own random state has no say
    assert (make(pipe, seed=7).frames == first.frames).all()


def test_a_clips_noise_is_its_seeds_own(pipe):
    frames, key_frames = pipe.initial_noise([3, 7])
    assert frames.shape == (2, 4, 16, 8, 8) and key_frames.shape == (2, 4, 4, 8, 8)
    alone = pipe.initial_noise([7])
    assert torch.equal(alone[0][0], frames[1]) and torch.equal(alone[1][0], key_frames[1])
    generator = torch.Generator().manual_seed(7)  # the frames' first, then the key frames'
    assert torch.equal(alone[0][0], torch.randn(4, 16, 8, 8, generator=generator))
    assert torch.equal(alone[1][0], torch.randn(4, 4, 8, 8, generator=generator))


def test_prompt_guidance_and_negative_prompt_have_a_say(pipe):
    base = make(pipe)
    assert differ(base, make(pipe, "a red star"))
    assert differ(base, make(pipe, guidance_scale=1.0))
    assert (make(pipe, guidance_scale=pipe.config.guidance_scale).frames == base.frames).all()  # the weights' own
    assert differ(base, make(pipe, guidance_scale=PipelineConfig().guidance_scale))
    assert differ(base, make(pipe, negative_prompt="a red star at night"))
    assert (make(pipe, negative_prompt="").frames == base.frames).all()
    assert differ(base, make(pipe, steps=3))


def test_a_batch_is_its_clips_made_one_by_one(pipe):
    prompts = [PROMPT, "一颗红色的星星"]
    together = make(pipe, prompts, seed=5)
    assert together.frames.shape == (2, 16, 32, 32, 3) and together.prompts == prompts
    for i, prompt in enumerate(prompts):
        alone = make(pipe, prompt, seed=5 + i)
        assert np.abs(together.frames[i].astype(int) - alone.frames[0]).max() <= 1
    listed = make(pipe, prompts, seed=[6, 5])
    assert np.abs(listed.frames[1].astype(int) - make(pipe, prompts[1], seed=5).frames[0]).max() <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"guidance_scale": 1.0},
        {"guidance_scale": 3.0},
        {"negative_prompt": "a red star"},
        {"image": CLIP[0]},
        {"keyframes": CLIP[:4]},
        {"continue_from": CLIP},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_clip_is_the_same_alone_in_a_batch_and_on_two_threads(options):
    """Within what `__call__` promises of trained weights (random ones magnify what is rounded)."""
    pipe = TextToVideoPipeline.from_pretrained()

    def clip(prompts, seeds):
        steps = []
        out = pipe(prompts, 2, seed=seeds, callback=lambda *now: steps.append(now[-1]), **options)
        return out.frames[-1].astype(int), steps[-1][-1]

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        frames, latents = clip([PROMPT], [9])
        again = clip([PROMPT], [9])
        assert np.array_equal(again[0], frames) and torch.equal(again[1], latents)
        others = [clip(["a red star", "the bird", "a car jumps"] * 2 + ["the heart", PROMPT], list(range(2, 10)))]
        torch.set_num_threads(2)
        others.append(clip([PROMPT], [9]))
    finally:
        torch.set_num_threads(threads)
    for other in others:
        assert np.abs(other[0] - frames).max() <= 1
        torch.testing.assert_close(other[1], latents, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("steps", "between"), [(3, 2), (11, 3)])  # a fifth, rounded up; at least two
def test_callbacks_count_the_steps_of_both_stages(pipe, steps, between):
    seen, latents = [], []

    def callback(*event):
        seen.append(event[:3])
        latents.append(event[3])

    out = make(pipe, steps=steps, callback=callback)
    numbers = [("key frames", steps, 4), ("video", between, 16)]
    assert seen == [(stage, i + 1, n) for stage, n, _ in numbers for i in range(n)]
    assert [x.shape[2] for x in latents] == [frames for _, n, frames in numbers for _ in range(n)]
    decode = pipe.visual_encoder.codec.decode
    assert np.array_equal(to_uint8(decode(latents[-1])), out.frames)  # the last estimate is the clip
    seen.clear()
    make(pipe, steps=steps, continue_from=CLIP, callback=callback)
    assert seen == [("video", i + 1, steps) for i in range(steps)]


@pytest.mark.parametrize(("process", "prediction"), [("ddpm", "v"), ("ddpm", "epsilon"), ("rectified_flow", "v")])
def test_other_processes_drive_the_same_networks(process, prediction):
    pipe = TextToVideoPipeline(
        dim=16, depth=1, num_heads=2, text_depth=1, codec_width=8, latent_channels=4, process=process, prediction=prediction
    )  # fmt: skip
    out = make(pipe)
    assert out.frames.std() > 0 and (out.frames == make(pipe).frames).all()


def test_sizes_follow_from_the_config():
    pipe = TextToVideoPipeline(size=64, down=8, num_frames=7, num_keyframes=3, dim=16, depth=1, num_heads=2,
                               text_depth=1, codec_width=8, latent_channels=4)  # fmt: skip
    out = make(pipe)
    assert pipe.keyframe_numbers == [0, 3, 6]
    assert out.frames.shape == (1, 7, 64, 64, 3) and out.keyframes.shape == (1, 3, 64, 64, 3)


# ------------------------------------------------------------------ given frames


def test_a_first_image_comes_back_exactly_and_shapes_the_rest(pipe):
    first, second = make(pipe, image=CLIP[0]), make(pipe, image=np.full_like(CLIP[0], 255))
    assert (first.frames[0, 0] == CLIP[0]).all() and (first.keyframes[0, 0] == CLIP[0]).all()
    assert np.abs(first.frames[0, 1:].astype(int) - second.frames[0, 1:]).mean() > 0.5
    both = make(pipe, [PROMPT, "a red star"], image=CLIP[0])
    assert (both.frames[:, 0] == CLIP[0]).all()


def test_key_frames_come_back_exactly(pipe):
    out = make(pipe, keyframes=CLIP[:4])
    assert (out.keyframes[0] == CLIP[:4]).all() and (out.frames[0, [0, 5, 10, 15]] == CLIP[:4]).all()
    ends = make(pipe, keyframes={0: CLIP[0], 15: CLIP[1]})
    assert (ends.frames[0, 0] == CLIP[0]).all() and (ends.frames[0, 15] == CLIP[1]).all()
    assert not (ends.frames[0, 5] == CLIP[1]).all()
    mixed = make(pipe, image=CLIP[2], keyframes={10: CLIP[3]})
    assert (mixed.frames[0, 0] == CLIP[2]).all() and (mixed.frames[0, 10] == CLIP[3]).all()


def test_a_clip_goes_on_from_the_last_four_frames_of_another(pipe):
    out = make(pipe, continue_from=CLIP)
    assert (out.frames[0, :4] == CLIP[-4:]).all()
    assert (make(pipe, continue_from=CLIP[-4:]).frames == out.frames).all()
    assert differ(out, make(pipe, continue_from=CLIP[:4]))
    short = TextToVideoPipeline(size=16, num_frames=3, num_keyframes=2, dim=16, depth=1, num_heads=2, text_depth=1)
    assert (make(short, continue_from=CLIP[:, :16, :16]).frames[0, :2] == CLIP[-2:, :16, :16]).all()


# ------------------------------------------------------------------ mistakes


@torch.no_grad()
@pytest.mark.parametrize(("process", "prediction"), [("rectified_flow", "x_0"), ("ddpm", "v")])
def test_its_parts_stay_on_their_device(process, prediction):
    """The meta device stands for a GPU: it computes no numbers, and refuses what mixes it with the CPU."""
    pipe = TextToVideoPipeline(dim=16, depth=2, num_heads=2, text_depth=1, process=process, prediction=prediction).to(
        "meta"
    )
    text, null = pipe.encode_prompt([PROMPT, PROMPT])
    latents, keys = pipe.initial_noise([0, 1])
    known = torch.zeros(2, 4, dtype=torch.bool, device="meta")
    denoise = guided(
        pipe.visual_encoder.denoiser, pipe.visual_encoder.keyframe_times.expand(2, -1), text, null, 3.0, known
    )
    latents[:, :, pipe.keyframe_numbers] = pipe.diffusion.sample(denoise, keys, 2, known)
    known = known.new_zeros(2, 16)
    known[:, pipe.keyframe_numbers] = True
    drawn = pipe.video_generator.generate(pipe.diffusion, text, null, latents, known, 2, 1.0)
    assert pipe.visual_encoder.codec.decode(drawn).device.type == "meta"


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ("", {}, "the prompt is empty: write what the clip should show"),
        (" \n\t", {}, "the prompt is empty"),
        ("🐶🐶 !", {}, "the prompt is empty"),
        ([PROMPT, ""], {}, "the prompt is empty"),
        ([], {}, "the prompt is empty"),
        ("xyzzy qwxz", {}, "no word of the prompt is known: 'xyzzy'; 'qwxz'"),
        ("pupy", {}, r"no word of the prompt is known: 'pupy' \(near: puppy"),
        (LONG, {}, "the prompt has 49 words; at most 48 fit: shorten it"),
        (PROMPT, {"negative_prompt": LONG}, "the prompt has 49 words"),
        (PROMPT, {"steps": 0}, "the number of steps is 0: a whole number from 1 up is needed"),
        (PROMPT, {"steps": 2.5}, "the number of steps is 2.5"),
        (PROMPT, {"steps": -3}, "the number of steps is -3"),
        (PROMPT, {"guidance_scale": -0.5}, "the guidance scale is -0.5: use a number from 0 up"),
        (PROMPT, {"guidance_scale": float("nan")}, "the guidance scale is nan"),
        (PROMPT, {"guidance_scale": float("inf")}, "the guidance scale is inf"),
        ([PROMPT, PROMPT], {"seed": [1]}, "2 prompts need 2 seeds, not 1"),
        (PROMPT, {"seed": [1, 2]}, "1 prompts need 1 seeds, not 2"),
        (PROMPT, {"seed": -1}, "seeds are whole numbers from 0 up"),
        (PROMPT, {"seed": 2**63}, "seeds are whole numbers from 0 up"),
        (PROMPT, {"seed": 1.5}, "seeds are whole numbers"),
        (PROMPT, {"seed": [1.5]}, "seeds are whole numbers"),
        (PROMPT, {"image": "puppy.png"}, "an image of 32 x 32 x 3"),
        (PROMPT, {"image": CLIP[0, :16]}, r"an image of 32 x 32 x 3 .*is needed, not \(16, 32, 3\)"),
        (PROMPT, {"image": CLIP[0, ..., 0]}, r"is needed, not \(32, 32\)"),
        (PROMPT, {"image": CLIP[0] / 255}, "uint8"),
        (PROMPT, {"continue_from": CLIP[:, :, :16]}, r"is needed, not \(32, 16, 3\)"),
        (PROMPT, {"continue_from": CLIP[:0]}, "at least one frame"),
        (PROMPT, {"continue_from": CLIP, "image": CLIP[0]}, "has no image or key frames"),
        (PROMPT, {"continue_from": CLIP, "keyframes": CLIP[:4]}, "has no image or key frames"),
        (PROMPT, {"keyframes": {1: CLIP[0]}}, r"key frames stand at frames \[0, 5, 10, 15\], not at \[1\]"),
        (PROMPT, {"keyframes": CLIP[:4], "image": CLIP[0]}, "the first key frame is given twice"),
        (PROMPT, {"keyframes": {0: CLIP[0]}, "image": CLIP[0]}, "the first key frame is given twice"),
        (PROMPT, {"keyframes": CLIP[:3]}, "4 key frames are needed, not 3"),
        (PROMPT, {"keyframes": CLIP[:5]}, "4 key frames are needed, not 5"),
    ],
)
def test_mistakes_get_one_line_that_says_what_to_do(pipe, prompt, options, message):
    with pytest.raises(UserError, match=message) as caught:
        make(pipe, prompt, **options)
    assert "\n" not in str(caught.value)


def test_unknown_words_are_named_and_generation_goes_on(pipe):
    with pytest.warns(UserWarning, match=r"unknown words say nothing to the model: 'brwon' \(near: brown.*; 'zzzz'$"):
        out = make(pipe, "a brwon zzzz puppy")
    assert out.frames.shape == (1, 16, 32, 32, 3)
    assert pipe.unknown_words("a brwon puppy")["brwon"][0] == "brown"
    with pytest.warns(UserWarning, match="unknown words say nothing to the model: 'treee'"):
        make(pipe, "a puppy", negative_prompt="a treee")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(pipe, "a puppy, a PUPPY; 一只小狗 🐶")


def test_bytes_that_are_no_text_are_left_out(pipe):
    """A terminal's stray bytes arrive as lone surrogates."""
    assert (make(pipe, "a red\udcff star").frames == make(pipe, "a red star").frames).all()


# ------------------------------------------------------------------ files


def test_clips_are_saved_as_they_are(pipe, tmp_path):
    out = make(pipe, [PROMPT, "a red star"])
    back = media.read(out.save(tmp_path / "one.webp", index=1))
    assert (media.fit(back, 32) == out.frames[1]).all()
    last = media.read(out.save(tmp_path / "last.webp", index=-1))
    assert (last == back).all()
    assert len(media.read(out.save(tmp_path / "both.webp"))) == 16


@pytest.mark.parametrize("suffix", media.SUFFIXES)
def test_a_saved_clip_says_that_it_is_generated_and_not_what_was_asked(pipe, tmp_path, suffix):
    path = make(pipe, PROMPT).save(tmp_path / f"clip{suffix}")
    assert media.read_mark(path) == media.MARK
    assert PROMPT.encode() not in path.read_bytes()


def test_saving_and_loading_changes_no_clip(pipe, tmp_path):
    folder = pipe.save_pretrained(tmp_path / "weights")
    loaded = TextToVideoPipeline.from_pretrained(folder)
    assert loaded.config == pipe.config and not loaded.training
    again = TextToVideoPipeline.from_pretrained(str(loaded.save_pretrained(tmp_path / "again")))
    assert (make(again).frames == make(loaded).frames).all()
    # Half precision costs a little, once.
    assert np.abs(make(loaded).frames.astype(int) - make(pipe).frames).mean() < 2


def test_weights_know_their_vocabulary_and_where_they_came_from(tmp_path):
    sizes = {"dim": 16, "depth": 1, "num_heads": 2, "text_depth": 1, "codec_width": 8, "latent_channels": 4}
    pipe = TextToVideoPipeline(info={"machine": "a test", "joint": 0.5}, words=["dragon", "龙"], **sizes)
    loaded = TextToVideoPipeline.from_pretrained(pipe.save_pretrained(tmp_path))
    assert loaded.info == {"machine": "a test", "joint": 0.5}
    assert loaded.text_encoder.words == ("dragon", "龙") and loaded.config.words == ["dragon", "龙"]
    with pytest.raises(UserError, match="no word of the prompt is known: 'puppy'"):
        make(loaded, "puppy")
    default = TextToVideoPipeline(**sizes)
    assert default.config == PipelineConfig(**sizes, words=list(default.text_encoder.words))
    assert {"puppy", "park", "狗"} <= set(default.config.words)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"size": 36}, "size 36 is not a multiple of 8"),
        ({"num_keyframes": 1}, "between 2 and 16 key frames are needed, not 1"),
        ({"dim": 6, "num_heads": 2}, "dim 6 is not a multiple of 4"),
        ({"codec_width": 17}, "codec_width 17 is not a multiple of 2"),
        ({"shift": 0.0}, "shift is 0.0: use a number above 0"),
        ({"process": "flow"}, "unknown process 'flow'"),
        ({"process": "ddpm", "prediction": "noise"}, "unknown prediction 'noise'"),
    ],
)
def test_a_configuration_that_cannot_work_says_so(changes, says):
    with pytest.raises(ValueError, match=says):
        TextToVideoPipeline(**changes)
