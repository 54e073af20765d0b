"""Folders of captioned videos: three layouts, and nothing outside the folder is read or written."""

import io
import json
import os
import shutil
import tarfile
import threading

import pytest

from t2vlearn import folder as folder_module
from t2vlearn.errors import UserError
from t2vlearn.folder import Skipped, Video, find_videos, total_bytes

OUT = "a link out of the folder, or no ordinary file"


@pytest.fixture
def place(tmp_path):
    """An empty folder, beside which stands a captioned video that must not be seen."""
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def fill(place, *names, content=b"video"):
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)


def seen(place):
    """({name: caption} of the videos, {name: reason} of what is skipped); no content is the secret one."""
    found = list(find_videos(place))
    videos = {video.name: video.caption for video in found if isinstance(video, Video)}
    for video in found:
        if isinstance(video, Video):
            with video.open() as file:
                assert file.read() == b"video", video.name
    skipped = {item.name: item.reason for item in found if isinstance(item, Skipped)}
    assert len(videos) + len(skipped) == len(found)
    return videos, skipped


# ------------------------------------------------------------------ layouts


def test_pairs_of_one_name(place):
    fill(place, "b.mp4", "a.MOV", "deep/er/c.webm", "alone.mp4", "notes.md")
    for name, caption in (("a", "first\n"), ("b", "一只小狗"), ("deep/er/c", "third"), ("notes", "no video")):
        (place / f"{name}.txt").write_text(caption, encoding="utf-8")
    videos, skipped = seen(place)
    assert videos == {"a.MOV": "first\n", "b.mp4": "一只小狗", "deep/er/c.webm": "third"}
    assert list(videos) == sorted(videos) and skipped == {"alone.mp4": "no caption"}
    assert total_bytes(place) == 4 * len(b"video")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_the_videofolder_layout(place, kind):
    fill(place, "a.mp4", "sub/b.mp4", "more/c.mp4", "more/d.mp4", "unlisted.mp4")
    rows = [("a.mp4", "a puppy, and more"), ("sub/b.mp4", "“小猫”"), ("gone.mp4", "gone"), ("a.mp4", "again")]
    if kind == "csv":
        lines = ["other,file_name,text", *(f'1,{name},"{text}"' for name, text in rows), "1,sub/b.mp4", "1,,x"]
    else:
        lines = [json.dumps({"file_name": name, "text": text}, ensure_ascii=False) for name, text in rows]
        lines += ['{"file_name": "sub/b.mp4"}', '{"text": "x"}', "not json", "[1]"]
    # With the mark that some programs put first.
    (place / f"metadata.{kind}").write_text("\n".join(lines), encoding="utf-8-sig")
    (place / "more" / "metadata.csv").write_text("file_name,text\nc.mp4,below\n")
    videos, skipped = seen(place)
    assert videos == {"a.mp4": "a puppy, and more", "sub/b.mp4": "“小猫”", "more/c.mp4": "below"}
    name = f"metadata.{kind}"
    nameless = {f"{name}, row 6": "names no file"}
    if kind == "jsonl":
        nameless |= {f"{name}, row {i}": "names no file" for i in (7, 8)}
    assert skipped.pop("sub/b.mp4") == "no caption"
    assert skipped == nameless | {
        "gone.mp4": f"named in {name}, but not there",
        "a.mp4": "named twice in the manifests",
        "more/d.mp4": "no caption",
        "unlisted.mp4": "no caption",
    }


@pytest.mark.parametrize("lines", ["name,text\na.mp4,x\n", "file_name\na.mp4\n", "a.mp4;x\n" * 2])
def test_a_manifest_without_its_columns_is_refused(place, lines):
    (place / "metadata.csv").write_text(lines)
    with pytest.raises(UserError, match="metadata.csv needs the columns file_name and text"):
        list(find_videos(place))


def test_a_manifest_in_another_encoding_is_refused(place):
    (place / "metadata.csv").write_bytes("file_name,text\na.mp4,小狗\n".encode("gbk"))
    with pytest.raises(UserError, match="cannot read .*metadata.csv .*: save it as UTF-8"):
        list(find_videos(place))


def test_a_caption_in_another_encoding_is_skipped(place):
    fill(place, "a.mp4")
    (place / "a.txt").write_bytes("小狗".encode("gbk"))
    assert seen(place) == ({}, {"a.mp4": "its caption is not in UTF-8"})


def test_a_caption_that_is_a_book_is_skipped(place):
    fill(place, "a.mp4")
    (place / "a.txt").write_text("x" * 10_001)
    assert seen(place) == ({}, {"a.mp4": "its caption is too large"})


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no folder .*gone: --data takes a folder of videos with captions"):
        list(find_videos(tmp_path / "gone"))


def shard(path, *members):
    """A tar of (name, content) or TarInfo."""
    with tarfile.open(path, "w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))


def test_of_two_members_of_one_name_the_first_is_skipped_and_what_macos_adds_is_not_named(place):
    shard(
        place / "0.tar",
        *(
            ("._a.mp4", b"x"),
            ("walk.1.mp4", b"video"),
            ("walk.1.txt", b"one"),
            ("walk.2.mp4", b"video"),
            ("walk.2.txt", b"two"),
        ),
    )
    videos, skipped = seen(place)
    assert videos == {"0.tar/walk.2.mp4": "two"}
    assert skipped == dict.fromkeys(
        ("0.tar/walk.1.mp4", "0.tar/walk.1.txt"), "another one has the same name up to its first dot"
    )


def test_shards_are_read_member_by_member_and_unpacked_nowhere(place, monkeypatch):
    shard(
        place / "0.tar",
        *(("deep/a.mp4", b"video"), ("deep/a.txt", b"first"), ("deep/a.json", b"{}"), ("b.txt", "二".encode())),
        *(("b.mp4", b"video"), ("c.mp4", b"video"), ("d.txt", b"no video"), ("./e.720p.webm", b"video"), ("./e.txt", b"e")),
    )  # fmt: skip
    shard(place / "1.tar", ("a.mp4", b"video"), ("a.txt", b"another a"))
    monkeypatch.setattr(tarfile.TarFile, "extract", None)
    monkeypatch.setattr(tarfile.TarFile, "extractall", None)
    videos, skipped = seen(place)
    assert videos == {
        "0.tar/deep/a.mp4": "first",
        "0.tar/b.mp4": "二",
        "0.tar/./e.720p.webm": "e",
        "1.tar/a.mp4": "another a",
    }
    assert skipped == {"0.tar/c.mp4": "no caption"}
    assert sorted(p.name for p in place.iterdir()) == ["0.tar", "1.tar"]
    first = next(find_videos(place))  # before the rest is read
    assert first.name == "0.tar/deep/a.mp4" and first.size == 5


def test_a_damaged_shard_gives_what_comes_before_the_damage(place):
    shard(place / "a.tar", ("a.mp4", b"video"), ("a.txt", b"a"), ("b.mp4", bytes(20_000)), ("b.txt", b"b"))
    whole = (place / "a.tar").read_bytes()
    (place / "a.tar").write_bytes(whole[:8000])
    (place / "b.tar").write_bytes(b"no archive" * 100)
    fill(place, "c.tar", content=b"")
    videos, skipped = seen(place)
    assert videos == {"a.tar/a.mp4": "a"}
    assert set(skipped.values()) == {"a damaged archive, of which what comes before the damage is used"}
    assert {"a.tar", "b.tar"} <= skipped.keys()


# ------------------------------------------------------------------ nothing outside


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(
    "name", ["../secret.mp4", "sub/../../secret.mp4", "{}/secret.mp4", "C:\\secret.mp4", "..\\secret.mp4"]
)
def test_a_manifest_cannot_name_a_file_outside(place, kind, name):
    name = name.format(place.parent)
    fill(place, "sub/a.mp4")
    row = json.dumps({"file_name": name, "text": "x"}) if kind == "jsonl" else f"file_name,text\n{name},x"
    (place / f"metadata.{kind}").write_text(row)
    videos, skipped = seen(place)
    assert not videos and skipped[f"metadata.{kind}, row 1"] == f"{name} leads out of the folder"


def test_links_out_of_the_folder_are_not_followed(place):
    fill(place, "a.mp4", "b.mp4", "c.mp4")
    (place / "b.txt").symlink_to(place.parent / "secret.txt")
    (place / "link.mp4").symlink_to(place.parent / "secret.mp4")
    (place / "link.txt").write_text("x")
    (place / "away").symlink_to(place.parent)
    (place / "listed.mp4").symlink_to(place.parent / "secret.mp4")
    (place / "shard.tar").symlink_to(place.parent / "secret.mp4")
    (place / "metadata.jsonl").symlink_to(place.parent / "secret.txt")
    (place / "inside.mp4").symlink_to(place / "a.mp4")  # this one stays inside
    (place / "metadata.csv").write_text(
        "file_name,text\nlisted.mp4,x\naway/secret.mp4,x\ninside.mp4,fine\na.mp4,also fine\n"
    )
    videos, skipped = seen(place)
    assert videos == {"inside.mp4": "fine", "a.mp4": "also fine"}
    assert skipped == {
        "b.mp4": f"its caption: {OUT}",
        "c.mp4": "no caption",
        "link.mp4": OUT,
        "listed.mp4": OUT,
        "shard.tar": OUT,
        "metadata.jsonl": OUT,
        "away/secret.mp4": "named in metadata.csv, but not there",
    }


def test_a_pipe_is_not_waited_for(place):
    os.mkfifo(place / "a.mp4")
    fill(place, "b.mp4")
    os.mkfifo(place / "b.txt")
    thread = threading.Thread(target=lambda: results.append(seen(place)), daemon=True)
    results = []
    thread.start()
    thread.join(10)
    assert results == [({}, {"a.mp4": OUT, "b.mp4": f"its caption: {OUT}"})]


def test_names_in_an_archive_lead_nowhere(place):
    links = []
    for name, kind, target in (
        ("link.mp4", tarfile.SYMTYPE, "../secret.mp4"),
        ("hard.mp4", tarfile.LNKTYPE, "a.mp4"),
        ("pipe.mp4", tarfile.FIFOTYPE, ""),
        ("device.mp4", tarfile.CHRTYPE, ""),
    ):
        links.append(tarfile.TarInfo(name))
        links[-1].type, links[-1].linkname = kind, target
    out = ("../up.mp4", "/abs.mp4", "a/../../up.mp4", "C:/win.mp4")
    members = [pair for name in out for pair in ((name, b"secret"), (name.replace(".mp4", ".txt"), b"x"))]
    shard(place / "0.tar", *members, *links, ("a.mp4", b"video"), ("a.txt", b"a"))
    before = sorted(path.name for path in place.parent.rglob("*"))
    videos, skipped = seen(place)
    assert videos == {"0.tar/a.mp4": "a"}
    leads_out = "a name that leads out of the archive"
    assert skipped == {f"0.tar/{name}": leads_out for name, _ in members} | {
        f"0.tar/{link.name}": "a link, or no ordinary file" for link in links
    }
    assert sorted(path.name for path in place.parent.rglob("*")) == before


def test_members_that_are_too_large_are_not_held_in_memory(place, monkeypatch):
    monkeypatch.setattr(folder_module, "MAX_MEMBER", 1000)
    shard(
        place / "0.tar",
        *(("a.mp4", bytes(1001)), ("a.txt", b"a"), ("b.mp4", b"video"), ("b.txt", b"x" * 10_001)),
        *(("c.mp4", b"video"), ("c.txt", b"c")),
    )  # fmt: skip
    assert seen(place) == (
        {"0.tar/c.mp4": "c"},
        {"0.tar/a.mp4": "too large", "0.tar/b.txt": "too large", "0.tar/b.mp4": "no caption"},
    )


def test_a_folder_within_a_linked_folder_is_a_folder(tmp_path, place):
    """The folder itself may be reached by a link."""
    fill(place, "a.mp4")
    (place / "a.txt").write_text("a")
    (tmp_path / "way").symlink_to(place)
    assert seen(tmp_path / "way") == ({"a.mp4": "a"}, {})
    shutil.rmtree(place)
