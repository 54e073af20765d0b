"""The ONNX files say what the modules say, in onnxruntime, for captions of any length."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

from t2vlearn.errors import UserError
from t2vlearn.export import WEIGHTS, Decode, KeyframeStep, Read, VideoStep, export_onnx, functions, in_eight_bits

onnxruntime = pytest.importorskip("onnxruntime", reason="comes with the extra `export`")
onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module", params=WEIGHTS)
def exported(request, onnx_files, tmp_path_factory):
    """Which kind of weights, and the folder. Those in eight bits are made from the same graphs."""
    if request.param == "float32":
        return "float32", onnx_files
    folder = tmp_path_factory.mktemp("int8")
    for path in onnx_files.glob("*.onnx"):
        model = onnx.load(path)
        in_eight_bits(model)
        onnx.checker.check_model(model)
        onnx.save(model, folder / path.name)
    return "int8", folder


def run(path, inputs, **options):
    settings = onnxruntime.SessionOptions()
    for name, value in options.items():
        setattr(settings, name, value)
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
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
def test_each_file_computes_what_its_module_computes(exported, tiny_pipeline, tiny_judge, name):
    """To 1e-4 in float32. In eight bits, to a part of how much the answers vary at all."""
    weights, folder = exported
    inputs, wanted = cases(tiny_pipeline, tiny_judge)[name]
    for got, expected in zip(run(folder / f"{name}.onnx", inputs), wanted, strict=True):
        if weights == "float32":
            np.testing.assert_allclose(got, expected, atol=1e-4, rtol=1e-4)
        else:
            error = np.abs(got - expected.numpy()).mean() / (expected.std() + 1e-6)
            assert 0 < error < 0.05


def test_the_manifest_describes_the_files_that_are_there(onnx_files, tiny_pipeline):
    folder = onnx_files
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *manifest["files"]}
    for name, entry in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    tokenizer, encoder = manifest["tokenizer"], tiny_pipeline.text_encoder
    for i, word in enumerate([*tokenizer["special"], *tokenizer["words"]]):
        assert encoder.tokenizer.token_to_id(word) == i


def test_eight_bits_are_the_nearest_of_255_and_take_a_quarter_of_the_room():
    torch.manual_seed(0)
    weight = torch.randn(40, 64) * torch.logspace(-3, 1, 40)[:, None]
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1),
        onnx.helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]
    arrays = {"w": weight.numpy(), "b": np.zeros(40, np.float32), "v": weight.numpy()}
    graph = onnx.helper.make_graph(
        nodes, "test", [onnx.helper.make_tensor_value_info("x", 1, [1, 64])],
        [onnx.helper.make_tensor_value_info("y", 1, [1, 64])],
        [onnx.numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    before = len(model.SerializeToString())
    in_eight_bits(model)
    assert len(model.SerializeToString()) < 0.35 * before
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert stored["b"].dtype == np.float32 and stored["w.int8"].dtype == np.int8
    # Outputs are rows of a transposed Gemm and columns of a MatMul: each has a scale of its own.
    rows = stored["w.int8"] * stored["w.scale"][:, None]
    columns = stored["v.int8"] * stored["v.scale"][None]
    for restored, axis in ((rows, 1), (columns, 0)):
        step = np.abs(weight.numpy()).max(axis, keepdims=True) / 127
        assert (np.abs(restored - weight.numpy()) <= 0.5001 * step).all()
    as_written = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # or it multiplies in eight bits
    got = run(model.SerializeToString(), {"x": torch.ones(1, 64)}, graph_optimization_level=as_written)[0]
    np.testing.assert_allclose(got, np.ones((1, 64)) @ rows.T @ columns, rtol=1e-4, atol=1e-4)


def test_examples_are_inputs_that_the_modules_take(tiny_pipeline, tiny_judge):
    with torch.no_grad():
        for module, inputs, outputs in functions(tiny_pipeline, tiny_judge).values():
            answers = module(**inputs)
            assert len(outputs) == (len(answers) if isinstance(answers, tuple) else 1)


def test_an_export_replaces_an_earlier_one_and_nothing_else(tmp_path, tiny_pipeline, tiny_judge):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("dear diary")
    with pytest.raises(UserError, match="holds other files: choose an empty folder"):
        export_onnx(tiny_pipeline, mine, judge=tiny_judge)
    assert [path.name for path in mine.iterdir()] == ["diary.txt"]
    for foreign in ('{"name": "my web app"}', "[]", "no JSON", '{"files": {"app.js": {}}}'):
        (mine / "manifest.json").write_text(foreign)
        with pytest.raises(UserError, match="holds other files: choose an empty folder"):
            export_onnx(tiny_pipeline, mine, judge=tiny_judge)
    assert sorted(path.name for path in mine.iterdir()) == ["diary.txt", "manifest.json"]
    with pytest.raises(UserError, match="is a file: choose a folder"):
        export_onnx(tiny_pipeline, mine / "diary.txt", judge=tiny_judge)
    with pytest.raises(UserError, match="float32 or int8, not 'int4'"):
        export_onnx(tiny_pipeline, tmp_path / "new", "int4", tiny_judge)
    with pytest.raises(UserError, match="16 frames, and these have 8"):
        export_onnx(type(tiny_pipeline)(num_frames=8, dim=16, depth=1, num_heads=2), tmp_path / "new", judge=tiny_judge)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("named", ["../link", "."])
def test_an_export_follows_a_link_and_replaces_the_folder_that_one_stands_in(
    named, tmp_path, onnx_files, smallest_pipeline, tiny_judge, monkeypatch
):
    real = tmp_path / "real"
    shutil.copytree(onnx_files, real)
    (tmp_path / "link").symlink_to(real)
    monkeypatch.chdir(real)
    assert export_onnx(smallest_pipeline, named, judge=tiny_judge) == real
    files = json.loads((real / "manifest.json").read_text())["files"]
    before = json.loads((onnx_files / "manifest.json").read_text())["files"]
    assert files.keys() == before.keys() and files != before
    assert {path.name for path in real.iterdir()} == {"manifest.json", *files}
    assert all((real / name).stat().st_size == entry["bytes"] for name, entry in files.items())
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]
