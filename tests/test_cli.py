"""The commands do what their help says, come quickly, and answer each mistake with one line and exit code 2."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from t2vlearn import cli, media

COMMANDS = ("generate", "story", "train", "evaluate", "info")
MAIN = "import sys; sys.argv[0] = 't2vlearn'; from t2vlearn.cli import main; main()"
SMALL = {"dim": 32, "depth": 1, "num_heads": 2, "text_depth": 1, "codec_width": 8, "latent_channels": 4}
#: Puts a preset among the others that is trained in seconds.
MICRO = """
from t2vlearn import training
from t2vlearn.pipeline import PipelineConfig
small = PipelineConfig(dim=32, depth=1, num_heads=2, text_depth=1, codec_width=8, latent_channels=4)
training.PRESETS["micro"] = training.TrainConfig(pipeline=small, batch=(4, 2, 2), sheet_every=2.0)
"""


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments], prog_name="t2vlearn")


def assert_refused(result, *words):
    """One line that begins with "Error:" and holds the words, exit code 2, and no traceback."""
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with the weights of a tiny, untrained pipeline."""
    from t2vlearn.pipeline import TextToVideoPipeline

    pipe = TextToVideoPipeline(**SMALL, info={"machine": "a test"})
    return pipe.save_pretrained(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ------------------------------------------------------------------ help


def test_nothing_heavy_is_imported_for_help():
    code = f"""
try:
    {MAIN}
except SystemExit:
    print([name for name in ("torch", "numpy", "imageio", "PIL", "matplotlib", "accelerate") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code, "info", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize("name", [*COMMANDS, "export onnx"])
def test_every_command_has_examples_that_it_understands(name):
    text = run(*name.split(), "--help").output
    examples = [line.strip() for line in text.partition("Examples:")[2].splitlines() if line.strip()]
    assert examples
    command = typer.main.get_command(cli.app)
    for word in name.split():
        command = command.commands[word]
    for example in examples:
        program, *rest = shlex.split(example)
        words = name.split()
        assert (program, rest[: len(words)]) == ("t2vlearn", words)
        command.make_context(name, rest[len(words) :])  # reads the arguments, runs nothing


def test_version():
    from t2vlearn import __version__

    assert run("--version").output == f"t2vlearn {__version__}\n"


# ------------------------------------------------------------------ generate


def test_generate_writes_a_video_and_its_key_frames(here, weights):
    result = run("generate", "a puppy in the park", "--weights", weights, "--steps", 2, "-o", "new/puppy.mp4")
    assert result.exit_code == 0, result.output
    assert "new/puppy.mp4\n" in result.stdout and "new/puppy-keyframes.png\n" in result.stdout
    assert sorted(os.listdir("new")) == ["puppy-keyframes.png", "puppy.mp4"]
    assert media.read("new/puppy.mp4").shape == (16, 256, 256, 3)
    assert {media.read_mark(file) for file in ("new/puppy.mp4", "new/puppy-keyframes.png")} == {media.MARK}
    sheet = media.read("new/puppy-keyframes.png")
    assert sheet.shape == (1, 128, 4 * 130 - 2, 3)


def test_the_verdict_compares_what_was_asked_with_what_is_seen(here, weights):
    result = run("generate", "a puppy in the park", "--weights", weights, "--steps", 2)
    verdict = [line for line in result.stdout.splitlines() if "✓" in line or "✗" in line]
    assert {line.split("│")[1].strip() for line in verdict} == {"subject", "place"}
    asked = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in verdict}
    assert asked == {"subject": "puppy", "place": "park"}


def test_the_bundled_weights_make_what_was_asked(here):
    result = run("generate", "a big red circle in the park")
    assert result.exit_code == 0, result.output
    assert sorted(os.listdir("out")) == [
        "a-big-red-circle-in-the-park-keyframes.png",
        "a-big-red-circle-in-the-park.mp4",
    ]
    assert result.stdout.count("✓") >= 3, result.stdout


def test_a_prompt_that_names_nothing_gets_no_verdict(here, weights):
    result = run("generate", "moves in the", "--weights", weights, "--steps", 1, "-o", "a.webp")
    assert result.exit_code == 0, result.output
    assert "judge" not in result.stdout


def test_clips_of_another_length_than_the_judges_get_no_verdict(here):
    from t2vlearn.pipeline import TextToVideoPipeline

    TextToVideoPipeline(**SMALL, num_frames=8).save_pretrained("short")
    result = run("generate", "a puppy in the park", "--steps", 1, "--weights", "short", "-o", "clip.mp4")
    assert result.exit_code == 0 and "seen" not in result.stdout, result.output
    assert len(media.read("clip.mp4")) == 8


def test_the_judge_says_what_it_sees_of_two_subjects(here, weights):
    result = run("generate", "a car and a bird", "--weights", weights, "--steps", 1, "-o", "a.webp")
    assert result.exit_code == 0, result.output
    assert all(said in result.stdout for said in ("subject", "car", "subject_2", "bird", "misreads more"))


def test_several_prompts_stand_side_by_side(here, weights):
    result = run("generate", "the bird", "the car", "--weights", weights, "--steps", 1, "-o", "two.webp")
    assert result.exit_code == 0, result.output
    assert media.read("two.webp").shape[1:] == (8 * 32, 8 * 65, 3)


def test_what_was_left_open_is_said(here, weights):
    result = run("generate", "a car jumps", "一只小狗", "--extend", "--seed", 5, "--steps", 1, "--weights", weights)
    assert result.exit_code == 0, result.output
    from t2vlearn.world import extend_prompt

    first, second = extend_prompt("a car jumps", 5), extend_prompt("一只小狗", 6)
    assert result.stdout.startswith(f"prompt      {first}\nprompt      {second}\n")
    assert "size" in result.stdout and (here / "out" / "a-car-jumps.mp4").exists()


def test_chinese_prompts_name_their_files(here, weights):
    result = run("generate", "一只小狗在公园里玩耍", "--weights", weights, "--steps", 1)
    assert result.exit_code == 0, result.output
    assert "一只小狗在公园里玩耍.mp4" in os.listdir("out")


def test_an_image_becomes_the_first_frame(here, weights):
    picture = np.zeros((1, 32, 32, 3), np.uint8)
    picture[:, 10:20, 5:25] = (250, 120, 10)
    media.write("start.png", picture)
    result = run("generate", "the car", "--image", "start.png", "--weights", weights, "--steps", 1, "-o", "a.webp")
    assert result.exit_code == 0, result.output
    assert (media.fit(media.read("a.webp"), 32)[0] == picture[0]).all()


def test_a_continued_video_begins_where_the_other_ends(here, weights):
    earlier = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
    media.write("earlier.webp", earlier)
    result = run(
        "generate", "the car", "--continue", "earlier.webp", "--weights", weights, "--steps", 1, "-o", "a.webp"
    )
    assert result.exit_code == 0, result.output
    assert (media.fit(media.read("a.webp"), 32)[:4] == earlier[-4:]).all()


def test_a_story_is_one_video_of_all_its_segments(here, weights):
    result = run("story", "the bird", "the car", "--segments", 3, "--weights", weights, "--steps", 1, "-o", "three.mp4")
    assert result.exit_code == 0, result.output
    assert "three.mp4\n" in result.stdout and os.listdir() == ["three.mp4"]
    assert media.read("three.mp4").shape == (16 + 15 + 15, 256, 256, 3)
    assert media.read_mark("three.mp4") == media.MARK


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["", "the car"], ["empty"]),
        (["the car", "--segments", "0"], ["segments", "at least 1"]),
        (["the car", "--start-level", "2"], ["start level", "from 0"]),
        (["the car", "-o", "story.png"], [".mp4"]),
    ],
)
def test_story_refuses(here, weights, arguments, words):
    assert_refused(run("story", *arguments, "--weights", weights, "--steps", 1), *words)
    assert os.listdir() == []


@pytest.mark.parametrize("options", [["a pupy in the park"], ["a pupy star in the park", "--extend"]])
def test_unknown_words_are_named_with_near_ones_and_the_video_is_made(here, weights, options):
    result = run("generate", *options, "--weights", weights, "--steps", 1, "-o", "a.webp")
    assert result.exit_code == 0, result.output
    notes = [line for line in result.stderr.splitlines() if line.startswith("Note: ")]
    assert len(notes) == 1 and "pupy" in notes[0] and "puppy" in notes[0]
    assert "a.webp" in os.listdir(here)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([""], ["empty"]),
        (["   "], ["empty"]),
        (["xyzzy plugh"], ["xyzzy", "plugh"]),
        (["puppy " * 5000], ["shorten"]),
        (["a puppy", "--steps", 0], ["steps"]),
        (["a puppy", "--guidance", -1], ["guidance"]),
        (["a puppy", "--guidance", "nan"], ["guidance"]),
        (["a puppy", "--guidance", "inf"], ["guidance"]),
        (["a puppy", "--seed", -1], ["seed"]),
        (["a puppy", "--seed", 10**30], ["seed"]),
        (["a puppy", "-o", "a.avi"], [".mp4", ".webm", ".gif", ".webp", ".png"]),
        (["a puppy", "-o", "a"], [".mp4"]),
        (["a puppy", "-o", "file/a.mp4"], ["cannot write", "folder"]),
        (["a puppy", "--image", "missing.png"], ["missing.png"]),
        (["a puppy", "--image", "file"], ["cannot read"]),
        (["a puppy", "--continue", "missing.mp4"], ["missing.mp4"]),
        (["a puppy", "--image", "file", "--continue", "file"], ["not both"]),
        (["a puppy", "--extend", "--image", "file"], ["--extend"]),
        (["xyzzy plugh", "--extend"], ["xyzzy", "plugh"]),
    ],
)
def test_generate_refuses(here, weights, arguments, words):
    (here / "file").write_text("neither a folder nor a picture")
    assert_refused(run("generate", "--weights", weights, *arguments), *words)
    assert os.listdir(here) == ["file"]


def test_an_unwritable_place_is_found_before_the_weights_are_read(here):
    (here / "file").write_text("not a folder")
    assert_refused(run("generate", "a puppy", "-o", "file/a.mp4", "--weights", "no/such/folder"), "file/a.mp4")


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
@pytest.mark.parametrize("suffix", [".mp4", ".webp"])
def test_generate_on_a_full_disk(here, weights, suffix):
    # A limit on the size of files stands in for the full disk: writing fails half-way in the same manner.
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)); {MAIN}"
    arguments = ["generate", "the car", "--steps", "1", "--weights", str(weights), "-o", f"out/a{suffix}"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    assert "free some space" in done.stderr
    assert os.listdir("out") == []


# ------------------------------------------------------------------ weights


def change(folder, kind):
    """Spoil a copy of the weights."""
    model, config = folder / "model.safetensors", folder / "config.json"
    content = model.read_bytes()
    if kind == "missing weights":
        model.unlink()
    elif kind == "missing config":
        config.unlink()
    elif kind == "truncated":
        model.write_bytes(content[: len(content) // 2])
    elif kind == "altered":
        model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif kind == "another version":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"format": 10**6}))
    elif kind == "another shape":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"dim": 64}))
    elif kind == "no config":
        config.write_text("{")


@pytest.mark.parametrize(
    "kind",
    ["missing weights", "missing config", "truncated", "altered", "another version", "another shape", "no config"],
)
@pytest.mark.parametrize("command", [["generate", "a puppy"], ["evaluate"], ["info"]])
def test_spoilt_weights_are_refused(here, weights, kind, command):
    folder = here / "spoilt"
    folder.mkdir()
    for file in weights.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    change(folder, kind)
    option = ["--weights", folder] if command[0] == "generate" else [folder]
    assert_refused(run(*command, *option), "spoilt")
    assert os.listdir(here) == ["spoilt"]


def test_weights_that_are_nowhere_are_refused(here):
    assert_refused(run("info", here / "nowhere" / "at" / "all"), "nowhere")


@pytest.mark.parametrize("name", ["runs/a--b", "runs/小狗", "runs/model.git", "runs/" + 100 * "x"])
def test_names_that_no_model_on_the_hub_has_are_refused(here, name):
    assert_refused(run("info", name), name)


@pytest.mark.parametrize("arguments", [("info", 300 * "x"), ("generate", "a puppy", "--image", 300 * "x")])
def test_names_that_no_file_can_have_are_refused(here, arguments):
    assert_refused(run(*arguments), "xxx")


def test_closed_streams_stop_no_command(here):
    command = f'"{sys.executable}" -c "{MAIN}" info --words >&-'
    assert subprocess.run(command, shell=True, stderr=subprocess.PIPE).stderr == b""


def test_weights_that_could_be_on_the_hub_but_are_not_at_hand_are_refused(here):
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", MAIN, "info", "runs/nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    assert "runs/nowhere" in done.stderr


# ------------------------------------------------------------------ train


@pytest.fixture
def micro():
    """A preset that is trained in seconds."""
    from t2vlearn import training

    exec(MICRO)
    yield "micro"
    del training.PRESETS["micro"]


def test_train_says_where_the_weights_are_and_what_to_try_next(here, micro):
    result = run("train", "--preset", micro, "--steps", 10)
    assert result.exit_code == 0, result.output
    assert "runs/micro" in result.stdout and "t2vlearn evaluate runs/micro" in result.stdout
    command = next(line.partition("t2vlearn ")[2] for line in result.stdout.splitlines() if "t2vlearn generate" in line)
    assert run(*shlex.split(command), "--steps", 1).exit_code == 0
    lines = [line for line in result.stderr.splitlines() if "loss" in line and "clips/s" in line and "left" in line]
    assert {stage for line in lines for stage in ("codec", "key frames", "video") if stage in line} == {
        "codec",
        "key frames",
        "video",
    }


def test_train_on_videos_says_what_it_skips_and_what_to_try_next(here, micro, own_videos):
    result = run("train", "--preset", micro, "--steps", 10, "--data", own_videos, "--out", "my run")
    assert result.exit_code == 0, result.output
    notes = [line for line in result.stderr.splitlines() if line.startswith("Note: ")]
    assert len(notes) == 1 and "2 skipped: no caption (1), damaged" in notes[0] and "my run/skipped.txt" in notes[0]
    assert (here / "my run" / "skipped.txt").read_text().count("\n") == 2
    assert "reading videos" in result.stderr and "encoding clips" in result.stderr and "evaluate" not in result.stdout
    command = next(line.partition("t2vlearn ")[2] for line in result.stdout.splitlines() if "t2vlearn generate" in line)
    result = run(*shlex.split(command), "--steps", 1, "-o", "clip.gif")
    assert result.exit_code == 0 and "A red square!" in command and "judge" not in result.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--steps", 1, "--data", "nowhere"], ["there is no folder nowhere", "--data"]),
        (["--steps", 1, "--data", "empty-folder"], ["no captioned video in empty-folder"]),
        (["--preset", "huge", "--steps", 1], ["huge", "tiny", "base"]),
        (["--steps", 0], ["steps"]),
        (["--steps", -3], ["steps"]),
        (["--minutes", 0], ["minutes"]),
        (["--minutes", "nan"], ["minutes"]),
        (["--minutes", 1, "--steps", 1], ["--minutes", "--steps"]),
        ([], ["--minutes", "--steps"]),
        (["--steps", 1, "--out", "file/run"], ["file/run"]),
        (["--steps", 1, "--out", "file"], ["file"]),
        (["--steps", 1, "--processes", 0], ["0 processes", "from 1"]),
        (["--steps", 1, "--resume", "--out", "empty"], ["resume"]),
    ],
)
def test_train_refuses(here, arguments, words):
    (here / "file").write_text("not a folder")
    (here / "empty-folder").mkdir()
    assert_refused(run("train", *arguments), *words)
    assert not list(here.glob("**/*.safetensors*"))


def listen_to_ctrl_c():
    """A shell that starts the tests in the background has told them, and all that they start, to ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT from another process there")
def test_ctrl_c_in_training_writes_a_checkpoint_and_says_how_to_resume(here, micro):
    arguments = ["train", "--preset", "micro", "--minutes", "10", "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-c", f"{MICRO}\n{MAIN}", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=listen_to_ctrl_c,
    )
    log = here / "run" / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "--resume" in errors.splitlines()[-1] and "Traceback" not in errors
    assert "checkpoint.safetensors" in os.listdir("run") and not list(here.glob("run/.unfinished"))
    # Another length is another run: that is said, and the checkpoint stays.
    assert_refused(run("train", "--preset", micro, "--steps", 9, "--out", "run", "--resume"), "run")
    assert "checkpoint.safetensors" in os.listdir("run")


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
def test_train_on_a_full_disk(here):
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n{MICRO}\n{MAIN}"
    arguments = ["train", "--preset", "micro", "--steps", "3", "--out", "run"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if "clips/s" not in line]
    assert len(lines) == 1 and lines[0].startswith("Error: "), done.stderr
    assert not list(here.glob("run/*.safetensors*"))


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_ctrl_c_while_generating(here, weights):
    ours, theirs = os.openpty()
    arguments = ["generate", "the car", "--steps", "5000", "--weights", str(weights)]
    command = [sys.executable, "-c", MAIN, *arguments]
    process = subprocess.Popen(command, stderr=theirs, stdout=theirs, preexec_fn=listen_to_ctrl_c)
    os.close(theirs)
    shown = b""
    try:
        while more := os.read(ours, 4096):
            if b"key frames" in more and b"key frames" not in shown:  # the bar is live: generation has begun
                process.send_signal(signal.SIGINT)
            shown += more
    except OSError:  # Linux says so when the other side has closed
        pass
    assert process.wait(timeout=60) == 130
    assert b"Stopped." in shown and b"Traceback" not in shown
    assert os.listdir(here) == []


# ------------------------------------------------------------------ evaluate, info


def test_evaluate_prints_a_table_and_writes_json(here, weights):
    result = run("evaluate", weights, "--samples", 4, "--split", "chinese", "--json", "new/report.json")
    assert result.exit_code == 0, result.output
    report = json.loads((here / "new" / "report.json").read_text(encoding="utf-8"))
    assert report
    assert "chinese, 4 clips" in result.stdout and "joint" in result.stdout
    assert os.listdir("new") == ["report.json"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--split", "nowhere"], ["nowhere", "heldout", "two_actors"]),
        (["--samples", 0], ["samples"]),
        (["--samples", -1], ["samples"]),
        (["--json", "file/report.json"], ["file/report.json"]),
        (["--seed", -1], ["seed"]),
    ],
)
def test_evaluate_refuses(here, weights, arguments, words):
    (here / "file").write_text("not a folder")
    assert_refused(run("evaluate", weights, *arguments), *words)
    assert os.listdir(here) == ["file"]


def test_info_says_what_the_weights_are(weights):
    result = run("info", weights)
    assert result.exit_code == 0, result.output
    rows = dict([cell.strip() for cell in line.split("│")[1:3]] for line in result.stdout.splitlines() if "│" in line)
    assert rows["machine"] == "a test"
    assert rows["device"] == "cpu" or rows["device"].startswith("cuda")
    assert "M parameters" in rows["text_encoder"]


def test_info_on_the_bundled_weights_names_the_recipe():
    result = run("info")
    assert result.exit_code == 0, result.output
    assert "machine" in result.stdout and "seed" in result.stdout


def test_info_lists_the_words():
    words = run("info", "--words").stdout.split()
    assert {"puppy", "park", "狗"} <= set(words)


def test_info_lists_the_words_of_the_weights_that_are_asked_for(tmp_path):
    from t2vlearn.pipeline import TextToVideoPipeline

    TextToVideoPipeline(**SMALL, words=["lava", "lamp"]).save_pretrained(tmp_path)
    assert run("info", tmp_path, "--words").stdout == "lava lamp\n"
    assert "2 (t2vlearn info " in run("info", tmp_path).stdout.replace("\n", "")


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["generate"], ["generate", "a", "--steps", "many"], ["info", "--nonsense"]]
)
def test_usage_errors_have_exit_code_2(arguments):
    result = run(*arguments)
    assert result.exit_code == 2 and "Error: " in result.stderr


# ------------------------------------------------------------------ export


def test_export_refuses_a_folder_of_other_things(here, weights):
    pytest.importorskip("onnx", reason="comes with the extra `export`")
    (here / "mine").mkdir()
    (here / "mine" / "diary.txt").write_text("dear diary")
    assert_refused(run("export", "onnx", "mine", "--from", weights), "mine", "holds other files")
    assert_refused(run("export", "onnx", "new", "--from", weights, "--store", "int4"), "float32 or int8", "int4")
    assert sorted(path.name for path in (here / "mine").iterdir()) == ["diary.txt"] and not (here / "new").exists()
