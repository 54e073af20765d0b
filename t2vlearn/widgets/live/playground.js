// Type a prompt, watch the clip being made: what the reader sees. Where the model runs is the source's affair: in a worker
// of this page (`inPage`), or in a notebook's kernel (../playground.js).

import { make, quiet, tongue } from "./elements.js";
import { pieces, Words } from "./words.js";

const CHIPS = {
  en: [
    ["a red", "a blue", "a green", "a yellow", "a purple", "a brown"],
    ["puppy", "kitten", "bird", "car", "star", "heart", "circle", "square", "triangle"],
    ["moves to the left", "moves to the right", "jumps", "circles clockwise", "plays with a ball", "grows", "shrinks"],
    ["in the park", "on the beach", "at night", "in the snow", "on a plain background"],
  ],
  zh: [
    ["一只红色的", "一只蓝色的", "一只绿色的", "一只黄色的", "一只紫色的", "一只棕色的"],
    ["小狗", "小猫", "小鸟"],
    ["在公园里", "在海滩上", "在夜空下", "在雪地里"],
    ["玩耍", "跳跃", "变大", "变小"],
  ],
};
const GROUPS = { en: ["Colour", "Who", "What happens", "Where"], zh: ["颜色", "谁", "哪里", "做什么"] };

const MISSING = "The model is not there. Check the connection, and reload the page.";
const RUNTIME = 3.8e6; // bytes of onnxruntime-web as servers send it, compressed
let count = 0;

/**
 * Where a model runs: what is known of it, a line about it, one for the time until it answers, something that hears and
 * answers as worker.js does, and whether the page's address may hold a prompt.
 * @typedef {{manifest: () => Promise<Object>, note: (manifest: Object) => string, waiting: string, connect: () => Worker,
 *   linked: boolean}} Source
 */

/**
 * The model in a worker of this page.
 * @param {{model: string, runtime: string}} folders their addresses
 * @returns {Source}
 */
export function inPage({ model, runtime }) {
  document.head.append(make("link", { rel: "stylesheet", href: new URL("./playground.css", import.meta.url) }));
  return {
    manifest: () => fetch(`${model}manifest.json`, { cache: "no-cache" }).then((answer) => answer.json()),
    note(manifest) {
      const bytes = Object.values(manifest.files).reduce((sum, entry) => sum + entry.bytes, RUNTIME);
      return `With the first clip the model is fetched, ${(bytes / 1e6).toFixed(0)} MB. It runs in this page; nothing is sent.`;
    },
    waiting: "Fetching the model ...",
    connect() {
      const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
      worker.postMessage({ type: "load", model, runtime });
      return worker;
    },
    linked: true,
  };
}

/**
 * Puts a playground into a page.
 * @param {HTMLElement} el
 * @param {Source} source
 * @param {string} first the prompt that stands there at the beginning, unless the page's address has one
 * @returns {() => void} ends it
 */
export function mount(el, source, first = "a brown puppy plays in the park") {
  const own = `t2v-live-${count++}`;
  const prompt = make("input", { id: `${own}-prompt`, type: "text", autocomplete: "off", maxlength: 300, list: `${own}-words`, "aria-describedby": `${own}-unknown` });
  const known = make("datalist", { id: `${own}-words` });
  const start = make("button", { type: "submit" }, "Make the clip");
  const stop = make("button", { type: "button", disabled: true }, "Stop");
  const seed = make("input", { id: `${own}-seed`, type: "number", min: 0, max: 2 ** 32 - 1, step: 1, value: 0 });
  const steps = make("select", { id: `${own}-steps` }, ...[5, 12, 20, 40].map((n) => make("option", { selected: n === 20 }, String(n))));
  const guidance = make("input", { id: `${own}-guidance`, type: "number", min: 0, max: 10, step: 0.5 });
  const bar = make("progress", { "aria-label": "Progress", max: 1, value: 0, hidden: true });
  const status = make("p", { role: "status" });
  const unknown = make("p", { id: `${own}-unknown`, class: "t2v-live-unknown" });
  const canvas = make("canvas", { width: 32, height: 32, role: "img", "aria-label": "No clip yet" });
  const scrub = make("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Step of the making", disabled: true });
  const pause = make("button", { type: "button", disabled: true }, quiet() ? "Play" : "Pause");
  const stage = make("span", {}, "No clip yet.");
  const save = make("a", { hidden: true, download: "clip.png" }, "Download the clip");
  const link = make("a", { href: "#", hidden: !source.linked }, "Link to this prompt and its settings");
  const language = make("button", { type: "button", "aria-pressed": "false", lang: "zh" }, "中文");
  const chips = make("div", {});
  const rest = make("button", { type: "button", disabled: true }, "Say what is left open");
  const field = (node, label) => make("span", {}, make("label", { for: node.id }, label), " ", node);
  const form = make(
    "form",
    {},
    make("label", { for: prompt.id }, "Prompt, in English or Chinese"),
    make("div", { class: "t2v-live-row" }, prompt, start, stop),
    known,
    unknown,
    make("div", { class: "t2v-live-row" }, rest),
    make("details", {}, make("summary", {}, "Words to choose from"), language, chips),
    make("div", { class: "t2v-live-row" }, field(seed, "Seed"), field(steps, "Steps"), field(guidance, "Guidance")),
  );
  el.classList.add("t2v-live");
  el.replaceChildren(
    form,
    bar,
    status,
    canvas,
    make("div", { class: "t2v-live-row" }, pause, scrub, stage),
    make("div", { class: "t2v-live-row" }, save, link),
  );

  // ---------------------------------------------------------------- what is shown

  let shown = []; // one clip a step: [label, frames, prompt]
  let timer = null;
  let goOn = null; // starts the present clip's frames
  let still = quiet();
  pause.addEventListener("click", () => {
    still = !still;
    pause.textContent = still ? "Play" : "Pause";
    clearInterval(timer);
    if (!still) goOn();
  });
  function play(frames, words) {
    clearInterval(timer);
    const context = canvas.getContext("2d");
    const side = Math.sqrt(frames[0].length / 4);
    canvas.width = canvas.height = side;
    let at = 0;
    const draw = () => context.putImageData(new ImageData(frames[at++ % frames.length], side, side), 0, 0);
    draw();
    goOn = () => (timer = setInterval(draw, 125));
    if (!still) goOn();
    pause.disabled = false;
    canvas.setAttribute("aria-label", words);
  }
  function look(i) {
    const [label, frames, asked] = shown[i];
    scrub.value = String(i);
    scrub.setAttribute("aria-valuetext", label);
    stage.textContent = label;
    play(frames, `“${asked}”, ${label}`);
  }
  function add(label, frames) {
    const following = Number(scrub.value) >= shown.length - 1;
    shown.push([label, frames, wish.prompt]);
    scrub.max = String(shown.length - 1);
    scrub.disabled = shown.length < 2;
    if (following) look(shown.length - 1);
  }
  scrub.addEventListener("input", () => look(Number(scrub.value)));

  // ---------------------------------------------------------------- prompt

  let words = null;
  let usual = null; // the guidance that the weights ask for
  let wish = null;
  function settings() {
    return {
      prompt: prompt.value.trim(),
      seed: Math.min(Math.max(Math.floor(Number(seed.value)) || 0, 0), 2 ** 32 - 1),
      steps: Number(steps.value),
      guidance: guidance.value === "" ? usual : Math.min(Math.max(Number(guidance.value) || 0, 0), 10),
    };
  }
  function settle() {
    const now = settings();
    prompt.lang = tongue(now.prompt);
    link.href = `#${new URLSearchParams(Object.entries(now).filter(([, value]) => value !== null))}`;
    if (!words) return;
    const strange = [...words.unknownWords(now.prompt)];
    unknown.textContent = strange.length
      ? `Not known: ${strange.map(([word, near]) => (near.length ? `${word} (${near.join(", ")}?)` : word)).join("; ")}.`
      : "";
    const head = now.prompt.match(/^(.*?)([\p{L}]*)$/u);
    const begun = head[2].toLowerCase();
    const fit = begun ? words.words.filter((word) => word.startsWith(begun) && word !== begun).slice(0, 12) : [];
    known.replaceChildren(...fit.map((word) => make("option", { value: head[1] + word })));
  }
  function fill(parameters) {
    if (!parameters.has("prompt")) return false;
    prompt.value = parameters.get("prompt");
    for (const [name, node] of Object.entries({ seed, steps, guidance })) {
      if (parameters.has(name)) node.value = parameters.get(name);
    }
    if (!steps.value) steps.value = "20";
    settle();
    return true;
  }
  function showChips(chosen) {
    const join = chosen === "en" ? " " : "";
    chips.lang = chosen;
    chips.replaceChildren(
      ...CHIPS[chosen].map((choices, i) =>
        make(
          "div",
          { role: "group", "aria-label": GROUPS[chosen][i] },
          ...choices.map((choice) => {
            const chip = make("button", { type: "button", class: "t2v-live-chip" }, choice);
            chip.addEventListener("click", () => {
              prompt.value = prompt.value.trim() ? `${prompt.value.trim()}${join}${choice}` : choice;
              settle();
            });
            return chip;
          }),
        ),
      ),
    );
    language.setAttribute("aria-pressed", String(chosen === "zh"));
  }
  language.addEventListener("click", () => showChips(language.getAttribute("aria-pressed") === "true" ? "en" : "zh"));
  rest.addEventListener("click", () => {
    const before = prompt.value;
    prompt.value = words.extended(before);
    settle();
    if (prompt.value === before) unknown.textContent += " Nothing can be added: name one or two subjects, and leave something open.";
  });
  for (const node of [prompt, seed, steps, guidance]) node.addEventListener("input", settle);

  // ---------------------------------------------------------------- the worker

  let worker = null;
  let ready = null;
  let here = false;
  let number = Math.floor(Math.random() * 2 ** 40); // other views of a notebook hear the same kernel
  let begun = 0;
  let stopping = false;
  let pressed = 0; // how often the reader has asked or stopped: whoever waited meanwhile goes no further
  function busy(yes) {
    const [off, on] = yes ? [start, stop] : [stop, start];
    const held = el.getRootNode().activeElement === off;
    on.disabled = false;
    if (held) on.focus(); // a disabled button would lose the keyboard's place
    off.disabled = true;
    bar.hidden = !yes;
    bar.value = 0;
    stopping = false;
  }
  function fail(message) {
    busy(false);
    status.textContent = message;
  }
  function load() {
    worker ??= source.connect();
    ready ??= new Promise((resolve, reject) => {
      worker.addEventListener("message", ({ data }) => {
        if (data.type === "progress") {
          bar.value = data.done / data.total;
          // By quarters: a screen reader says each change aloud. The bar shows the rest.
          const text = `Fetching the model: ${25 * Math.floor((4 * data.done) / data.total)}%`;
          if (status.textContent !== text) status.textContent = text;
        }
        if (data.type === "ready") resolve();
        if (data.type === "error" && data.id === undefined) reject(new Error(data.message));
      });
      worker.addEventListener("error", () => {
        reject(new Error("This browser cannot run the model."));
        if (!here) return;
        end();
        fail("The model broke off. Press again to start it anew.");
      });
      worker.addEventListener("message", hear);
    });
    return ready;
  }
  function hear({ data }) {
    if (data.id !== number) return;
    if (data.type === "step") {
      // Of the work, key frames are some two thirds.
      bar.value = data.stage === "video" ? (2 + data.step / data.steps) / 3 : (2 * data.step) / data.steps / 3;
      add(`${data.stage}, step ${data.step} of ${data.steps}`, data.frames);
    }
    if (data.type === "clip") {
      add("the clip", data.frames);
      busy(false);
      status.textContent = `${verdict(data.seen)} (${((performance.now() - begun) / 1000).toFixed(1)} s)`;
      if (data.picture) {
        URL.revokeObjectURL(save.href);
        save.href = URL.createObjectURL(data.picture);
        save.hidden = false;
      }
    }
    if (data.type === "cancelled") fail("Stopped.");
    if (data.type === "error") fail(data.message);
  }
  function verdict(seen) {
    const asked = words.named(wish.prompt);
    const said = Object.entries(asked)
      .filter(([name]) => name in seen)
      .map(([key, value]) => {
        const name = key.replace("_2", " of the second");
        return seen[key] === value ? `${name} ${value} ✓` : `${name}: ${value} was asked for, the judge sees ${seen[key]}`;
      });
    const two = "subject_2" in asked ? " (Of two at once it misreads more.)" : "";
    return said.length ? `The judge: ${said.join(", ")}.${two}` : `The judge sees a ${seen.size} ${seen.colour} ${seen.subject}, ${seen.place}.`;
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    wish = settings();
    if (!pieces(wish.prompt).length) return fail("Write what the clip should show, such as “a puppy in the park”.");
    busy(true);
    const mine = ++pressed;
    try {
      await described;
      if (mine !== pressed) return;
      if (!words) return fail(MISSING);
      wish = settings();
      if (words.tokenize(wish.prompt).every((id) => id === words.unknown)) return fail("No word of the prompt is known: choose from the list.");
      if (!here) status.textContent = source.waiting;
      await load();
      if (mine !== pressed) return;
      here = true;
      shown = [];
      scrub.value = scrub.max = "0";
      scrub.disabled = true;
      save.hidden = true;
      status.textContent = "Making the clip ...";
      bar.value = 0;
      begun = performance.now();
      worker.postMessage({ type: "generate", id: ++number, wish });
    } catch (error) {
      fail(error.message);
      if (!(error instanceof RangeError)) end(); // a prompt that is too long is no fault of the model's
    }
  });
  function end() {
    worker?.terminate();
    worker = ready = null;
    here = false;
  }
  stop.addEventListener("click", () => {
    if (here && !stopping) {
      stopping = true;
      status.textContent = "Stopping after this step. Press again to stop at once.";
      return worker.postMessage({ type: "cancel", id: number });
    }
    pressed += 1;
    end();
    fail("Stopped.");
  });

  showChips("en");
  const turn = () => source.linked && fill(new URLSearchParams(location.hash.slice(1)));
  prompt.value = first;
  if (turn()) el.scrollIntoView({ block: "nearest" });
  settle();
  const described = source
    .manifest()
    .then((manifest) => {
      words = new Words(manifest.tokenizer);
      rest.disabled = false;
      usual = manifest.guidance_scale;
      if (guidance.value === "") guidance.value = String(usual);
      status.textContent = source.note(manifest);
      settle();
    })
    .catch(() => fail(MISSING));
  addEventListener("hashchange", turn);
  return () => {
    removeEventListener("hashchange", turn);
    clearInterval(timer);
    URL.revokeObjectURL(save.href);
    end();
  };
}
