"""The ONNX files say what the modules say, in onnxruntime, for captions of any length."""

import hashlib
import json

import numpy as np
import pytest
import torch

from t2vlearn.errors import UserError
from t2vlearn.export import WEIGHTS, Decode, KeyframeStep, Read, VideoStep, export_onnx, functions
from t2vlearn.judge import Judge

onnxruntime = pytest.importorskip("onnxruntime", reason="comes with the extra `export`")
pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def judge():
    torch.manual_seed(0)
    return Judge(width=8, features=16).eval()


@pytest.fixture(scope="module", params=WEIGHTS)
def exported(request, tmp_path_factory, tiny_pipeline, judge):
    folder = tmp_path_factory.mktemp("onnx") / request.param
    return request.param, export_onnx(tiny_pipeline, folder, request.param, judge)


def run(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {name: value.numpy() for name, value in inputs.items()})


def text(pipe, *prompts):
    tokens, mask, pooled = pipe.text_encoder.encode(prompts)
    return {"tokens": tokens, "mask": mask, "pooled": pooled}


@torch.no_grad()
def cases(pipe, judge):
    """Name -> (inputs, what the modules say), with captions of other lengths than the exporter saw."""
    torch.manual_seed(1)
    grid = pipe.config.size // pipe.config.down
    key, clip = (torch.randn(1, pipe.config.latent_channels, f, grid, grid) for f in (4, 16))
    ids, mask = pipe.text_encoder.tokenize(["一只小狗在公园里玩耍", ""])
    known = torch.tensor([[False, True, False, False]])
    key_inputs = {"x": key, "tau": torch.rand(1, 4) * ~known, "known": known, **text(pipe, "a red star jumps", ""),
                  "scale": torch.tensor(2.5)}  # fmt: skip
    clip_inputs = {"x": clip, "tau": torch.rand(1, 16), "known": torch.rand(1, 16) < 0.5, **text(pipe, "a car")}
    frames = torch.rand(1, 3, 16, 32, 32) * 2 - 1
    return {
        "text": ({"ids": ids, "mask": mask}, pipe.text_encoder(ids, mask)),
        "keyframes": (key_inputs, [KeyframeStep(pipe)(**key_inputs)]),
        "video": (clip_inputs, [VideoStep(pipe)(**clip_inputs)]),
        "decoder": ({"latents": clip}, [Decode(pipe)(clip)]),
        "judge": ({"frames": frames}, Read(judge)(frames)),
    }


@pytest.mark.parametrize("name", ["text", "keyframes", "video", "decoder", "judge"])
def test_each_file_computes_what_its_module_computes(exported, tiny_pipeline, judge, name):
    """To 1e-4 in float32. In eight bits, to a part of how much the answers vary at all."""
    weights, folder = exported
    inputs, wanted = cases(tiny_pipeline, judge)[name]
    for got, expected in zip(run(folder / f"{name}.onnx", inputs), wanted, strict=True):
        if weights == "float32":
            np.testing.assert_allclose(got, expected, atol=1e-4, rtol=1e-4)
        else:
            error = np.abs(got - expected.numpy()).mean() / (expected.std() + 1e-6)
            assert 0 < error < 0.05


def test_the_manifest_describes_the_files_that_are_there(exported, tiny_pipeline):
    _, folder = exported
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *manifest["files"]}
    for name, entry in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    tokenizer, encoder = manifest["tokenizer"], tiny_pipeline.text_encoder
    for i, word in enumerate([*tokenizer["special"], *tokenizer["words"]]):
        assert encoder.tokenizer.token_to_id(word) == i


def test_eight_bits_take_a_third_of_the_room_or_less(tmp_path, judge):
    from t2vlearn import TextToVideoPipeline

    pipe = TextToVideoPipeline(depth=1, convs=2, text_depth=1)
    sizes = {}
    for weights in WEIGHTS:
        folder = export_onnx(pipe, tmp_path / weights, weights, judge)
        sizes[weights] = (folder / "video.onnx").stat().st_size
    assert sizes["int8"] < sizes["float32"] / 3


def test_examples_are_inputs_that_the_modules_take(tiny_pipeline, judge):
    with torch.no_grad():
        for module, inputs, outputs in functions(tiny_pipeline, judge).values():
            answers = module(**inputs)
            assert len(outputs) == (len(answers) if isinstance(answers, tuple) else 1)


def test_an_export_replaces_an_earlier_one_and_nothing_else(tmp_path, tiny_pipeline, judge):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("dear diary")
    with pytest.raises(UserError, match="holds other files: choose an empty folder"):
        export_onnx(tiny_pipeline, mine, judge=judge)
    assert [path.name for path in mine.iterdir()] == ["diary.txt"]
    with pytest.raises(UserError, match="is a file: choose a folder"):
        export_onnx(tiny_pipeline, mine / "diary.txt", judge=judge)
    with pytest.raises(UserError, match="float32 or int8, not 'int4'"):
        export_onnx(tiny_pipeline, tmp_path / "new", "int4", judge)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
