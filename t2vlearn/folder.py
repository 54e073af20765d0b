"""A folder of captioned videos: which there are, and what is said about each.

Three layouts, which may stand side by side:

* `metadata.csv` or `metadata.jsonl` with `file_name` and `text`, as the Hugging Face layout "videofolder" has it;
* a video and a text of the same name, such as `walk.mp4` and `walk.txt`;
* WebDataset shards: `.tar` files in which such pairs stand one after the other. They are read from front to back and
  unpacked nowhere.

Nothing outside the folder is read: names that lead out of it, and links that do, are skipped. Names in an archive are never
used as paths. `tarfile` in stream mode is all that this needs. The library webdataset (1.0.2) reads tars by the same
means, brings braceexpand and PyYAML, shuffles what is in a buffer where an epoch here is a permutation, and, unless told
otherwise, runs the commands and the pickles that a shard's name or member asks for (its gopen.py, autodecode.py).
"""

from __future__ import annotations

import csv
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, NamedTuple

from t2vlearn.decoding import in_memory
from t2vlearn.errors import UserError
from t2vlearn.media import VIDEO_SUFFIXES

SUFFIXES = (*VIDEO_SUFFIXES, ".gif", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv", ".ogv", ".3gp", ".y4m")
KINDS = (*SUFFIXES, ".tar")
MANIFESTS = ("metadata.csv", "metadata.jsonl")
MAX_CAPTION = 10_000  # bytes
MAX_MEMBER = 256_000_000  # bytes of one video in an archive: it is held in memory while it is decoded


class Skipped(NamedTuple):
    """A file that is left out: its name within the folder, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Video:
    """A captioned video: its name within the folder, what is said about it, a path or what an archive holds, and bytes."""

    name: str
    caption: str
    content: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def open(self) -> BinaryIO:
        """The file, open at its start."""
        return in_memory(self.content) if isinstance(self.content, bytes) else self.content.open("rb")


def _files(folder: Path) -> dict[str, Path]:
    """Every file of a folder and the folders in it by its name there, in order; links to folders are not followed."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: --data takes a folder of videos with captions")
    root = folder.resolve()
    found: dict[str, Path] = {}
    for place, folders, names in os.walk(root):
        folders.sort()
        found |= {(Path(place) / name).relative_to(root).as_posix(): Path(place) / name for name in sorted(names)}
    return found


def total_bytes(folder: Path) -> int:
    """Of all videos and archives of a folder, captioned or not.

    Raises:
        UserError: if there is no such folder.
    """
    return sum(p.stat().st_size for p in _files(folder).values() if p.suffix.lower() in KINDS and p.is_file())


def find_videos(folder: Path) -> Iterator[Video | Skipped]:
    """All captioned videos of a folder and the folders in it, by name, and what is skipped.

    Raises:
        UserError: if there is no such folder, or a manifest lacks a column.
    """
    root, found = folder.resolve(), _files(folder)
    captions: dict[str, str] = {}
    for name in [name for name in found if PurePosixPath(name).name in MANIFESTS]:
        for row in _manifest(root, name):
            if isinstance(row, Skipped):
                yield row
            elif row[0] not in found:
                yield Skipped(row[0], f"named in {name}, but not there")
            elif row[0] in captions:
                yield Skipped(row[0], "named twice in the manifests")
            else:
                captions[row[0]] = row[1]
    for name, path in found.items():
        suffix, text = path.suffix.lower(), path.with_suffix(".txt")
        if name not in captions and suffix not in KINDS:
            continue
        if not _inside(root, path):
            yield Skipped(name, "a link out of the folder, or no ordinary file")
        elif suffix == ".tar":
            yield from _shard(name, path)
        elif name in captions:
            yield Video(name, captions[name], path)
        elif text.relative_to(root).as_posix() not in found:
            yield Skipped(name, "no caption")
        elif not _inside(root, text):
            yield Skipped(name, "its caption: a link out of the folder, or no ordinary file")
        else:
            yield _captioned(name, text, path)


def _inside(root: Path, path: Path) -> bool:
    """Whether a path ends, links and all, at an ordinary file within the folder. Anything else might never end."""
    return path.is_file() and path.resolve().is_relative_to(root)


def _leads_out(name: str) -> bool:
    kinds = PurePosixPath(name), PureWindowsPath(name)
    return any(path.is_absolute() or path.drive or ".." in path.parts for path in kinds)


def _captioned(name: str, text: Path | bytes, content: Path | bytes) -> Video | Skipped:
    try:
        if isinstance(text, Path):
            with text.open("rb") as file:
                text = file.read(MAX_CAPTION + 1)
        if len(text) > MAX_CAPTION:
            return Skipped(name, "its caption is too large")
        return Video(name, text.decode("utf-8-sig"), content)
    except OSError as error:
        return Skipped(name, f"its caption cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        return Skipped(name, "its caption is not in UTF-8")


def _manifest(root: Path, name: str) -> Iterator[tuple[str, str] | Skipped]:
    """The rows of a manifest: (name of a file within the folder, caption)."""
    path, place = root / name, PurePosixPath(name).parent
    if not _inside(root, path):
        yield Skipped(name, "a link out of the folder, or no ordinary file")
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file) if path.suffix == ".csv" else map(_json_row, file), 1):
                video, text = row.get("file_name"), row.get("text")
                if path.suffix == ".csv" and not {"file_name", "text"} <= row.keys():
                    raise UserError(f"{path} needs the columns file_name and text")
                if not isinstance(video, str) or not video:
                    yield Skipped(f"{name}, row {number}", "names no file")
                elif _leads_out(video):
                    yield Skipped(f"{name}, row {number}", f"{video} leads out of the folder")
                elif not isinstance(text, str):
                    yield Skipped((place / video).as_posix(), "no caption")
                else:
                    yield (place / video).as_posix(), text
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} ({error}): save it as UTF-8, with one row a video") from None


def _json_row(line: str) -> dict:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _shard(shard: str, path: Path) -> Iterator[Video | Skipped]:
    """The pairs of an archive. Those of one key stand together, the key being a member's name up to the first dot."""
    key, pair = "", {}  # type: str, dict[str, tuple[str, bytes]]
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                name, match = f"{shard}/{member.name}", re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]*)", member.name)
                suffix = "." + member.name.rpartition(".")[2].lower()
                hidden = PurePosixPath(member.name).name.startswith("._")  # what macOS keeps beside each file
                if member.isdir() or hidden or (suffix not in (*SUFFIXES, ".txt") and member.isfile()):
                    continue
                if not member.isfile():
                    yield Skipped(name, "a link, or no ordinary file")
                elif _leads_out(member.name) or not match:
                    yield Skipped(name, "a name that leads out of the archive")
                elif member.size > (MAX_CAPTION if suffix == ".txt" else MAX_MEMBER):
                    yield Skipped(name, "too large")
                else:
                    if match[1] != key:
                        yield from _pair(shard, key, pair)
                        key, pair = match[1], {}
                    kind = "text" if suffix == ".txt" else "video"
                    if kind in pair:
                        yield Skipped(pair[kind][0], "another one has the same name up to its first dot")
                    pair[kind] = (name, archive.extractfile(member).read())
    except (tarfile.TarError, OSError, EOFError, ValueError):
        yield Skipped(shard, "a damaged archive, of which what comes before the damage is used")
    yield from _pair(shard, key, pair)


def _pair(shard: str, key: str, pair: dict[str, tuple[str, bytes]]) -> Iterator[Video | Skipped]:
    if "video" in pair and "text" in pair:
        yield _captioned(pair["video"][0], pair["text"][1], pair["video"][1])
    elif "video" in pair:
        yield Skipped(pair["video"][0], "no caption")
