// Clips of which one is shown at a time: a slider for each axis of a grid (one axis: a row). Drag, use the arrow keys, or
// let those of the last axis be shown in turn. `pictures` holds [moving, still] pairs, the last axis fastest; the still first
// frame is for readers whose system asks for less motion.

function render({ model, el }) {
  const axes = model.get("axes"); // [[question, [label, ...]], ...]
  const sizes = axes.map(([, labels]) => labels.length);
  const last = axes.length - 1;
  const place = (index) => sizes.map((size, k) => Math.floor(index / sizes.slice(k + 1).reduce((a, b) => a * b, 1)) % size);
  const index = (at) => at.reduce((sum, i, k) => sum * sizes[k] + i, 0);

  const moving = model.get("pictures").some(([moves, still]) => moves !== still);
  let still = quiet();
  const sweep = make("button", { type: "button", style: BUTTON }, "Show in turn");
  const pause = make("button", { type: "button", style: BUTTON }, still ? "Play" : "Pause");
  const outputs = axes.map(() => make("span", { style: "font-weight: 600" }));
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
    style: "display: block; margin-top: 0.5em; max-width: 100%; height: auto",
  });
  // Enlarged pixels have edges; a drawing that is made smaller must not lose rows of them.
  picture.addEventListener("load", () => {
    picture.style.imageRendering = model.get("width") > picture.naturalWidth ? "pixelated" : "auto";
  });
  const note = make("div", { role: "status", style: "margin-top: 0.4em" });
  const row = "display: flex; gap: 0.8em; align-items: center; flex-wrap: wrap";
  el.replaceChildren(
    ...axes.flatMap(([question], k) => [
      make("div", {}, `${question} `, outputs[k]),
      make("div", { style: row }, sliders[k], ...(k === last && sizes[k] > 1 ? [sweep] : [])),
    ]),
    picture,
    ...(moving ? [make("div", { style: "margin-top: 0.4em" }, pause)] : []),
    note,
  );

  function show() {
    const i = model.get("index");
    const [moves, stands] = model.get("pictures")[i];
    place(i).forEach((at, k) => {
      const label = axes[k][1][at];
      sliders[k].value = at;
      sliders[k].setAttribute("aria-valuetext", label);
      outputs[k].textContent = label;
      outputs[k].lang = sliders[k].lang = tongue(label);
    });
    picture.src = still ? stands : moves;
    picture.alt = model.get("alts")[i];
    const says = model.get("notes")[i];
    if (note.textContent !== says) note.textContent = says; // each change is said aloud
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
    sweep.textContent = "Show in turn";
  }
  pause.addEventListener("click", () => {
    still = !still;
    pause.textContent = still ? "Play" : "Pause";
    show();
  });
  sweep.addEventListener("click", () => {
    if (timer) return stop();
    const here = () => place(model.get("index"))[last];
    if (here() === sizes[last] - 1) go(last, 0);
    sweep.textContent = "Stop";
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
