"""Faults from outside, on real processes: kills, closed terminals, full disks, too little memory, odd homes and paths."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from t2vlearn import checkpoint, cli
from t2vlearn.run_folder import LOCK
from t2vlearn.run_log import LOG

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its signals and limits are others")
ROOT = Path(__file__).resolve().parents[1]
#: The command line with one preset more, which is trained in seconds.
MICRO = """
import sys
from t2vlearn import training
from t2vlearn.pipeline import PipelineConfig
small = PipelineConfig(
    size=16, dim=16, depth=1, num_heads=2, width=16, convs=1, text_depth=1, codec_width=8, latent_channels=4
)
training.PRESETS["micro"] = training.TrainConfig(pipeline=small, batch=(6, 3, 3), sheet_every=2.0)
sys.argv[0] = "t2vlearn"
"""
MAIN = "from t2vlearn.cli import main; main()"
FOR_EVER = ["train", "--preset", "micro", "--minutes", "60", "--out", "run"]


def start(folder, arguments, before="", **options):
    """A process of the command line, in a folder of its own."""
    command = [sys.executable, "-c", f"{MICRO}\n{before}\n{MAIN}", *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen(command, cwd=folder, **options)


def run(folder, *arguments, **options):
    """(exit code, stdout, stderr) of one that ends by itself."""
    process = start(folder, arguments, **options)
    out, errors = process.communicate(timeout=120)
    return process.returncode, out, errors


def one_line(errors):
    """The single line that stderr holds, apart from the progress of a log."""
    lines = [line for line in errors.splitlines() if "clips/s" not in line]
    assert len(lines) == 1, errors
    return lines[0]


def wait_for(happened, process):
    while not happened():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def is_training(folder):
    log = folder / "run" / LOG
    return lambda: log.exists() and log.stat().st_size > 0


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with the weights of an untrained micro pipeline."""
    from t2vlearn.pipeline import TextToVideoPipeline

    pipe = TextToVideoPipeline(
        size=16,
        dim=16,
        depth=1,
        num_heads=2,
        text_depth=1,
        codec_width=8,
        latent_channels=4,
        info={"machine": "a test"},
    )
    return pipe.save_pretrained(tmp_path_factory.mktemp("weights"))


# ------------------------------------------------------------------ kills


def test_a_run_that_is_killed_three_times_ends_with_the_same_bits(tmp_path):
    """The script compares weights, averages and optimisers in full precision; its exit code says whether all are the same."""
    script = [sys.executable, ROOT / "benchmarks" / "reliability.py", "--kills", "3", "--steps", "240"]
    done = subprocess.run([*script, "--json", tmp_path / "result.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert sum(result["kills"].values()) == 3 and result["tensors that differ"] == []


def test_two_runs_in_one_folder_and_what_kill_9_leaves_of_the_lock(tmp_path):
    first = start(tmp_path, FOR_EVER)
    wait_for(is_training(tmp_path), first)
    code, _, errors = run(tmp_path, *FOR_EVER)
    assert code == 2 and one_line(errors) == (
        "Error: another run is training in run: wait for its end, or choose another folder with --out"
    )
    assert first.poll() is None
    first.kill()
    first.communicate()
    assert (tmp_path / "run" / LOCK).exists()  # the file, which holds nobody up
    code, _, errors = run(tmp_path, "train", "--preset", "micro", "--steps", "10", "--out", "run")
    assert code == 0, errors
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_killed_process_of_two_ends_the_run_in_a_line_and_three_go_on(tmp_path):
    options = ["train", "--preset", "micro", "--steps", "120", "--out", "run"]
    process = start(tmp_path, [*options, "--processes", "2"])
    wait_for((tmp_path / "run" / checkpoint.LATEST).exists, process)
    workers = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    assert len(workers) == 2
    workers[1].kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert re.fullmatch(
        r"Error: process [12] of 2 died \(SIGKILL\): --resume goes on from the last checkpoint, with any number of processes",
        errors.splitlines()[-1],
    ), errors
    assert "Traceback" not in errors and not psutil.pid_exists(workers[0].pid)
    code, out, errors = run(tmp_path, *options, "--processes", "3", "--resume")
    assert code == 0, errors
    assert "weights  run" in out and not checkpoint.exists(tmp_path / "run")


def test_workers_whose_parent_is_killed_write_a_checkpoint_and_end(tmp_path):
    process = start(tmp_path, [*FOR_EVER, "--processes", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(is_training(tmp_path), process)
    workers = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    process.kill()
    process.wait()
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    assert (tmp_path / "run" / checkpoint.LATEST).exists() and not (tmp_path / "run" / LOCK).exists()


# ------------------------------------------------------------------ stops


@pytest.mark.parametrize("processes", [1, 2])
def test_a_closed_terminal_leaves_a_checkpoint(tmp_path, processes):
    """A pseudo-terminal of its own session: closing it sends SIGHUP, and nothing more can be written to it."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have begun with nohup
        arguments = [*FOR_EVER, "--processes", str(processes)]
        os.execv(sys.executable, [sys.executable, "-c", f"{MICRO}\n{MAIN}", *arguments])
    shown = b""
    while b"codec: step" not in shown:
        shown += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    left = {path.name for path in (tmp_path / "run").iterdir()} - {"samples"}
    assert left == {checkpoint.LATEST, LOG}


def test_nohup_keeps_its_meaning(tmp_path):
    ignore = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{MICRO}\n{MAIN}"
    command = [sys.executable, "-c", ignore, "train", "--preset", "micro", "--steps", "60", "--out", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_for(is_training(tmp_path), process)
    process.send_signal(signal.SIGHUP)
    assert process.communicate()[0].startswith("weights  run") and process.returncode == 0


# ------------------------------------------------------------------ disk and memory


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 20 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up_leaves_the_last_checkpoint(small_disk):
    options = ["train", "--preset", "micro", "--steps", "40", "--out", "run"]
    ballast = small_disk / "ballast"
    process = start(small_disk, options)
    wait_for((small_disk / "run" / checkpoint.LATEST).exists, process)
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    ballast.write_bytes(b"x" * max(free - 50_000, 0))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert one_line(errors).startswith("Error: ") and "free some space" in errors
    ballast.unlink()
    assert not list(small_disk.glob("run/.unfinished"))
    code, _, errors = run(small_disk, *options, "--resume")
    assert code == 0, errors


#: All imports and first runs are over; then the process gets little more than it has.
LITTLE_MEMORY = """
import resource, psutil
from t2vlearn import judge, media, pipeline
pipeline.TextToVideoPipeline(**vars(small))("a car", num_inference_steps=1)
bytes = psutil.Process().memory_info().vms + {spare} * 2**20
resource.setrlimit(resource.RLIMIT_AS, (bytes, bytes))
"""


def test_too_little_memory_to_generate(tmp_path, weights):
    prompts = ["a car"] * 2000
    code, _, errors = run(
        tmp_path, "generate", *prompts, "--weights", weights, "--steps", 1, before=LITTLE_MEMORY.format(spare=200)
    )
    assert (code, one_line(errors)) == (
        2,
        "Error: the memory is too small for this: end other programs, or, of several prompts, give fewer at once",
    )
    assert not list(tmp_path.rglob("*.mp4"))


def test_too_little_memory_to_train(tmp_path):
    large = 'training.PRESETS["micro"] = training.TrainConfig(pipeline=small, batch=(3000, 3, 3))\n'
    code, _, errors = run(tmp_path, *FOR_EVER, before=large + LITTLE_MEMORY.format(spare=200))
    assert (code, one_line(errors)) == (
        2,
        "Error: the memory is too small for this: take each batch in more parts than 1 (--accumulate), or choose a smaller "
        "preset",
    )
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOG]


# ------------------------------------------------------------------ homes, paths, networks

#: Several commands in one process: starting one takes seconds. An error ends it with that exit code.
EACH = """
import json
from t2vlearn.cli import app
for each in json.loads(sys.argv.pop()):
    if code := app(each, standalone_mode=False):
        sys.exit(code)
"""
GENERATE, TRAIN = ["generate", "a car", "--steps", "1"], ["train", "--preset", "micro", "--steps", "5"]


def run_each(folder, commands, prefix=(), **options):
    """(exit code, stdout, stderr) of commands, one after the other in one process."""
    command = [*prefix, sys.executable, "-c", f"{MICRO}\n{EACH}", json.dumps([[str(a) for a in c] for c in commands])]
    options = {"text": True} | options
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=300, **options)
    return done.returncode, done.stdout, done.stderr


def bare(**variables):
    """An environment with nothing that is not needed. One thread: two that wait for each other are slow on a busy machine."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "OMP_NUM_THREADS": "1",
    } | variables


@pytest.mark.parametrize("home", [{}, {"HOME": "/proc"}, {"HOME": "/dev/null"}], ids=str)
def test_homes_that_are_missing_or_cannot_be_written(tmp_path, weights, home):
    """Not even root can make a file in /proc."""
    commands = ([*GENERATE, "--weights", weights], [*TRAIN, "--out", "run"])
    code, out, errors = run_each(tmp_path, commands, env=bare(**home))
    assert code == 0 and "Traceback" not in errors, errors
    assert "video       out/a-car.mp4" in out and "weights  run" in out


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_paths_in_any_language(tmp_path, weights, locale):
    folder = tmp_path / "видео 视频 ünï 🐕"
    folder.mkdir()
    commands = ([*GENERATE, "--weights", weights, "-o", "out/小狗 é.webp"], [*TRAIN, "--out", "läuft 跑"])
    code, out, errors = run_each(folder, commands, env=bare(LC_ALL=locale), encoding="utf-8")
    assert code == 0 and "video       out/小狗 é.webp" in out and "weights  läuft 跑" in out, errors
    assert (folder / "out" / "小狗 é.webp").exists() and (folder / "läuft 跑" / "model.safetensors").exists()


def test_names_that_are_no_text(tmp_path, weights):
    """They are bytes on Linux, and need not be UTF-8."""
    clip, folder = os.fsdecode(b"out/\xff\xfe.webp"), os.fsdecode(b"\xff")
    commands = ([*GENERATE, "--weights", weights, "-o", clip], [*TRAIN, "--out", folder])
    code, _, errors = run_each(tmp_path, commands, errors="replace")
    assert code == 0, errors
    assert (tmp_path / clip).exists() and (tmp_path / folder / "model.safetensors").exists()


def test_very_long_paths(tmp_path, weights, monkeypatch):
    """A name of 300 letters, one that leaves no room for the key frames' name, a path of 5,000; and one of 3,000 that works."""
    monkeypatch.chdir(tmp_path)
    for name in ("x" * 300 + ".mp4", "x" * 245 + ".mp4", "/".join(["x" * 200] * 25) + "/a.mp4"):
        for arguments in (
            [*GENERATE, "--weights", str(weights), "-o", name],
            [*TRAIN[:1], "--steps", "1", "--out", name * 2],
        ):
            result = CliRunner().invoke(cli.app, arguments)
            assert result.exit_code == 2 and one_line(result.stderr).startswith("Error: cannot write "), result.stderr
            assert os.listdir() == []
    deep = Path(*["x" * 200] * 15, "a.webp")
    assert CliRunner().invoke(cli.app, [*GENERATE, "--weights", str(weights), "-o", str(deep)]).exit_code == 0
    assert deep.exists()


def test_without_a_network(tmp_path, weights):
    alone = ("unshare", "--net", "--map-root-user")
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("needs a network namespace")
    code, out, errors = run_each(tmp_path, ([*GENERATE, "--weights", weights], [*TRAIN, "--out", "run"]), alone)
    assert code == 0 and "video" in out and "weights  run" in out, errors
    code, _, errors = run_each(tmp_path, (["info", "some/model"],), alone)
    assert code == 2 and one_line(errors).startswith("Error: there is no folder some/model, and the Hub"), errors
