// Clips of which one is shown at a time: drag the slider, use the arrow keys, or press play to run through them.
// Every other clip of `pictures` is a still first frame, for readers whose system asks for less motion.

const quiet = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function render({ model, el }) {
  const labels = model.get("labels");
  const shown = make("output", { style: "font-weight: 600" });
  const slider = make("input", { type: "range", min: 0, max: labels.length - 1, step: 1, style: "width: min(100%, 24em)" });
  slider.setAttribute("aria-label", model.get("question"));
  const play = make("button", { type: "button", "aria-pressed": "false" }, "Play");
  const picture = make("img", {
    width: model.get("width"),
    height: model.get("height"),
    style: "display: block; margin-top: 0.5em; image-rendering: pixelated; max-width: 100%; height: auto",
  });
  const note = make("div");
  el.replaceChildren(
    make("div", {}, `${model.get("question")} `, shown),
    make("div", { style: "display: flex; gap: 0.8em; align-items: center; flex-wrap: wrap" }, slider, play),
    picture,
    note,
  );

  function show() {
    const i = model.get("index");
    const [moving, still] = model.get("pictures")[i];
    slider.value = i;
    slider.setAttribute("aria-valuetext", labels[i]);
    shown.textContent = labels[i];
    picture.src = quiet() ? still : moving;
    picture.alt = model.get("alts")[i];
    note.textContent = model.get("notes")[i];
  }

  function go(i) {
    model.set("index", i);
    model.save_changes();
    show();
  }

  let timer = null;
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  }
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (model.get("index") === labels.length - 1) go(0);
    play.textContent = "Stop";
    play.setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      const next = model.get("index") + 1;
      if (next < labels.length) go(next);
      if (next >= labels.length - 1) stop();
    }, model.get("milliseconds"));
  });
  slider.addEventListener("input", () => {
    stop();
    go(Number(slider.value));
  });
  model.on("change:index", show);
  show();
  return stop;
}

export default { render };
