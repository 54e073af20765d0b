"""Fuzzing what reads other people's bytes: prompts, weights folders, checkpoints, folders of videos.

Run by hand; pytest does not collect it:

    pip install atheris                                                    # into an environment of its own
    python tests/fuzz/run.py prompts -max_total_time=200                   # options of libFuzzer
    python tests/fuzz/run.py config -max_total_time=200
    python tests/fuzz/run.py checkpoint -max_total_time=200
    python tests/fuzz/run.py manifest -max_total_time=200
    python tests/fuzz/run.py prompts crash-...                             # an input that was found, once more

Each target begins from a few inputs of its own and keeps what it finds in a temporary folder. A `UserError` is an answer;
any other exception, a broken promise or a hang is a find: atheris prints it and writes the input to a file.
"""

import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["t2vlearn"]):
    from t2vlearn import checkpoint
    from t2vlearn.errors import UserError
    from t2vlearn.folder import MANIFESTS, Skipped, Video, find_videos
    from t2vlearn.pipeline import TextToVideoPipeline
    from t2vlearn.storage import CONFIG_FILE, WEIGHTS_FILE
    from t2vlearn.text import MAX_TOKENS, TextEncoder
    from t2vlearn.world.captions import parse_prompt
    from t2vlearn.world.scenes import ATTRIBUTES, SECOND

import torch

FOLDER = Path(tempfile.mkdtemp()).resolve()
ENCODER = TextEncoder(dim=8, depth=1, num_heads=1)
SMALL = {"size": 16, "dim": 8, "depth": 1, "num_heads": 1, "text_depth": 1, "codec_width": 4, "latent_channels": 2}
LARGEST = 64  # a model may be large: that is no fault, but would be slow to try


def prompts(data: bytes) -> None:
    """Any text is understood or refused; what is understood is in the vocabulary."""
    text = data.decode("utf-8", errors="surrogateescape")
    named = parse_prompt(text)
    assert all(value in ATTRIBUTES[key.removesuffix(SECOND)] for key, value in named.items()), named
    ENCODER.unknown_words(text[:200])  # it compares spellings: slow for long texts
    try:
        ids, mask = ENCODER.tokenize([text, ""])
    except UserError:
        return
    assert ids.shape == mask.shape and ids.shape[1] <= MAX_TOKENS and bool(mask[:, 0].all())
    assert 0 <= int(ids.min()) and int(ids.max()) < len(ENCODER.words) + 3


def config(data: bytes) -> None:
    """Any config beside good weights is a pipeline or is refused."""
    try:
        values = json.loads(data)
        large = isinstance(values, dict) and any(isinstance(v, int) and v > LARGEST for v in values.values())
    except (ValueError, RecursionError):
        large = False
    if large:
        return
    (FOLDER / CONFIG_FILE).write_bytes(data)
    try:
        TextToVideoPipeline.from_pretrained(FOLDER)
    except UserError as error:
        str(error)


def resume(data: bytes) -> None:
    """Any bytes are a checkpoint or are refused. (A checksum can be forged, and libFuzzer does: it watches comparisons.)"""
    (FOLDER / checkpoint.LATEST).write_bytes(data)
    try:
        tensors, position = checkpoint.read(FOLDER, "recipe")
    except UserError:
        return
    checkpoint.write(FOLDER, tensors, "recipe", position)
    again, same = checkpoint.read(FOLDER, "recipe")
    assert again.keys() == tensors.keys() and same == position


def manifest(data: bytes) -> None:
    """Any bytes are a manifest of either kind and a shard, or are refused; only what is in the folder is found."""
    for name in (*MANIFESTS, "shard.tar"):
        for other in (*MANIFESTS, "shard.tar"):
            (FOLDER / other).unlink(missing_ok=True)
        (FOLDER / name).write_bytes(data)
        try:
            found = list(find_videos(FOLDER))
        except UserError:
            continue
        for item in found:
            assert isinstance(item, Skipped | Video), item
            assert isinstance(item, Skipped) or isinstance(item.content, bytes) or item.content.is_relative_to(FOLDER)


def main() -> None:
    """Make the first inputs, and go."""
    name, *options = sys.argv[1:]
    seeds: list[bytes]
    if name == "prompts":
        target, texts = (
            prompts,
            ["a brown puppy plays in the park", "一只小狗在公园里玩耍", "a big red star and a car", "\x00"],
        )
        seeds = [text.encode() for text in texts]
    elif name == "config":
        target = config
        TextToVideoPipeline(**SMALL).save_pretrained(FOLDER)
        good = json.loads((FOLDER / CONFIG_FILE).read_text())
        seeds = [json.dumps(good).encode(), json.dumps({k: v for k, v in good.items() if k != "words"}).encode(), b"{}"]
        assert (FOLDER / WEIGHTS_FILE).exists()
    elif name == "manifest":
        target = manifest
        (FOLDER / "a.mp4").write_bytes(b"a")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for member in ("a.mp4", "a.txt"):
                tar.addfile(tarfile.TarInfo(member))
        seeds = [b"file_name,text\na.mp4,a puppy\n", b'{"file_name": "a.mp4", "text": "a puppy"}\n', archive.getvalue()]
    else:
        target = resume
        seeds = [checkpoint.write(FOLDER, {"x": torch.arange(3.0)}, "recipe", {"step": 1}).read_bytes(), b""]
    corpus = Path(tempfile.mkdtemp())
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    again = [option for option in options if not option.startswith("-")]
    atheris.Setup([sys.argv[0], *options, *([] if again else [str(corpus)])], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
