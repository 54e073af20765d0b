// A small grid to draw on: press and drag, or move with the arrow keys and paint with the space bar. `pixels` holds a
// letter a cell, row by row: "." is empty, other letters are those of `palette`, [[letter, name, css colour], ...].

const EMPTY = ".";

function render({ model, el }) {
  const side = model.get("side");
  const palette = [...model.get("palette"), [EMPTY, "eraser", "transparent"]];
  const css = Object.fromEntries(palette.map(([letter, , colour]) => [letter, colour]));
  const names = Object.fromEntries(palette.map(([letter, name]) => [letter, name]));
  let brush = palette[0][0];
  let at = [Math.floor(side / 2), Math.floor(side / 2)]; // column, row
  let typed = false; // whether the keys were used last: then the cell that they are at is framed

  const canvas = make("canvas", {
    width: side,
    height: side,
    tabindex: 0,
    role: "application",
    "aria-label": `Drawing of ${side} by ${side} cells: arrow keys move, the space bar paints`,
    style:
      "width: min(100%, 320px); aspect-ratio: 1; image-rendering: pixelated; touch-action: none; border: 1px solid #888; " +
      "background: repeating-conic-gradient(#ddd 0% 25%, #fff 0% 50%) 0 0 / 20px 20px",
  });
  const frame = make("div", {
    style: `position: absolute; width: ${100 / side}%; height: ${100 / side}%; outline: 2px solid #d0f; pointer-events: none; display: none`,
  });
  const board = make("div", { style: "position: relative; width: min(100%, 320px); line-height: 0" }, canvas, frame);
  const says = make("div", { role: "status", style: "min-height: 1.5em" });
  const choices = palette.map(([letter, name, colour]) => {
    const swatch = `display: inline-block; width: 0.9em; height: 0.9em; margin-right: 0.4em; border: 1px solid #888; background: ${colour}`;
    const button = make("button", { type: "button", style: BUTTON }, make("span", { style: swatch }), name);
    button.addEventListener("click", () => {
      brush = letter;
      choose();
    });
    return button;
  });
  const clear = make("button", { type: "button", style: BUTTON }, "Clear");
  const save = make("a", { download: "drawing.png", style: BUTTON + "; text-decoration: none" }, "Download PNG");
  const row = "display: flex; gap: 0.4em; flex-wrap: wrap; margin: 0.4em 0";
  const colours = make("div", { style: row, role: "group", "aria-label": "Colour" }, ...choices);
  el.replaceChildren(colours, board, make("div", { style: row }, clear, save), says);

  const ink = canvas.getContext("2d");
  function show() {
    const pixels = model.get("pixels");
    ink.clearRect(0, 0, side, side);
    for (let i = 0; i < side * side; i++) {
      if (pixels[i] === EMPTY) continue;
      ink.fillStyle = css[pixels[i]];
      ink.fillRect(i % side, Math.floor(i / side), 1, 1);
    }
    save.href = canvas.toDataURL("image/png");
  }
  function choose() {
    choices.forEach((button, i) => {
      const chosen = palette[i][0] === brush;
      button.setAttribute("aria-pressed", String(chosen));
      button.style.boxShadow = chosen ? "0 0 0 2px currentColor" : "none"; // not the outline, which shows the focus
    });
  }
  function tell() {
    const [column, line] = at;
    const here = names[model.get("pixels")[line * side + column]];
    says.textContent = `column ${column + 1}, row ${line + 1}: ${here === "eraser" ? "empty" : here}`;
    frame.style.display = typed ? "block" : "none";
    frame.style.left = `${(100 * column) / side}%`;
    frame.style.top = `${(100 * line) / side}%`;
  }
  function paint([column, line]) {
    const i = line * side + column;
    const pixels = model.get("pixels");
    if (pixels[i] !== brush) {
      model.set("pixels", pixels.slice(0, i) + brush + pixels.slice(i + 1));
      show();
    }
  }
  function line(from, to) {
    const n = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]), 1);
    for (let k = 0; k <= n; k++) paint([0, 1].map((d) => Math.round(from[d] + ((to[d] - from[d]) * k) / n)));
  }
  function under(event) {
    const box = canvas.getBoundingClientRect();
    const cell = (x, start, length) => Math.min(Math.max(Math.floor(((x - start) / length) * side), 0), side - 1);
    return [cell(event.clientX, box.left, box.width), cell(event.clientY, box.top, box.height)];
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    typed = false;
    at = under(event);
    paint(at);
    tell();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const to = under(event);
    line(at, to);
    at = to;
    tell();
  });
  canvas.addEventListener("lostpointercapture", () => model.save_changes()); // also where the system takes the finger away
  canvas.addEventListener("focus", () => {
    typed = canvas.matches(":focus-visible");
    tell();
  });
  canvas.addEventListener("blur", () => {
    frame.style.display = "none";
  });
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.key === " ") {
      paint(at);
      model.save_changes();
    } else if (moves[event.key]) {
      at = at.map((x, d) => Math.min(Math.max(x + moves[event.key][d], 0), side - 1));
    } else return;
    event.preventDefault();
    typed = true;
    tell();
  });
  clear.addEventListener("click", () => {
    model.set("pixels", EMPTY.repeat(side * side));
    model.save_changes();
    show();
    tell();
  });
  model.on("change:pixels", show);
  choose();
  show();
}

export default { render };
