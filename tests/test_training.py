"""Training: what a run leaves behind, that a stopped one goes on as if nothing had happened."""

import itertools
import json
import math
import os
import resource
import shutil
import signal
import time
import warnings
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from t2vlearn.errors import UserError
from t2vlearn.own_clips import FOLDER
from t2vlearn.pipeline import PipelineConfig, TextToVideoPipeline
from t2vlearn.recipe import PRESETS, STAGES, TrainConfig
from t2vlearn.stages import TASKS
from t2vlearn.training import Interrupted, sheet_after, train

SMALL = PipelineConfig(size=16, dim=16, depth=1, num_heads=2, text_depth=1, codec_width=8, latent_channels=4)
MICRO = replace(PRESETS["tiny"], pipeline=SMALL, batch=(4, 2, 2), share=(0.8, 0.12, 0.08), sheet_every=2.0)
STEPS = 25  # 20 of the codec, 3 of the key frames, 2 of the video
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """An uninterrupted run: its folder and what it reported."""
    events = []
    return train(MICRO, tmp_path_factory.mktemp("straight"), steps=STEPS, progress=events.append), events


def stop_at(stage, step, number=signal.SIGINT, events=None):
    """A progress callback that presses Ctrl-C after a step, and keeps what it is told in `events`."""

    def progress(event):
        if events is not None:
            events.append(event)
        if (event.stage, event.step) == (stage, step):
            os.kill(os.getpid(), number)

    return progress


# ------------------------------------------------------------------ a run


def test_a_run_leaves_a_pipeline_that_loads_and_samples_to_look_at(straight):
    out, _ = straight
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "log.jsonl", "model.safetensors", "samples"]
    sheets = sorted(path.name for path in (out / "samples").iterdir())
    assert sheets == ["001-codec.png", "002-key-frames.png", "003-video.png"]
    pipe = TextToVideoPipeline.from_pretrained(out)
    assert pipe.info["seed"] == 0 and pipe.info["steps"] == STEPS and pipe.info["machine"]
    assert pipe("a puppy", num_inference_steps=1).frames.shape == (1, 16, 16, 16, 3)


def test_a_new_run_in_a_folder_leaves_no_sheets_of_the_one_before(straight, tmp_path):
    out = shutil.copytree(straight[0], tmp_path / "again")
    (out / "samples" / "my-favourite.png").write_bytes(b"")
    train(replace(MICRO, share=(1.0, 0.0, 0.0)), out, steps=2)
    assert sorted(path.name for path in (out / "samples").iterdir()) == ["001-codec.png", "my-favourite.png"]


def test_a_run_can_go_on_from_weights_and_leave_stages_out(straight, tmp_path):
    """The codec's share is zero, so it stays; the other parts move on, each from its own weights."""
    before = TextToVideoPipeline.from_pretrained(straight[0]).state_dict()
    events = []
    config = replace(MICRO, pipeline=replace(SMALL, tau_mean=2.0), share=(0.0, 0.5, 0.5))  # other noise levels
    out = train(config, tmp_path, steps=4, seed=1, weights=straight[0], progress=events.append)
    pipe = TextToVideoPipeline.from_pretrained(out)
    assert pipe.config.tau_mean == 2.0
    assert [(event.stage, event.step) for event in events] == [(s, i) for s in STAGES[1:] for i in (1, 2)]
    moved = {name for name, value in pipe.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved} == {"text_encoder", "visual_encoder", "video_generator"}
    assert not any(".codec." in name for name in moved)
    for name, value in pipe.state_dict().items():  # two small steps: still near where it started
        torch.testing.assert_close(value.float(), before[name].float(), atol=0.05, rtol=0)
    assert pipe.info["after"] == f"steps {STEPS}, seed 0" and pipe.info["steps"] == 4


def test_given_weights_are_asked_nothing(straight, tmp_path):
    """With new listeners and nobody to understand them, words would move that the denoisers can read."""
    for name, config in (("asking", MICRO), ("silent", replace(MICRO, questions=0.0, words=0.0))):
        train(config, tmp_path / name, steps=4, seed=1, weights=straight[0])
    asking, silent = (load_file(tmp_path / name / "model.safetensors") for name in ("asking", "silent"))
    assert MICRO.questions and all(torch.equal(asking[name], silent[name]) for name in silent)


def test_of_given_weights_only_the_codecs_decoder_goes_on(straight, tmp_path):
    """The denoisers know the encoder's latents: neither its weights nor their statistics may move. It resumes exactly, too."""
    before = TextToVideoPipeline.from_pretrained(straight[0]).state_dict()
    config = replace(MICRO, share=(1.0, 0.0, 0.0))
    out = train(config, tmp_path / "straight", steps=6, seed=1, weights=straight[0])
    after = TextToVideoPipeline.from_pretrained(out).state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("visual_encoder.codec.decoder.")}
    with pytest.raises(Interrupted):
        train(config, tmp_path / "resumed", steps=6, seed=1, weights=straight[0], progress=stop_at("codec", 3))
    again = train(config, tmp_path / "resumed", steps=6, seed=1, weights=straight[0], resume=True)
    for name, value in TextToVideoPipeline.from_pretrained(again).state_dict().items():
        assert torch.equal(value, after[name]), name


def test_the_video_generator_starts_from_the_key_frames_denoiser(tmp_path):
    """With learning rates of zero it is still there at the end."""
    config = replace(MICRO, share=(0.0, 0.5, 0.5), muon_lr=(0.0,) * 3, adamw_lr=(0.0,) * 3)
    pipe = TextToVideoPipeline.from_pretrained(train(config, tmp_path, steps=2))
    ours, theirs = pipe.video_generator.denoiser.state_dict(), pipe.visual_encoder.denoiser.state_dict()
    assert ours["position"].std() > 0.1 and all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_weights_that_make_other_clips_are_refused(straight, tmp_path):
    config = replace(MICRO, pipeline=replace(SMALL, num_frames=8))
    with pytest.raises(UserError, match=r"another model \(num_frames\): choose the preset"):
        train(config, tmp_path, steps=4, weights=straight[0])


def test_progress_tells_each_step_of_each_stage(straight):
    out, events = straight
    steps = [(stage, i) for stage, n in zip(STAGES, (20, 3, 2)) for i in range(1, n + 1)]
    assert [(event.stage, event.step) for event in events] == steps
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions) and fractions[0] == pytest.approx(0.04) and fractions[-1] == pytest.approx(1)
    assert all(event.loss > 0 and event.clips_per_second > 0 and event.seconds_left >= 0 for event in events)
    assert events[-1].seconds_left == pytest.approx(0)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in log] == [("codec", 20)]
    assert log[0]["loss"] == events[19].loss


def parts_that_differ(before, after):
    return {
        part
        for part in ("text_encoder", "visual_encoder.codec", "visual_encoder.denoiser", "video_generator.denoiser")
        if any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part))
    }


def test_every_stage_trains_its_part_and_leaves_the_others(straight, tmp_path):
    """From the first weights, by way of those at the first step of the later stages, to the last ones."""
    torch.manual_seed(0)
    states = [TextToVideoPipeline(**vars(SMALL)).state_dict()]
    for stage in STAGES[1:]:
        with pytest.raises(Interrupted):
            train(MICRO, tmp_path, steps=STEPS, resume=stage == "video", progress=stop_at(stage, 1))
        checkpoint = load_file(tmp_path / "checkpoint.safetensors")
        states.append({name: checkpoint[f"pipe.{name}"] for name in states[0]})
    states = [{name: value.half().float() for name, value in state.items()} for state in states]
    states.append(TextToVideoPipeline.from_pretrained(straight[0]).state_dict())
    # A checkpoint at step 1 of a stage holds that step's change too.
    visual, video = {"text_encoder", "visual_encoder.denoiser"}, {"video_generator.denoiser"}
    assert [parts_that_differ(*pair) for pair in zip(states, states[1:])] == [
        {"visual_encoder.codec"} | visual,
        visual | video,
        video,
    ]


def test_the_clock_can_decide_instead(tmp_path):
    events = []
    train(MICRO, tmp_path, minutes=0.01, progress=events.append)
    assert list(dict.fromkeys(event.stage for event in events)) == list(STAGES)
    assert events[-1].fraction == pytest.approx(1)
    assert TextToVideoPipeline.from_pretrained(tmp_path).info["minutes"] == 0.01


def test_a_run_with_a_bad_batch_goes_on(tmp_path, poison):
    poison(TASKS["codec"], at=4)
    events = []
    train(MICRO, tmp_path, steps=STEPS, progress=events.append)
    assert [e.skipped for e in events] == [0] * 4 + [1] * 16 + [0] * 5
    assert all(math.isfinite(e.loss) for e in events)
    weights = TextToVideoPipeline.from_pretrained(tmp_path).state_dict()
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_losses_that_stay_bad_end_the_run(tmp_path):
    wild = replace(MICRO, adamw_lr=(1e30,) * 3)
    with pytest.raises(UserError, match="the loss has not been a number for 20 steps: start again with another seed"):
        train(wild, tmp_path, steps=200)
    assert not (tmp_path / "model.safetensors").exists()


# ------------------------------------------------------------------ stopping and going on


def test_a_run_stopped_in_every_stage_ends_with_the_same_bits(straight, tmp_path):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    events, stops = [], (("codec", 7, signal.SIGINT), ("key frames", 3, signal.SIGTERM), ("video", 1, signal.SIGINT))
    for i, stop in enumerate(stops):
        with pytest.raises(Interrupted, match="stopped; .*checkpoint.safetensors is written.* with --resume") as caught:
            train(MICRO, tmp_path / "stopped", steps=STEPS, resume=i > 0, progress=stop_at(*stop, events))
        assert isinstance(caught.value, KeyboardInterrupt)
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    # In full precision, with both averages and the state of both optimisers, against a run stopped there only.
    with pytest.raises(Interrupted):
        train(MICRO, tmp_path / "once", steps=STEPS, progress=stop_at("video", 1))
    first, second = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("stopped", "once"))
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    for kind in ("pipe.", "task.", "ema.", "optimiser.0.", "optimiser.1."):
        assert any(name.startswith(kind) for name in first), kind

    train(MICRO, tmp_path / "stopped", steps=STEPS, resume=True, progress=events.append)
    assert [(event.stage, event.step) for event in events] == [(event.stage, event.step) for event in straight[1]]
    weights = [(folder / "model.safetensors").read_bytes() for folder in (straight[0], tmp_path / "stopped")]
    assert weights[0] == weights[1]
    assert not list((tmp_path / "stopped").glob("checkpoint*"))
    assert [p.name for p in sorted((tmp_path / "stopped" / "samples").iterdir())] == [
        p.name for p in sorted((straight[0] / "samples").iterdir())
    ]


def test_the_loss_that_is_shown_goes_on_too(straight, tmp_path):
    with pytest.raises(Interrupted):
        train(MICRO, tmp_path, steps=STEPS, progress=stop_at("codec", 10))
    events = []
    with pytest.raises(Interrupted):
        train(MICRO, tmp_path, steps=STEPS, resume=True, progress=stop_at("codec", 12, events=events))
    assert events[0].step == 11 and events[0].loss == straight[1][10].loss


def test_a_run_that_was_killed_goes_on_from_the_end_of_its_last_stage(straight, tmp_path):
    class Killed(Exception):
        pass

    def die(event):
        if event.stage == "key frames" and event.step == 2:
            raise Killed

    with pytest.raises(Killed):
        train(MICRO, tmp_path, steps=STEPS, progress=die)
    events = []
    train(MICRO, tmp_path, steps=STEPS, resume=True, progress=events.append)
    assert (events[0].stage, events[0].step) == ("key frames", 1)
    assert (tmp_path / "model.safetensors").read_bytes() == (straight[0] / "model.safetensors").read_bytes()


def test_checkpoints_are_also_written_by_the_clock(tmp_path):
    seen = []
    path = tmp_path / "checkpoint.safetensors"

    def progress(event):
        seen.append(path.exists())
        stop_at("codec", 3)(event)

    with pytest.raises(Interrupted):
        train(MICRO, tmp_path, steps=STEPS, progress=progress, checkpoint_minutes=0)
    assert seen == [False, True, True]


@pytest.mark.parametrize(("cost", "sheets"), [(0.0, 7), (1 / 256, 7), (1 / 64, 3), (1 / 4, 1)])
def test_sample_sheets_take_a_twentieth_of_a_run_by_the_clock(cost, sheets):
    now, due, begun = 0.0, 1 / 8, []
    while (now := now + 1 / 64) < 1:  # a step
        if now >= due:
            begun.append(now)
            due = sheet_after(due, now, 1 / 8, cost)
            now += cost
    assert len(begun) == sheets and (len(begun) - 1) * cost <= 0.05


def test_a_resumed_run_has_the_samples_and_the_log_of_one_that_was_not_stopped(tmp_path):
    config = replace(MICRO, sheet_every=0.4)
    once, often = train(config, tmp_path / "once", steps=STEPS), tmp_path / "often"
    for i, stop in enumerate((("codec", 10), ("codec", 19), ("key frames", 2))):
        with pytest.raises(Interrupted):
            train(config, often, steps=STEPS, resume=i > 0, progress=stop_at(*stop))
    with (often / "log.jsonl").open("a") as log:
        log.write('{"stage": "key frames", "st')  # killed while it wrote
    train(config, often, steps=STEPS, resume=True)
    sheets = [{path.name: path.read_bytes() for path in (out / "samples").iterdir()} for out in (once, often)]
    assert sheets[0] == sheets[1] and len(sheets[0]) == 7
    logs = [[json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()] for out in (once, often)]
    keep = ("stage", "step", "loss", "fraction", "skipped")
    assert [[row[k] for k in keep] for row in logs[0]] == [[row[k] for k in keep] for row in logs[1]]


def test_a_clock_that_is_set_does_not_matter(tmp_path, monkeypatch):
    """The wall clock jumps by years to and fro; a run by minutes goes by the monotonic one."""
    jumps = itertools.cycle((-1e9, 1e9))
    real, begun = time.time, time.monotonic()
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    events = []
    train(MICRO, tmp_path, minutes=0.02, progress=events.append)
    assert 1.2 <= time.monotonic() - begun < 60
    assert all(event.seconds_left >= 0 and event.clips_per_second > 0 for event in events)


def test_a_folder_is_held_while_a_run_is_in_it(tmp_path):
    refused = []

    def progress(event):
        if event.step == 1 and event.stage == "codec":
            with pytest.raises(UserError, match="another run is training in .*: wait for its end") as caught:
                train(MICRO, tmp_path, steps=STEPS)
            refused.append(caught)

    train(MICRO, tmp_path, steps=STEPS, progress=progress)
    assert len(refused) == 1 and not (tmp_path / ".lock").exists()


# ------------------------------------------------------------------ videos of one's own


@pytest.fixture(scope="module")
def from_videos(own_videos, tmp_path_factory):
    """An uninterrupted run on five videos: its folder, and what it reported."""
    events, out = [], tmp_path_factory.mktemp("from-videos")
    with pytest.warns(UserWarning, match=r"^2 skipped: no caption \(1\), damaged, .*; the list is in .*skipped.txt$"):
        train(MICRO, out, steps=STEPS, data=own_videos, progress=events.append)
    return out, events


def test_a_run_on_videos_knows_the_words_of_their_captions(from_videos, own_videos):
    out, events = from_videos
    assert sorted(p.name for p in out.iterdir()) == [
        "config.json",
        "log.jsonl",
        "model.safetensors",
        "samples",
        "skipped.txt",
    ]
    pipe = TextToVideoPipeline.from_pretrained(out)
    assert pipe.config.words == sorted(
        set("a red square blue goes right two words grey".split()) | set("一个绿色的方块")
    )
    assert pipe.info["clips"] == 5 and pipe.info["example"] == "A red square!"
    assert not pipe.unknown_words("一个绿色的方块, a GREY square") and pipe.unknown_words("puppy")
    assert pipe(["a red square", "方块"], num_inference_steps=1).frames.shape == (2, 16, 16, 16, 3)
    stages = [event.stage for event in events]
    assert list(dict.fromkeys(stages)) == ["reading videos", "codec", "encoding clips", "key frames", "video"]
    assert all(math.isfinite(event.loss) for event in events if event.stage in STAGES)


def test_videos_of_which_nothing_is_asked_begin_with_single_frames(from_videos, own_videos, tmp_path):
    def weights(out):
        return load_file(out / "model.safetensors")

    usual, found = TrainConfig.images, weights(from_videos[0])
    with pytest.warns(UserWarning, match="skipped"):
        same, longer = (
            weights(train(replace(MICRO, images=images), tmp_path / str(images), steps=STEPS, data=own_videos))
            for images in (usual, 1.0)
        )
    assert MICRO.images < usual and all(torch.equal(found[name], same[name]) for name in found)
    assert any(not torch.equal(found[name], longer[name]) for name in found)


def test_a_run_on_videos_stopped_in_every_stage_ends_with_the_same_bits(from_videos, own_videos, tmp_path):
    """It does not read the videos again: they may be gone."""
    data = tmp_path / "videos"
    shutil.copytree(own_videos, data)
    events, out = [], tmp_path / "run"
    for i, stop in enumerate((("codec", 7), ("encoding clips", 5), ("key frames", 2), ("video", 1))):
        with pytest.raises(Interrupted, match="checkpoint.safetensors is written"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            train(MICRO, out, steps=STEPS, resume=i > 0, data=data, progress=stop_at(*stop, events=events))
        if data.exists():
            shutil.rmtree(data)
    train(MICRO, out, steps=STEPS, resume=True, data=data, progress=events.append)
    steps = [[(event.stage, event.step) for event in run if event.stage in STAGES] for run in (events, from_videos[1])]
    assert steps[0] == steps[1]
    assert (out / "model.safetensors").read_bytes() == (from_videos[0] / "model.safetensors").read_bytes()
    assert not (out / FOLDER).exists()


def test_given_weights_can_learn_from_videos(straight, own_videos, tmp_path):
    before = TextToVideoPipeline.from_pretrained(straight[0])
    config = replace(MICRO, muon_lr=(0.0,) * 3, adamw_lr=(0.0,) * 3)
    with pytest.warns(UserWarning, match="2 skipped"):
        train(config, tmp_path, steps=STEPS, data=own_videos, weights=straight[0])
    pipe = TextToVideoPipeline.from_pretrained(tmp_path)
    old = len(before.config.words)
    assert pipe.config.words[:old] == before.config.words and {"grey", "绿"} & set(pipe.config.words[old:])
    rows = "text_encoder.embedding.weight"
    for name, value in before.state_dict().items():
        after = pipe.state_dict()[name]
        assert torch.equal(after[: len(value)] if name == rows else after, value), name


def test_where_reading_videos_was_stopped_there_is_nothing_to_go_on_from(own_videos, tmp_path):
    with pytest.raises(UserError, match="to resume from: leave --resume out"):
        train(MICRO, tmp_path, steps=STEPS, data=own_videos, resume=True)


def test_a_run_on_videos_cannot_go_on_without_its_clips_or_on_others(own_videos, tmp_path):
    with pytest.warns(UserWarning), pytest.raises(Interrupted):
        train(MICRO, tmp_path, steps=STEPS, data=own_videos, progress=stop_at("codec", 1))
    with pytest.raises(UserError, match="is of another run"):
        train(MICRO, tmp_path, steps=STEPS, data=tmp_path / "others", resume=True)
    shutil.rmtree(tmp_path / FOLDER)
    with pytest.raises(UserError, match="the clips in .* are missing: choose another folder"):
        train(MICRO, tmp_path, steps=STEPS, data=own_videos, resume=True)


# ------------------------------------------------------------------ mistakes


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A folder with a checkpoint."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Interrupted):
        train(MICRO, folder, steps=STEPS, progress=stop_at("codec", 1))
    return folder


def test_a_checkpoint_is_one_file_of_plain_tensors(stopped):
    assert sorted(path.name for path in stopped.iterdir()) == ["checkpoint.safetensors", "log.jsonl"]
    content = (stopped / "checkpoint.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert {"recipe", "position", "sha256"} == set(header.pop("__metadata__"))
    assert len(content) == 8 + int.from_bytes(content[:8], "little") + max(
        t["data_offsets"][1] for t in header.values()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either minutes or steps"),
        ({"minutes": 1, "steps": 1}, "give either minutes or steps"),
        ({"steps": 0}, "needs a positive number of minutes or steps"),
        ({"steps": -1}, "needs a positive number"),
        ({"minutes": float("nan")}, "needs a positive number"),
        ({"steps": 1, "accumulate": 0}, "a batch cannot be taken in 0 parts: choose 1 or more"),
        ({"steps": 1, "tracker": "diary"}, "there is no tracker 'diary': choose from aim, tensorboard, wandb"),
        ({"steps": 1, "resume": True}, "there is no .*checkpoint.safetensors to resume from: leave --resume out"),
    ],
)
def test_a_run_that_cannot_be_is_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        train(MICRO, tmp_path / "run", **options)
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (MICRO, {"steps": STEPS + 1}),
        (MICRO, {"minutes": 1}),
        (MICRO, {"steps": STEPS, "seed": 1}),
        (replace(MICRO, muon_lr=(1.0,) * 3), {"steps": STEPS}),
        (replace(MICRO, pipeline=replace(SMALL, dim=32)), {"steps": STEPS}),
    ],
)
def test_another_runs_checkpoint_is_refused(stopped, config, options):
    with pytest.raises(
        UserError, match="is of another run .preset, length, seed, weights or data differ.: repeat its settings"
    ):
        train(config, stopped, resume=True, **options)


def test_an_unfinished_run_is_not_thrown_away_by_mistake(stopped):
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}
    with pytest.raises(UserError, match="holds an unfinished run: go on with --resume, or choose another folder"):
        train(MICRO, stopped, steps=STEPS)
    assert {path.name: path.read_bytes() for path in stopped.iterdir()} == before


def test_a_new_run_in_the_folder_of_one_that_has_ended_begins_a_new_log(tmp_path):
    logs = []
    for _ in range(2):
        train(MICRO, tmp_path, steps=STEPS)
        logs.append([json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()])
    assert logs[0] == logs[1] == [20]


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(straight, tmp_path):
    with pytest.raises(Interrupted):
        train(MICRO, tmp_path, steps=STEPS, progress=stop_at("key frames", 2))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    events = []
    with pytest.warns(
        UserWarning, match="checkpoint.safetensors is damaged .*: going on from the checkpoint before it"
    ):
        train(MICRO, tmp_path, steps=STEPS, resume=True, progress=events.append)
    assert (events[0].stage, events[0].step) == ("key frames", 1)  # the codec's end is the one before
    assert (tmp_path / "model.safetensors").read_bytes() == (straight[0] / "model.safetensors").read_bytes()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write to .*file; choose another folder|cannot write to .*file: "):
        train(MICRO, tmp_path / "file", steps=1)


def test_a_full_disk_leaves_no_half_checkpoint(tmp_path):
    limit, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
        with pytest.raises(UserError, match="cannot write the checkpoint in .*; free some space"):
            train(MICRO, tmp_path, steps=STEPS, progress=stop_at("codec", 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
