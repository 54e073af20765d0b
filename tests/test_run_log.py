"""What a run says of itself: the tracker's curves are those of the log."""

import json
from dataclasses import replace

import pytest
from accelerate.tracking import get_available_trackers

from t2vlearn.errors import UserError
from t2vlearn.pipeline import PipelineConfig
from t2vlearn.recipe import PRESETS
from t2vlearn.run_log import TRACKED, TRACKERS, check_tracker
from t2vlearn.training import train

SMALL = PipelineConfig(size=16, dim=16, depth=1, num_heads=2, text_depth=1, codec_width=8, latent_channels=4)
MICRO = replace(PRESETS["tiny"], pipeline=SMALL, batch=(4, 2, 2), share=(0.5, 0.5, 0.0), sheet_every=2.0)


def test_a_tracker_that_is_not_installed_is_named():
    missing = [name for name in TRACKERS if name not in map(str, get_available_trackers())]
    assert missing  # nobody has them all
    with pytest.raises(
        UserError, match=f"the tracker '{missing[0]}' is not installed: pip install {missing[0]}, or leave"
    ):
        check_tracker(missing[0])
    check_tracker(None)


def test_tensorboard_reads_what_the_log_says(tmp_path):
    pytest.importorskip("tensorboard", reason="comes with the extra `tracking`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = train(MICRO, tmp_path, steps=80, tracker="tensorboard")
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    curves = EventAccumulator(str(out / TRACKED))
    curves.Reload()
    assert len(rows) == 4
    for stage in ("codec", "key frames"):
        for name in ("loss", "clips_per_second", "skipped"):
            points = [(point.step, point.value) for point in curves.Scalars(f"{stage}/{name}")]
            assert points == [(r["step"], pytest.approx(r[name], rel=1e-6)) for r in rows if r["stage"] == stage]
