"""A configuration refuses what no network has, and knows how many weights its networks need at least."""

import pytest

from t2vlearn.config import LARGEST, PipelineConfig
from t2vlearn.pipeline import TextToVideoPipeline

NARROW = {"dim": 16, "num_heads": 2, "depth": 1, "width": 8, "codec_width": 16}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"size": 64, "down": 8, "latent_channels": 16, "codec_width": 128},
        {"convs": 0},
        {"depth": 0, "text_depth": 0},
        NARROW | {"dim": 256},
        NARROW | {"depth": 60},
        NARROW | {"text_depth": 60},
        NARROW | {"width": 256},
        NARROW | {"convs": 60},
        NARROW | {"codec_width": 256},
        NARROW | {"latent_channels": 512},
        NARROW | {"size": 512},
    ],
    ids=str,
)
def test_the_least_number_of_weights_is_below_the_true_one_and_near_it(changes):
    """Near it: so a file whose size is known bounds the memory that its config can ask for."""
    pipe = TextToVideoPipeline(**changes)
    held = sum(tensor.numel() for tensor in pipe.state_dict().values())
    assert held / 4 < pipe.config.least_weights() <= held


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dim": 10**9}, f"dim is 1000000000: use a whole number from 1 to {LARGEST}"),
        ({"down": 0}, "down is 0: use a whole number from 1"),
        ({"depth": -1}, "depth is -1: use a whole number from 0"),
        ({"dim": True}, "dim is True, and has to be int"),
        ({"dim": 1.5}, "dim is 1.5, and has to be int"),
        ({"shift": "1"}, "shift is '1', and has to be float"),
        ({"shift": float("inf")}, "shift is inf: use a finite number"),
        ({"words": "abc"}, "words is 'abc'"),
        ({"words": [1]}, "words are texts"),
        ({"width": 28}, "width 28 is not a multiple"),
        ({"width": 72, "num_heads": 16}, "width 72 is not a multiple"),
    ],
)
def test_fields_of_another_kind_or_out_of_range_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        PipelineConfig(**changes)
