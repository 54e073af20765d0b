"""Checkpoints: whole or refused, and the one before stands in."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from t2vlearn import checkpoint
from t2vlearn.errors import UserError
from t2vlearn.storage import WORKSHOP

POSITION = {"stage": 1, "step": 7, "seconds": 1.5}
GENERATOR = torch.Generator().manual_seed(0)
TENSORS = {"a": torch.randn(3, 4, generator=GENERATOR), "b.c": torch.tensor(3), "empty": torch.zeros(0, 2)}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a checkpoint."""
    return checkpoint.write(tmp_path_factory.mktemp("good"), TENSORS, "recipe", POSITION).read_bytes()


def same(tensors, others):
    return tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_what_is_written_is_read(tmp_path):
    checkpoint.write(tmp_path, TENSORS, "recipe", POSITION)
    tensors, position = checkpoint.read(tmp_path, "recipe")
    assert same(tensors, TENSORS) and position == POSITION
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.LATEST]


def test_tensors_that_share_memory_are_whole_each(tmp_path):
    whole = torch.arange(6.0)
    checkpoint.write(tmp_path, {"whole": whole, "part": whole[2:4], "turned": whole.view(2, 3).T}, "recipe", POSITION)
    tensors, _ = checkpoint.read(tmp_path, "recipe")
    assert same(tensors, {"whole": whole, "part": whole[2:4], "turned": whole.view(2, 3).T})


def test_the_last_two_are_kept_and_the_newer_is_read(tmp_path):
    for step in range(3):
        checkpoint.write(tmp_path, {"step": torch.tensor(step)}, "recipe", {"step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([checkpoint.LATEST, checkpoint.PREVIOUS])
    assert checkpoint.read(tmp_path, "recipe")[1] == {"step": 2}
    (tmp_path / checkpoint.LATEST).unlink()  # killed between the two renamings
    assert checkpoint.exists(tmp_path) and checkpoint.read(tmp_path, "recipe")[1] == {"step": 1}
    (tmp_path / WORKSHOP).mkdir()
    (tmp_path / WORKSHOP / ".tmp123").write_bytes(b"killed while it was being written")
    checkpoint.remove(tmp_path)
    assert not checkpoint.exists(tmp_path) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("tenth", range(10))
def test_a_cut_file_gives_way_to_the_one_before_it(content, tmp_path, tenth):
    checkpoint.write(tmp_path, TENSORS, "recipe", POSITION)
    checkpoint.write(tmp_path, TENSORS, "recipe", POSITION | {"step": 8})
    (tmp_path / checkpoint.LATEST).write_bytes(content[: len(content) * tenth // 10])
    with pytest.warns(
        UserWarning, match="checkpoint.safetensors is damaged .*: going on from the checkpoint before it"
    ):
        tensors, position = checkpoint.read(tmp_path, "recipe")
    assert same(tensors, TENSORS) and position == POSITION


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_flipped_bit_anywhere_is_seen(content, tmp_path_factory, data):
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    broken = bytearray(content)
    broken[bit // 8] ^= 1 << bit % 8
    folder = tmp_path_factory.mktemp("flipped")
    (folder / checkpoint.LATEST).write_bytes(broken)
    with pytest.raises(UserError, match="is damaged .*: choose another folder with --out to start") as caught:
        checkpoint.read(folder, "recipe")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"no tensors here", b"\x80\x04N."])
def test_what_is_no_checkpoint_is_refused(tmp_path, text):
    (tmp_path / checkpoint.LATEST).write_bytes(text)
    with pytest.raises(UserError, match="is damaged .*: choose another folder with --out to start"):
        checkpoint.read(tmp_path, "recipe")
    save_file({"x": torch.zeros(1)}, tmp_path / checkpoint.LATEST)
    with pytest.raises(UserError, match="is damaged .its checksum differs.: choose another folder"):
        checkpoint.read(tmp_path, "recipe")


def test_another_runs_checkpoint_and_none_at_all_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no .*checkpoint.safetensors to resume from: leave --resume out"):
        checkpoint.read(tmp_path, "recipe")
    checkpoint.write(tmp_path, TENSORS, "recipe", POSITION)
    with pytest.raises(UserError, match="is of another run .preset, .* or data differ.: repeat its settings"):
        checkpoint.read(tmp_path, "another")
