"""Several processes train as one does: same losses, same weights. One that dies ends the run in a line."""

import json
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn

from t2vlearn import processes
from t2vlearn.codec import Normalise
from t2vlearn.errors import UserError
from t2vlearn.own_clips import OwnClips, prepare
from t2vlearn.pipeline import PipelineConfig, TextToVideoPipeline
from t2vlearn.recipe import PRESETS, STAGES
from t2vlearn.stages import TASKS
from t2vlearn.training import Interrupted, train

SMALL = PipelineConfig(size=16, dim=16, depth=1, num_heads=2, text_depth=1, codec_width=8, latent_channels=4)
MICRO = replace(PRESETS["tiny"], pipeline=SMALL, batch=(10, 5, 5), share=(0.4, 0.4, 0.2), images=0.35, sheet_every=2.0)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def in_processes():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        import in_processes

        yield in_processes
    del sys.modules["in_processes"]


@pytest.fixture(scope="module")
def clips(own_videos, tmp_path_factory):
    """Five clips of one's own."""
    out = tmp_path_factory.mktemp("run")
    prepare(own_videos, out, 16, 16, lambda done, fraction: None)
    return OwnClips(out, 0)


@pytest.mark.parametrize("source", ["toy world", "own videos"])
@pytest.mark.parametrize("stage", STAGES)
def test_the_parts_of_a_batch_make_the_whole(stage, source, clips):
    """Five clips for three processes: one, two and two; and the counts say how much each part is worth."""
    torch.manual_seed(0)
    pipe, own = TextToVideoPipeline(**vars(SMALL)), clips if source == "own videos" else None
    clips.encode_all(pipe.visual_encoder.codec, CPU, lambda done, fraction: None)
    whole = TASKS[stage](pipe, replace(MICRO, images=0.0), 0, own)
    batch = whole.batch(3, CPU)
    loss, parts, losses, counts = whole.eval()(*batch), [], [], []
    for number in range(3):
        whole.part = (number, 3)
        parts.append(whole.batch(3, CPU))
        losses.append(whole(*parts[-1]))
        counts.append(whole.count(parts[-1]))
    assert [len(part[0]) for part in parts] == ([2, 4, 4] if stage == "codec" else [1, 2, 2])
    if source == "own videos" and stage != "codec":  # an epoch is one batch here: no clip is in two parts
        assert len(torch.cat([part[0] for part in parts]).flatten(1).unique(dim=0)) == 5
    for i, values in enumerate(zip(*parts)):
        if isinstance(values[0], dict):
            assert all(torch.equal(torch.cat([v[name] for v in values]), right) for name, right in batch[i].items())
        elif values[0].dtype != torch.long and i != 2:  # ids and masks are padded to the longest caption of a part
            torch.testing.assert_close(torch.cat(values), batch[i], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(sum(n * x for n, x in zip(counts, losses)) / sum(counts), loss, atol=1e-6, rtol=1e-5)


def test_a_batch_that_is_too_small_for_the_processes_is_refused():
    task = TASKS["video"](TextToVideoPipeline(**vars(SMALL)), MICRO, 0)
    task.part = (0, 6)
    with pytest.raises(
        UserError, match="a batch of the stage 'video' has 5 clips for 6 processes or parts: use at most 5"
    ):
        task.batch(0, CPU)


def test_the_codecs_normalisation_is_batch_normalisation(tmp_path):
    """In a group of one: values, gradients and running statistics are those of nn.BatchNorm2d."""
    x = torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 7
    results = []
    for kind in (Normalise, nn.BatchNorm2d):
        if kind is Normalise:
            dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
        layer, given = kind(4, affine=False, momentum=0.01), x.clone().requires_grad_(True)
        y = layer(given)
        (y.sin() * torch.arange(5.0)).sum().backward()
        results.append([y, given.grad, *layer.buffers()])
        if kind is Normalise:
            dist.destroy_process_group()
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


STOP = ("video", 1)  # of 2, after 4 of the codec and 4 of the key frames, or 8 of these
#: Without the codec's stage: latents that are kept as float16 turn its differences by rounding into larger ones.
SETTINGS = {"toy world": MICRO, "own videos": replace(MICRO, share=(0.0, 0.8, 0.2))}


@pytest.fixture(scope="module")
def alone(request, in_processes, own_videos, tmp_path_factory):
    """Recipe, videos, and the folder of a run of one process, stopped near its end."""
    folder, config = tmp_path_factory.mktemp("alone"), SETTINGS[request.param]
    data = own_videos if request.param == "own videos" else None
    with pytest.raises(Interrupted), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        in_processes.train_until(config, folder / "one", 10, STOP, 1, data)
    return config, data, folder


@pytest.mark.filterwarnings("ignore:2 skipped")
@pytest.mark.parametrize(
    ("alone", "number", "accumulate"),
    [("toy world", 2, 1), ("toy world", 4, 1), ("toy world", 2, 2), ("own videos", 2, 1)],
    indirect=["alone"],
)
def test_several_processes_train_as_one_does_and_one_goes_on(in_processes, alone, tmp_path, number, accumulate, capfd):
    config, data, folder = alone
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with pytest.raises(Interrupted, match="checkpoint.safetensors is written"):
        processes.run(in_processes.train_until, number, config, tmp_path / "two", 10, STOP, accumulate, data)
    assert "find_unused_parameters" not in capfd.readouterr().err  # torch's, of layers without gradients
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert [row[:2] for row in one] == [row[:2] for row in two] and len(one) == 9
    assert [row[2] for row in one] == pytest.approx([row[2] for row in two], rel=1e-5, abs=1e-5)
    one, two = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        if name.startswith(("pipe.", "task.", "ema.")):
            torch.testing.assert_close(two[name], one[name], atol=1e-5, rtol=1e-5, msg=name)
    ends = []
    for name in ("one", "two"):
        out = train(config, tmp_path / name, steps=10, resume=True, data=data)
        ends.append(TextToVideoPipeline.from_pretrained(out).state_dict())
    for name in ends[0]:  # saved as float16
        torch.testing.assert_close(ends[0][name], ends[1][name], atol=1e-3, rtol=1e-3, msg=name)


def test_a_process_that_dies_ends_the_run_in_a_line(in_processes, tmp_path):
    with pytest.raises(processes.Died, match=r"^process 2 of 2 died \(SIGKILL\)$"):
        processes.run(in_processes.lose_one, 2, MICRO, tmp_path)
    assert (tmp_path / "checkpoint.safetensors").exists()


def test_a_mistake_is_reported_once(tmp_path):
    with pytest.raises(UserError, match="to resume from: leave --resume out"):
        processes.run(train, 2, MICRO, tmp_path, None, 5, True)


def test_what_one_says_counts_more_than_how_the_others_miss_it(in_processes):
    with pytest.raises(UserError, match="^no videos$"):
        processes.run(in_processes.fail_after_the_other, 2)


def test_a_long_report_arrives_whole(in_processes):
    with pytest.raises(UserError, match="^(word ){40000}$"):
        processes.run(in_processes.fail_at_length, 2)


@pytest.mark.parametrize("number", [0, -1, 2000])
def test_impossible_numbers_of_processes_are_refused(number):
    with pytest.raises(UserError, match="processes cannot work here: choose from 1 to"):
        processes.run(print, number)
