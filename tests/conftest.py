"""What several test files need: a real pipeline, small enough to be made and run in no time."""

import functools
import http.server
import os
import shutil
import threading

import numpy as np
import pytest
import torch

torch.set_flush_denormal(True)  # as a training run does: the tiny numbers of untrained networks are slow
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # side by side (`make test`), they share the cores
    torch.set_num_threads(max((os.cpu_count() or 1) // int(workers), 1))
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # for processes that tests start


@pytest.fixture
def poison(monkeypatch):
    """A function of (task class, step): its batch of that step begins with NaN."""

    def poison(task, at):
        whole = task.batch

        def batch(self, step, *rest):
            first, *others = whole(self, step, *rest)
            return (first * torch.nan if step == at else first, *others)

        monkeypatch.setattr(task, "batch", batch)

    return poison


@pytest.fixture(scope="session")
def tiny_pipeline():
    """A pipeline with random weights. Zero-initialised layers are filled too, and the latents have unit variance, so
    that every input changes the output.

    Tests share it: change nothing of it.
    """
    from t2vlearn.pipeline import TextToVideoPipeline

    torch.manual_seed(0)
    small = {
        "size": 32,
        "dim": 32,
        "depth": 2,
        "num_heads": 2,
        "text_depth": 1,
        "codec_width": 16,
        "latent_channels": 4,
    }
    pipe = TextToVideoPipeline(**small, guidance_scale=2.0)
    with torch.no_grad():
        for parameter in pipe.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
        codec = pipe.visual_encoder.codec
        raw = codec.encoder(torch.rand(8, 3, 32, 32) * 2 - 1)
        codec.normalise.running_mean.copy_(raw.mean((0, 2, 3)))
        codec.normalise.running_var.copy_(raw.var((0, 2, 3)))
    return pipe


@pytest.fixture(scope="session")
def smallest_pipeline():
    """Of 16 x 16 pixels and one block each, where no size of weights matters. Tests share it: change nothing of it."""
    from t2vlearn.pipeline import TextToVideoPipeline

    torch.manual_seed(0)
    pipe = TextToVideoPipeline(size=16, dim=16, depth=1, num_heads=2, text_depth=1, latent_channels=4, width=8, convs=2)
    for parameter in pipe.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return pipe


@pytest.fixture
def own_pipeline():
    """A small pipeline with random weights, zero-initialised layers too, that a test may change."""
    from t2vlearn.pipeline import TextToVideoPipeline

    torch.manual_seed(0)
    pipe = TextToVideoPipeline(size=16, dim=16, depth=2, num_heads=2, text_depth=1, codec_width=16, width=16, convs=2)
    with torch.no_grad():
        for parameter in pipe.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return pipe


@pytest.fixture(scope="session")
def own_videos(tmp_path_factory):
    """A folder with five captioned videos of different kinds, one without a caption, and one that is cut off."""
    from t2vlearn import media

    folder = tmp_path_factory.mktemp("videos")
    captions = ("A red square!", "a blue square goes right", "一个绿色的方块", "two words", "a grey square")
    for i, (caption, suffix) in enumerate(zip(captions, (".mp4", ".webm", ".gif", ".mp4", ".mp4"))):
        clip = np.full((8 + i, 20 + 6 * i, 40, 3), 40 * i, np.uint8)
        for t in range(len(clip)):
            clip[t, 5:15, 10 + t : 20 + t, i % 3] = 255
        media.write(folder / f"{i}{suffix}", clip, scale=1)
        (folder / f"{i}.txt").write_text(caption, encoding="utf-8")
    shutil.copy(folder / "0.mp4", folder / "silent.mp4")
    (folder / "torn.mp4").write_bytes((folder / "0.mp4").read_bytes()[:1500])
    (folder / "torn.txt").write_text("torn")
    return folder


@pytest.fixture(scope="session")
def tiny_judge():
    """A judge with random weights."""
    from t2vlearn.judge import Judge

    torch.manual_seed(0)
    return Judge(width=8, features=16).eval()


@pytest.fixture(scope="session")
def onnx_files(tmp_path_factory, tiny_pipeline, tiny_judge):
    """Both as ONNX files in float32: tracing takes its time, so it is done once."""
    pytest.importorskip("onnx", reason="comes with the extra `export`")
    from t2vlearn.export import export_onnx

    return export_onnx(tiny_pipeline, tmp_path_factory.mktemp("onnx") / "float32", "float32", tiny_judge)


# ------------------------------------------------------------------ a real browser


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each request."""

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def serve():
    """A function that serves a folder for as long as the module's tests run, and gives its address."""
    servers = []

    def start(folder):
        handler = functools.partial(_Quiet, directory=str(folder))
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window. For one module at a time: while it runs, it holds the event loop that notebooks need."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser's driver comes with the extra `test`")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs Chromium")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=quiet)
        yield running
        running.close()
