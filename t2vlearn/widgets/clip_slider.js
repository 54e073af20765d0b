// Clips of which one is shown at a time: a slider for each axis of a grid (one axis: a row). Drag, use the arrow keys, or
// press play to run through the last axis. `pictures` holds [moving, still] pairs, the last axis fastest; the still first
// frame is for readers whose system asks for less motion.

function render({ model, el }) {
  const axes = model.get("axes"); // [[question, [label, ...]], ...]
  const sizes = axes.map(([, labels]) => labels.length);
  const last = axes.length - 1;
  const place = (index) => sizes.map((size, k) => Math.floor(index / sizes.slice(k + 1).reduce((a, b) => a * b, 1)) % size);
  const index = (at) => at.reduce((sum, i, k) => sum * sizes[k] + i, 0);

  const play = make("button", { type: "button", "aria-pressed": "false", style: BUTTON }, "Play");
  const outputs = axes.map(() => make("output", { style: "font-weight: 600" }));
  const sliders = axes.map(([question, labels]) =>
    make("input", {
      type: "range",
      min: 0,
      max: labels.length - 1,
      step: 1,
      style: "width: min(100%, 24em)",
      "aria-label": question,
    }),
  );
  const picture = make("img", {
    width: model.get("width"),
    height: model.get("height"),
    style: "display: block; margin-top: 0.5em; image-rendering: pixelated; max-width: 100%; height: auto",
  });
  const note = make("div", { style: "margin-top: 0.4em" });
  const row = "display: flex; gap: 0.8em; align-items: center; flex-wrap: wrap";
  el.replaceChildren(
    ...axes.flatMap(([question], k) => [
      make("div", {}, `${question} `, outputs[k]),
      make("div", { style: row }, sliders[k], ...(k === last && sizes[k] > 1 ? [play] : [])),
    ]),
    picture,
    note,
  );

  function show() {
    const i = model.get("index");
    const [moving, still] = model.get("pictures")[i];
    place(i).forEach((at, k) => {
      const label = axes[k][1][at];
      sliders[k].value = at;
      sliders[k].setAttribute("aria-valuetext", label);
      outputs[k].textContent = label;
    });
    picture.src = quiet() ? still : moving;
    picture.alt = model.get("alts")[i];
    note.textContent = model.get("notes")[i];
  }

  function go(axis, to) {
    const at = place(model.get("index"));
    at[axis] = to;
    model.set("index", index(at));
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
    const here = () => place(model.get("index"))[last];
    if (here() === sizes[last] - 1) go(last, 0);
    play.textContent = "Stop";
    play.setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      const next = here() + 1;
      if (next < sizes[last]) go(last, next);
      if (next >= sizes[last] - 1) stop();
    }, model.get("milliseconds"));
  });
  sliders.forEach((slider, k) =>
    slider.addEventListener("input", () => {
      stop();
      go(k, Number(slider.value));
    }),
  );
  model.on("change:index", show);
  show();
  return stop;
}

export default { render };
