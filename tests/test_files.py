"""Where a file can be made is known early, and a file is there as a whole or not at all."""

import os

import pytest

from t2vlearn.errors import UserError
from t2vlearn.files import check_output, whole_file


def test_places_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder.mp4").mkdir()
    for path in (tmp_path / "file" / "a.mp4", tmp_path / "folder.mp4", tmp_path / ("x" * 300 + ".mp4")):
        with pytest.raises(UserError, match="choose another file or folder") as caught:
            check_output(path)
        assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.mp4"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="choose another file or folder"):
        check_output(tmp_path / "new" / "clip.mp4")


def test_check_output_makes_nothing(tmp_path):
    check_output(tmp_path / "new" / "clip.mp4")
    assert not os.listdir(tmp_path)


def test_a_file_that_could_not_be_finished_leaves_the_old_one(tmp_path):
    (tmp_path / "old.txt").write_text("old")
    with pytest.raises(RuntimeError), whole_file(tmp_path / "old.txt") as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["old.txt"] and (tmp_path / "old.txt").read_text() == "old"
    with whole_file(tmp_path / "made" / "new.txt") as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path / "made") == ["new.txt"]
