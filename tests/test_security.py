"""Files from elsewhere: no code in them is run, nothing larger than the file is made of them, and nothing is fetched."""

import hashlib
import json
import os
import pickle
import socket
import struct
import subprocess
import sys

import pytest
import torch

from t2vlearn import checkpoint, media
from t2vlearn.config import LARGEST
from t2vlearn.errors import UserError
from t2vlearn.pipeline import TextToVideoPipeline
from t2vlearn.storage import CONFIG_FILE, WEIGHTS_FILE


@pytest.fixture
def weights(smallest_pipeline, tmp_path):
    return smallest_pipeline.save_pretrained(tmp_path / "weights")


def put(folder, content=None, **changes):
    """Replace a folder's weights, with a checksum that is right, and fields of its config."""
    if content is not None:
        (folder / WEIGHTS_FILE).write_bytes(content)
        changes["sha256"] = hashlib.sha256(content).hexdigest()
    path = folder / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def load_character(path):
    pytest.importorskip("peft", reason="comes with the extra `personal`")
    from t2vlearn.adapters import load_character

    return load_character(TextToVideoPipeline(size=16, dim=16, num_heads=2, depth=1, width=8, convs=2), path)


def read_weights(content, tmp_path, weights):
    put(weights, content)
    return TextToVideoPipeline.from_pretrained(weights)


def read_other_weights(content, tmp_path, weights):
    (weights / WEIGHTS_FILE).unlink()
    (weights / "pytorch_model.bin").write_bytes(content)
    return TextToVideoPipeline.from_pretrained(weights)


def read_checkpoint(content, tmp_path, weights):
    (tmp_path / checkpoint.LATEST).write_bytes(content)
    return checkpoint.read(tmp_path, "recipe")


def read_character(content, tmp_path, weights):
    (tmp_path / "robot.safetensors").write_bytes(content)
    return load_character(tmp_path / "robot.safetensors")


READERS = [read_weights, read_other_weights, read_checkpoint, read_character]


class Trap:
    """Loading its pickle makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("form", ["pickle", "torch.save"])
def test_a_pickle_in_the_place_of_any_file_is_refused_and_not_run(tmp_path, weights, read, form):
    sprung = tmp_path / "sprung"
    bomb = pickle.dumps(Trap(sprung))
    if form == "torch.save":
        torch.save(Trap(sprung), tmp_path / "saved")
        bomb = (tmp_path / "saved").read_bytes()
    with pytest.raises(UserError) as caught:
        read(bomb, tmp_path, weights)
    assert "\n" not in str(caught.value) and not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()  # the trap works


def tensors(shape, length):
    """A safetensors file whose header names one tensor of `shape` in float32 and `length` bytes, of which 64 follow."""
    header = json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, length]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(64)


@pytest.mark.parametrize("read", [read_weights, read_checkpoint, read_character])
@pytest.mark.parametrize(
    "content",
    [
        tensors([500_000, 500_000], 10**12),  # a terabyte that is not there
        tensors([500_000, 500_000], 64),
        tensors([2**63, 2], 64),
        struct.pack("<Q", 2**62) + b"{}",  # a header that is longer than the file
    ],
    ids=["a terabyte", "shape", "overflow", "header"],
)
def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path, weights, read, content):
    with pytest.raises(UserError) as caught:
        read(content, tmp_path, weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"dim": 10**9},
        {"dim": LARGEST, "num_heads": 1},
        {"dim": LARGEST, "depth": 0, "text_depth": 0, "num_heads": 1},
        {"depth": LARGEST},
        {"text_depth": LARGEST},
        {"convs": LARGEST},
        {"width": LARGEST},
        {"codec_width": LARGEST},
        {"size": LARGEST},
        {"num_frames": 10**9},
        {"words": ["a", 2]},
        {"info": "text"},
        {"dim": float("nan")},
        {"tau_mean": float("inf")},
        {"down": 0},
        {"nonsense": 1},
    ],
    ids=str,
)
def test_a_config_that_asks_for_more_than_the_file_holds_is_refused_before_memory_is_taken(
    weights, monkeypatch, changes
):
    monkeypatch.setattr(TextToVideoPipeline, "__init__", lambda *_, **__: pytest.fail("a network was made"))
    put(weights, **changes)
    with pytest.raises(UserError, match=CONFIG_FILE) as caught:
        TextToVideoPipeline.from_pretrained(weights)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------ nothing is fetched

#: Runs code in a process of its own, in which every connection and every look-up of a name is noted and refused.
GUARDED = """
import sys
tried = []
def guard(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        tried.append(event)
        raise OSError("there is no network")
sys.addaudithook(guard)
{code}
print("tried", len(tried))
"""


def attempts(code, cwd):
    """How often the code tried to reach another machine."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment["HF_HOME"] = str(cwd / "hub")
    command = [sys.executable, "-c", GUARDED.format(code=code)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1].removeprefix("tried "))


def test_nothing_is_fetched_unless_a_hub_id_is_given(tmp_path):
    code = """
from t2vlearn import TextToVideoPipeline
from t2vlearn.evaluation import evaluate
pipe = TextToVideoPipeline.from_pretrained()
pipe("a red star", num_inference_steps=1).save("star.webm")
pipe = TextToVideoPipeline.from_pretrained(pipe.save_pretrained("own/weights"))
evaluate(pipe, "heldout", 2, 0)
"""
    assert attempts(code, tmp_path) == 0
    code = """
from t2vlearn import TextToVideoPipeline, UserError
try:
    TextToVideoPipeline.from_pretrained("somebody/something")
except UserError as error:
    assert "the Hub did not give" in str(error), error
"""
    assert attempts(code, tmp_path) > 0


@pytest.mark.parametrize("name", ["list.mp4", "list.mkv"])
@pytest.mark.parametrize("kind", ["hls", "concat"])
def test_a_video_that_is_a_list_of_addresses_fetches_nothing(tmp_path, name, kind):
    """ffmpeg goes by a file's content, and some kinds of it name other files."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/clip.mp4"
        lists = {
            "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{address}\n#EXT-X-ENDLIST\n",
            "concat": f"ffconcat version 1.0\nfile '{address}'\n",
        }
        (tmp_path / name).write_text(lists[kind])
        with pytest.raises(UserError, match="cannot read"):
            media.read(tmp_path / name)
        with pytest.raises(BlockingIOError):  # nobody has called
            listener.accept()
