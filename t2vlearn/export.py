"""The trained pipeline as ONNX files, for runtimes without torch: a page in a browser, a phone, a server in another language.

Each file is one function without a loop; the loop over the steps is the caller's. `manifest.json` holds what else it needs:
vocabulary, process and shift that the noise levels follow from, sizes, checksums. The extra `export` brings what this takes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from t2vlearn.errors import UserError
from t2vlearn.judge import Judge, check_length
from t2vlearn.pipeline import TextToVideoPipeline
from t2vlearn.text import MAX_TOKENS, NULL, PAD, UNK, Text
from t2vlearn.world.captions import names
from t2vlearn.world.extension import plainest
from t2vlearn.world.lexicon import LANGUAGES
from t2vlearn.world.scenes import ATTRIBUTES

if TYPE_CHECKING:
    import onnx

FORMAT = 1
MANIFEST = "manifest.json"
WEIGHTS = ("float32", "int8")


# ---------------------------------------------------------------------- the functions


class KeyframeStep(nn.Module):
    """One step's guided prediction of the key frames: (x (1, c, k, h, w), tau (1, k), known (1, k), text, scale) -> as x.

    The text is a batch of two, the prompt and what guidance moves away from: null + s (text - null), `guided`.
    """

    def __init__(self, pipe: TextToVideoPipeline):
        super().__init__()
        self.denoiser, self.times = pipe.visual_encoder.denoiser, pipe.visual_encoder.keyframe_times

    def forward(self, x, tau, known, tokens, mask, pooled, scale) -> Tensor:
        """The guided prediction."""
        # Not by `guided`, which asks whether the scale is 1: a graph cannot ask.
        x, tau, known = (torch.cat([value, value]) for value in (x, tau, known))
        text, null = self.denoiser(x, tau, self.times.expand(2, -1), Text(tokens, mask, pooled), known).chunk(2)
        # null + s (text - null)
        return null + scale * (text - null)


class VideoStep(nn.Module):
    """One step's prediction of the whole clip: (x (1, c, f, h, w), tau, known (1, f), the prompt's text) -> as x."""

    def __init__(self, pipe: TextToVideoPipeline):
        super().__init__()
        self.denoiser, self.times = pipe.video_generator.denoiser, pipe.video_generator.times

    def forward(self, x, tau, known, tokens, mask, pooled) -> Tensor:
        """The prediction."""
        return self.denoiser(x, tau, self.times.expand(1, -1), Text(tokens, mask, pooled), known)


class Decode(nn.Module):
    """Latents (1, c, f, h, w) -> frames (1, 3, f, s, s) in [-1, 1], or a little outside."""

    def __init__(self, pipe: TextToVideoPipeline):
        super().__init__()
        self.codec = pipe.visual_encoder.codec

    def forward(self, latents) -> Tensor:
        """The frames."""
        return self.codec.decode(latents)


class Read(nn.Module):
    """Frames (1, 3, 16, h, w) -> the judge's logits, in the order of `ANSWERS`."""

    ANSWERS = ("place", "subject", "colour", "size", "action")

    def __init__(self, judge: Judge):
        super().__init__()
        self.judge = judge

    def forward(self, frames) -> tuple[Tensor, ...]:
        """The logits."""
        answers = self.judge(self.judge.features(frames))
        return tuple(answers[name] for name in self.ANSWERS)


def functions(pipe: TextToVideoPipeline, judge: Judge) -> dict[str, tuple[nn.Module, dict[str, Tensor], list[str]]]:
    """Name -> (module, example inputs by name, names of the outputs)."""
    c = pipe.config
    grid, length = c.size // c.down, 7

    def latents(frames: int) -> dict[str, Tensor]:
        return {
            "x": torch.randn(1, c.latent_channels, frames, grid, grid),
            "tau": torch.rand(1, frames),
            "known": torch.arange(frames)[None] == 0,
        }

    def text(n: int) -> dict[str, Tensor]:
        return {
            "tokens": torch.randn(n, length, c.dim),
            "mask": torch.ones(n, length, dtype=torch.bool),
            "pooled": torch.randn(n, c.dim),
        }

    ids = torch.full((2, length), 3)
    return {
        "text": (pipe.text_encoder, {"ids": ids, "mask": ids > 0}, ["tokens", "pooled"]),
        "keyframes": (
            KeyframeStep(pipe),
            {**latents(c.num_keyframes), **text(2), "scale": torch.tensor(3.0)},
            ["prediction"],
        ),
        "video": (VideoStep(pipe), {**latents(c.num_frames), **text(1)}, ["prediction"]),
        "decoder": (Decode(pipe), {"latents": latents(c.num_frames)["x"]}, ["frames"]),
        "judge": (Read(judge), {"frames": torch.rand(1, 3, c.num_frames, c.size, c.size)}, list(Read.ANSWERS)),
    }


# ---------------------------------------------------------------------- the files


def export_onnx(
    pipe: TextToVideoPipeline, folder: str | Path, weights: str = "int8", judge: Judge | None = None
) -> Path:
    """Write text, keyframes, video, decoder and judge as .onnx files, and `manifest.json`.

    Args:
        pipe: the model.
        folder: is made; it appears whole or not at all, and replaces an earlier export.
        weights: "float32", or "int8": matrices and convolutions in eight bits, with one scale for each output
            (`in_eight_bits`), a quarter of the size.
        judge: the judge to export; default: the bundled one.

    Returns:
        The folder.

    Raises:
        UserError: without the extra `export`, for other `weights`, clips that the judge cannot read, or a folder that cannot be
            written or holds other files.
    """
    try:
        import onnx
    except ImportError:
        raise UserError("exporting needs the extra `export`: pip install 't2vlearn[export]'") from None
    check_length(pipe.config.num_frames)
    if weights not in WEIGHTS:
        raise UserError(f"weights can be stored as {' or '.join(WEIGHTS)}, not {weights!r}")
    folder = Path(folder).resolve()  # the name of "." is empty, and its parent is itself
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file: choose a folder")
        if folder.is_dir() and not _replaceable(folder):
            raise UserError(f"{folder} holds other files: choose an empty folder or a new one")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            made = Path(temporary) / "export"
            made.mkdir()
            for name, (module, inputs, outputs) in functions(pipe, judge or Judge.from_pretrained()).items():
                model = _traced(module.eval(), inputs, outputs)
                if weights == "int8":
                    in_eight_bits(model)
                onnx.save(model, made / f"{name}.onnx")
            text = json.dumps(manifest(pipe, made), ensure_ascii=False, indent=1)
            (made / MANIFEST).write_text(text, encoding="utf-8")
            if folder.exists():
                folder.rename(Path(temporary) / "old")  # removed with the rest, once the new one stands
            made.rename(folder)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}; choose another folder") from None
    return folder


def _replaceable(folder: Path) -> bool:
    """Whether a folder is empty, or an earlier export and nothing else."""
    names = {path.name for path in folder.iterdir()}
    try:
        return not names or names == {MANIFEST, *json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _traced(module: nn.Module, inputs: dict[str, Tensor], outputs: list[str]) -> onnx.ModelProto:
    """The module as a graph, for captions of any length; the decoder takes any number of frames."""
    length, frames = torch.export.Dim("length", min=1, max=MAX_TOKENS), torch.export.Dim("frames", min=1, max=256)
    free = {"ids": {1: length}, "mask": {1: length}, "tokens": {1: length}, "latents": {2: frames}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # the exporter talks about itself
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            kwargs=inputs,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes={name: free.get(name) for name in inputs},
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")  # where in the source it came from: a third of the file
    del model.graph.value_info[:]
    return model


def in_eight_bits(model: onnx.ModelProto, smallest: int = 1024) -> None:
    """W ~ s W_8, in place: int8 W_8 = round(W / s) with s = max |W| / 127 for each output of a matrix or convolution.

    The graph multiplies them out again (DequantizeLinear) and computes in float32, unless a runtime knows how to multiply in
    eight bits. Weights of fewer than `smallest` numbers
    stay as they are, and so do those that are not plainly the weight of one kind of layer.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    axes: dict[str, set[int]] = {}  # weight -> the axis of its outputs, as each of its users sees it
    for node in graph.node:
        for position, name in enumerate(node.input):
            axes.setdefault(name, set()).add(_output_axis(node, position))
    kept, nodes = [], []
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        seen = axes.get(tensor.name, set())
        axis = next(iter(seen), -1)
        if value.dtype != np.float32 or value.size < smallest or len(seen) != 1 or axis < 0:
            kept.append(tensor)
            continue
        others = tuple(i for i in range(value.ndim) if i != axis)
        scale = np.maximum(np.abs(value).max(axis=others, keepdims=True), 1e-12) / 127
        # W_8 = round(W / s)
        eight = np.round(value / scale).astype(np.int8)
        names = {part: f"{tensor.name}.{part}" for part in ("int8", "scale")}
        kept += [
            numpy_helper.from_array(eight, names["int8"]),
            numpy_helper.from_array(scale.reshape(-1).astype(np.float32), names["scale"]),
        ]
        nodes.append(helper.make_node("DequantizeLinear", [names["int8"], names["scale"]], [tensor.name], axis=axis))
    everything = [*nodes, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(everything)


def _output_axis(node, position: int) -> int:
    """Which axis of an operator's input numbers its outputs; -1 where the input is no weight."""
    if node.op_type == "Conv" and position == 1:
        return 0
    if node.op_type == "MatMul" and position == 1:
        return 1
    if node.op_type == "Gemm" and position == 1:
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return 0 if node.op_type == "Gather" and position == 0 else -1


def manifest(pipe: TextToVideoPipeline, folder: Path) -> dict:
    """What a caller needs beside the files: `description`, and the files' sizes and checksums."""
    files = {path.name: path.read_bytes() for path in sorted(folder.glob("*.onnx"))}
    return description(pipe) | {
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
    }


def description(pipe: TextToVideoPipeline) -> dict:
    """What one needs to know of a pipeline to use it without torch: see the keys."""
    c = pipe.config
    return {
        "format": FORMAT,
        "latents": [c.latent_channels, c.size // c.down, c.size // c.down],
        "size": c.size,
        "num_frames": c.num_frames,
        "keyframe_numbers": pipe.keyframe_numbers,
        "process": c.process,
        "prediction": c.prediction,
        "shift": c.shift,
        "guidance_scale": c.guidance_scale,
        "tokenizer": {
            "special": [PAD, UNK, NULL],
            "words": list(pipe.text_encoder.words),
            "max_tokens": MAX_TOKENS,
            "plainest": {language: plainest(language) for language in LANGUAGES},
            "names": {phrase: list(meaning) for phrase, meaning in names().items()},
            "rules": "NFKC; drop control characters; space around each Chinese character; NFD without combining marks; "
            "lower case; split at spaces and punctuation; drop what is no letter and no number",
        },
        "attributes": {name: list(values) for name, values in ATTRIBUTES.items()},
        "answers": list(Read.ANSWERS),
        "info": pipe.info,
    }
