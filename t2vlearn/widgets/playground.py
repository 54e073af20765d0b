"""A prompt box with the model behind it: in a notebook that of the kernel, in a page of the book one in the browser."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import traitlets
from torch import Tensor

from t2vlearn.errors import UserError
from t2vlearn.export import description
from t2vlearn.judge import Judge, check_length
from t2vlearn.pipeline import TextToVideoPipeline, to_uint8
from t2vlearn.widgets.base import HERE, Widget, name_of, script, script_json
from t2vlearn.world import parse_prompt

#: What stands in a page until its script has begun, and for ever where the browser may not load it.
AS_FILE = (
    "The prompt box comes here. If it does not, this page was opened as a file: run <code>make serve</code>, and open the "
    "address that it names."
)


class _Cancelled(Exception):
    """The reader pressed Stop."""


def _rgba(frames: np.ndarray) -> bytes:
    """uint8 (f, h, w, 3) -> the bytes of (f, h, w, 4), as a canvas takes them."""
    return np.concatenate([frames, np.full_like(frames[..., :1], 255)], axis=-1).tobytes()


class Playground(Widget):
    """Type a prompt, watch its clip being made, hear what the judge sees in it.

    Messages are those of `live/worker.js`, with frames as one block of bytes. Clips are made in a thread of their own, so
    that the kernel hears when the reader stops one.

    Args:
        pipe: what makes the clips; default: the bundled weights.
        prompt: what stands in the box at the beginning.

    Raises:
        UserError: for a model whose clips the judge cannot read.
    """

    _esm = script("live/words.js", "live/apng.js", "live/playground.js", "playground.js")
    _css = HERE / "live" / "playground.css"
    prompt = traitlets.Unicode().tag(sync=True)
    manifest: traitlets.Dict = traitlets.Dict().tag(sync=True)

    def __init__(self, pipe: TextToVideoPipeline | None = None, prompt: str = "a brown puppy plays in the park"):
        self._pipe = pipe or TextToVideoPipeline.from_pretrained()
        check_length(self._pipe.config.num_frames)
        self._judge: Judge | None = None
        self._stopped: set[int] = set()  # clips that nobody waits for any more
        self._making = threading.Lock()
        super().__init__(prompt=prompt, manifest=description(self._pipe))
        self.on_msg(lambda _, content, buffers: self._hear(content))

    def _hear(self, content: dict) -> None:
        if content["type"] == "load":
            self.send({"type": "ready"})
        elif content["type"] == "generate":
            threading.Thread(target=self._make, args=(content["id"], content["wish"]), daemon=True).start()
        elif content["type"] == "cancel":
            self._stopped.add(content["id"])

    def _make(self, number: int, wish: dict) -> None:
        """One clip, with a message and pictures after each step."""

        def show(stage: str, step: int, steps: int, latents: Tensor) -> None:
            if number in self._stopped:
                raise _Cancelled
            frames = to_uint8(self._pipe.visual_encoder.codec.decode(latents))[0]
            self.send(
                {"type": "step", "id": number, "stage": stage, "step": step, "steps": steps},
                buffers=[_rgba(frames)],
            )

        with self._making:
            try:
                if number in self._stopped:
                    raise _Cancelled
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the page itself names unknown words
                    out = self._pipe(
                        wish["prompt"],
                        num_inference_steps=int(wish["steps"]),
                        guidance_scale=float(wish["guidance"]),
                        seed=int(wish["seed"]),
                        callback=show,
                    )
                self._judge = self._judge or Judge.from_pretrained()
                seen = self._judge.read_as_asked(out.frames, [parse_prompt(wish["prompt"])])[0]
                self.send({"type": "clip", "id": number, "seen": seen}, buffers=[_rgba(out.frames[0])])
            except _Cancelled:
                self.send({"type": "cancelled", "id": number})
            except UserError as error:
                self.send({"type": "error", "id": number, "message": str(error)})
            except Exception as error:  # else the page would wait for ever
                self.send({"type": "error", "id": number, "message": f"{type(error).__name__}: {error}"})
                raise
            finally:
                self._stopped.discard(number)

    def _static(self) -> str:
        """In a page of the book there is no kernel: the model that lies beside the pages runs in the browser."""
        name = name_of(f"playground {self.prompt}")
        return (
            f'<div id="{name}"><p>{AS_FILE}</p>'
            "<noscript><p>The model runs by JavaScript, which is switched off.</p></noscript></div>"
            '<script type="module">\n'
            'import { inPage, mount } from "../_live/playground.js";\n'
            "const here = (folder) => new URL(folder, location.href).href;\n"
            'const source = inPage({ model: here("../_live/model/"), runtime: here("../ort/") });\n'
            f'mount(document.getElementById("{name}"), source, {script_json(self.prompt)});</script>'
        )
