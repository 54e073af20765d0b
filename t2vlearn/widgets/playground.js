// The playground of live/playground.js in a notebook: the kernel makes the clips. `Playground` in Python puts this file behind
// those of live/ that it needs, for a notebook takes one file only.

/** Frames from one block of bytes. */
function cut(buffer, side) {
  const bytes = new Uint8ClampedArray(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  const size = 4 * side * side;
  return Array.from({ length: bytes.length / size }, (_, i) => bytes.slice(i * size, (i + 1) * size));
}

/** The kernel, which hears and answers as live/worker.js does. */
function kernel(model) {
  const answers = new EventTarget();
  const { size } = model.get("manifest");
  async function hear(data, [buffer]) {
    const frames = buffer ? cut(buffer, size) : null;
    const picture = data.type === "clip" ? await apng(frames, size) : null;
    answers.dispatchEvent(new MessageEvent("message", { data: { ...data, frames, picture } }));
  }
  let last; // the clip that was asked for
  model.on("msg:custom", hear);
  model.send({ type: "load" });
  return {
    postMessage(data) {
      last = data.id ?? last;
      model.send(data);
    },
    addEventListener: (...listener) => answers.addEventListener(...listener),
    terminate() {
      model.off("msg:custom", hear);
      if (last !== undefined) model.send({ type: "cancel", id: last });
    },
  };
}

function render({ model, el }) {
  const source = {
    manifest: async () => model.get("manifest"),
    note: () => "The clips are made by this notebook's kernel.",
    waiting: "Waiting for the kernel: it may be running another cell.",
    connect: () => kernel(model),
    linked: false,
  };
  return mount(el, source, model.get("prompt"));
}

export default { render };
