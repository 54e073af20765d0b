"""Weights folders: what is saved comes back, every kind of damage gets one line, and no pickle is ever read."""

import json
import os
import pickle
import re
import resource
import shutil
import signal

import pytest
import torch
from safetensors import safe_open
from torch import nn

from t2vlearn.errors import UserError
from t2vlearn.pipeline import TextToVideoPipeline
from t2vlearn.storage import CONFIG_FILE, FORMAT, WEIGHTS_FILE, load_folder, load_weights, save_folder


def net(width=8):
    torch.manual_seed(width)
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width))


@pytest.fixture
def folder(tmp_path):
    save_folder(tmp_path / "weights", net().state_dict(), {"width": 8, "words": ["puppy", "狗"]})
    return tmp_path / "weights"


@pytest.fixture(scope="module")
def pipeline_folder(tiny_pipeline, tmp_path_factory):
    return tiny_pipeline.save_pretrained(tmp_path_factory.mktemp("pipeline"))


def assert_refused(folder, *words):
    with pytest.raises(UserError) as caught:
        load_folder(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def edit_config(folder, **changes):
    path = folder / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


# ------------------------------------------------------------------ there and back


def test_what_is_saved_comes_back_in_half_precision(folder):
    config, weights = load_folder(folder)
    assert config == {"width": 8, "words": ["puppy", "狗"]}
    for name, value in net().state_dict().items():
        if value.is_floating_point():
            assert weights[name].dtype == torch.float32 and torch.equal(weights[name], value.half().float())
        else:
            assert torch.equal(weights[name], value)
    assert sorted(p.name for p in folder.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    with safe_open(folder / WEIGHTS_FILE, "pt") as file:
        assert file.get_tensor("0.weight").dtype == torch.float16
    other = net(8)
    nn.init.zeros_(other[0].weight)
    load_weights(other, weights, folder)
    assert torch.equal(other[0].weight, weights["0.weight"])


def test_saving_again_replaces_what_was_there(folder):
    save_folder(folder, net(16).state_dict(), {"width": 16})
    config, weights = load_folder(folder)
    assert config == {"width": 16} and weights["0.weight"].shape == (16, 4)


def test_a_pipeline_comes_back_whole(tiny_pipeline, pipeline_folder):
    loaded = TextToVideoPipeline.from_pretrained(pipeline_folder)
    state, expected = loaded.state_dict(), tiny_pipeline.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value.half().float() if value.is_floating_point() else value), name


# ------------------------------------------------------------------ damage


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert_refused(folder, name, "is missing: give a folder made by `t2vlearn train`")


def test_a_missing_folder_is_named(tmp_path):
    assert_refused(tmp_path / "nothing", "nothing", "is missing")
    with pytest.raises(UserError, match=r"no weights folder at .*nothing: give a folder made by `t2vlearn train`"):
        TextToVideoPipeline.from_pretrained(tmp_path / "nothing")


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_truncated_weights_are_refused(folder, share):
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert_refused(folder, WEIGHTS_FILE, "is damaged (its checksum differs): copy it again")


@pytest.mark.parametrize("place", [0, 20, -1])
def test_a_single_flipped_bit_is_noticed(folder, place):
    path = folder / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert_refused(folder, "is damaged")


def test_a_file_of_another_kind_with_the_right_checksum_is_refused(folder):
    import hashlib

    (folder / WEIGHTS_FILE).write_bytes(b"no tensors here")
    edit_config(folder, sha256=hashlib.sha256(b"no tensors here").hexdigest())
    assert_refused(folder, "is no safetensors file")


@pytest.mark.parametrize("number", [FORMAT + 1, 0, None, "1"])
def test_another_format_is_of_another_version(folder, number):
    edit_config(folder, format=number)
    assert_refused(folder, "are of another version of t2vlearn: train again, or install that version")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"format": 1'])
def test_a_config_that_is_no_json_is_refused(folder, content):
    (folder / CONFIG_FILE).write_bytes(content)
    assert_refused(folder, "cannot read", "copy the folder again")


@pytest.mark.parametrize("content", ["[]", "1", '"config"', "null", "{}"])
def test_json_that_is_no_config_is_of_another_version(folder, content):
    (folder / CONFIG_FILE).write_text(content)
    assert_refused(folder, "another version")


@pytest.mark.parametrize("change", [{"dim": 48}, {"latent_channels": 8}, {"depth": 3}, {"num_keyframes": 4, "down": 8}])
def test_weights_that_do_not_fit_their_config_are_refused(pipeline_folder, tmp_path, change):
    folder = shutil.copytree(pipeline_folder, tmp_path / "copy")
    edit_config(folder, **change)
    with pytest.raises(UserError, match="the weights in .* do not fit their config: ") as caught:
        TextToVideoPipeline.from_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(folder):
    _, weights = load_folder(folder)
    with pytest.raises(UserError, match="do not fit their config: size mismatch"):
        load_weights(net(16), weights, folder)
    with pytest.raises(UserError, match="do not fit their config"):
        load_weights(net(), {}, folder)


# ------------------------------------------------------------------ pickles and full disks


class Trap:
    """Loading its pickle makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_is_never_read(pipeline_folder, tmp_path):
    sprung = tmp_path / "sprung"
    bomb = pickle.dumps(Trap(sprung))
    folder = shutil.copytree(pipeline_folder, tmp_path / "copy")
    for name in ("pytorch_model.bin", "model.pt", "model.pkl", "checkpoint.pt"):
        (folder / name).write_bytes(bomb)
    TextToVideoPipeline.from_pretrained(folder)
    for name in (CONFIG_FILE, WEIGHTS_FILE):  # alone, and in the place of each file that is read
        original = (folder / name).read_bytes()
        (folder / name).write_bytes(bomb)
        with pytest.raises(UserError):
            TextToVideoPipeline.from_pretrained(folder)
        (folder / name).write_bytes(original)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(UserError, match="is missing"):
        TextToVideoPipeline.from_pretrained(folder)
    assert not sprung.exists()
    pickle.loads(bomb)
    assert sprung.exists()  # the trap works


def test_a_full_disk_leaves_the_old_weights_as_they_were(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    limit, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
        with pytest.raises(
            UserError, match=r"cannot write the weights in .*; free some space or choose another folder"
        ):
            save_folder(folder, net(64).state_dict(), {"width": 64})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_in_the_place_of_the_folder_is_named(tiny_pipeline, tmp_path):
    path = tmp_path / "weights"
    path.write_text("in the way")
    for target in (path, path / "inside"):
        with pytest.raises(UserError, match=re.escape(str(target)) + ".*choose another folder"):
            tiny_pipeline.save_pretrained(target)
    assert path.read_text() == "in the way"
