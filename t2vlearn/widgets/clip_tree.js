// A clip that goes on as the player chooses: keys or buttons. `clips` maps what was chosen so far ("" at the beginning, then one
// digit a choice) to a segment: its frames side by side in one picture, how many they are, words for it, and a note. Where a
// kernel listens, it makes the segments that are not there yet; in a page, the story ends with those that are.

function render({ model, el }) {
  const clips = { ...model.get("clips") };
  const actions = model.get("actions"); // [[key, label], ...]
  const size = model.get("size");
  const live = typeof model.send === "function";
  const symbols = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

  const screen = make("canvas", {
    width: size,
    height: size,
    role: "img",
    style: `display: block; width: min(100%, ${model.get("width")}px); image-rendering: pixelated`,
  });
  const buttons = actions.map(([key, label]) => make("button", { type: "button", style: BUTTON }, `${symbols[key] ?? key} ${label}`));
  const again = make("button", { type: "button", style: BUTTON }, "Start again");
  const replay = make("button", { type: "button", style: BUTTON }, "Play this clip");
  const says = make("div", { role: "status", style: "margin-top: 0.4em; min-height: 3em" });
  const row = make("div", { style: "display: flex; gap: 0.5em; flex-wrap: wrap; margin-top: 0.5em" }, ...buttons, again, ...(quiet() ? [replay] : []));
  const stage = make("div", { role: "group", "aria-label": model.get("question"), tabindex: 0, style: "width: fit-content; padding: 0.4em" }, make("div", {}, model.get("question")), screen, row, says);
  el.replaceChildren(stage);

  const ink = screen.getContext("2d");
  let path = "";
  let timer = null;
  let playing = false;
  let wish = null; // what was pressed while a segment was still playing
  let asked = null; // what the kernel is making

  function can(choice) {
    return live || path + choice in clips;
  }

  function describe() {
    const chosen = [...path].map((digit) => actions[digit][1]);
    const { note } = clips[path];
    const end = live || buttons.some((_, i) => can(i)) ? "" : " The prepared clips end here.";
    says.textContent = (chosen.length ? `${chosen.join(", then ")}. ${note}${end}` : note).trim();
    const held = buttons.indexOf(el.getRootNode().activeElement);
    buttons.forEach((button, i) => {
      button.toggleAttribute("disabled", !can(i));
      button.style.opacity = can(i) ? 1 : 0.4;
    });
    if (held >= 0 && !can(held)) again.focus(); // a disabled button would lose the keyboard's place
  }

  async function play(moving = !quiet()) {
    const { strip, frames, alt } = clips[path];
    playing = true;
    const picture = new Image();
    picture.src = strip;
    try {
      await picture.decode();
    } catch {
      playing = false;
      says.textContent = "This clip cannot be shown.";
      return;
    }
    screen.setAttribute("aria-label", alt);
    describe();
    let frame = moving ? 0 : frames - 1;
    clearInterval(timer);
    const draw = () => ink.drawImage(picture, -frame * size, 0);
    draw();
    timer = setInterval(() => {
      if (++frame < frames) return draw();
      clearInterval(timer);
      playing = false;
      if (wish !== null) go(wish);
    }, 1000 / model.get("fps"));
  }

  function go(choice) {
    wish = playing && can(choice) ? choice : null; // a segment is always shown to its end
    if (wish !== null) says.textContent = `Next: ${actions[choice][1]}.`;
    if (playing || asked !== null || !can(choice)) return;
    const next = path + choice;
    if (next in clips) {
      path = next;
      play();
    } else {
      asked = next;
      says.textContent = "The kernel makes the next clip …";
      model.send({ type: "go", path: next });
    }
  }

  buttons.forEach((button, i) => button.addEventListener("click", () => go(i)));
  again.addEventListener("click", () => {
    path = "";
    wish = asked = null;
    play();
  });
  replay.addEventListener("click", () => play(true));
  stage.addEventListener("keydown", (event) => {
    const choice = actions.findIndex(([key]) => key === event.key);
    if (choice < 0 || event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
    event.preventDefault();
    if (!event.repeat) go(choice); // a key that is held chooses once
  });
  model.on("msg:custom", (content) => {
    if (content.type === "clip") clips[content.path] = content.clip;
    if (content.path !== asked) return; // another view asked, or the player has begun again meanwhile
    asked = null;
    if (content.type === "error") {
      describe();
      says.textContent = "The kernel could not make this clip; its log says why.";
      return;
    }
    path = content.path;
    play();
  });
  play();
  return () => clearInterval(timer);
}

export default { render };
