// How fast does the noise grow? Shares of signal and noise, and their ratio, for three schedules whose dials can be turned.

// The factors of x_0 and of the noise at each of T steps; the same formulas as in t2vlearn/diffusion.py.
function factors(kind, T, dial) {
  const bars = [];
  let bar = 1;
  for (let t = 0; t < T; t++) {
    if (kind === "flow") {
      const even = (t + 1) / T;
      const tau = (dial * even) / (1 + (dial - 1) * even); // shift s: tau <- s tau / (1 + (s - 1) tau)
      bars.push([1 - tau, tau]);
      continue;
    }
    let beta = 1e-4 + ((dial - 1e-4) * t) / (T - 1); // linear, from 1e-4 to the dial
    if (kind === "cosine") {
      const f = (u) => Math.cos((((u / T + dial) / (1 + dial)) * Math.PI) / 2) ** 2;
      beta = Math.min(1 - f(t + 1) / f(t), 0.999);
    }
    bar *= 1 - beta; // alpha_bar: the product of all (1 - beta)
    bars.push([Math.sqrt(bar), Math.sqrt(1 - bar)]);
  }
  return bars;
}

const KINDS = {
  linear: { name: "linear β", dial: "last β", min: 0.002, max: 0.05, step: 0.001, value: 0.02 },
  cosine: { name: "cosine", dial: "offset s", min: 0.001, max: 0.1, step: 0.001, value: 0.008 },
  flow: { name: "straight lines", dial: "shift", min: 0.25, max: 6, step: 0.25, value: 1 },
};
const [W, H, LEFT, TOP] = [400, 220, 48, 30];

function render({ model, el }) {
  const T = model.get("steps");
  const kind = make("select", { "aria-label": "Schedule", style: "font: inherit" });
  for (const [key, { name }] of Object.entries(KINDS)) kind.append(make("option", { value: key }, name));
  const dial = make("input", { type: "range" });
  const dialText = make("span");
  const step = make("input", { type: "range", min: 0, max: T - 1, step: 1, value: Math.round(T / 2), "aria-label": "Step" });
  const says = make("div", { role: "status", style: "font-variant-numeric: tabular-nums" });
  const plot = make("svg:svg", { viewBox: `0 0 ${W + LEFT + 8} ${H + TOP + 34}`, role: "img", style: "width: 100%; max-width: 36em; background: white; display: block; margin-top: 0.5em" });
  const line = "display: flex; gap: 0.6em; align-items: center; flex-wrap: wrap; margin-top: 0.3em";
  el.replaceChildren(
    make("div", { style: line }, "Schedule", kind, dialText, dial),
    make("div", { style: line }, "Step", step),
    plot,
    says,
  );

  const x = (t) => LEFT + (t / (T - 1)) * W;
  const y = (v) => TOP + (1 - v) * H;
  function curve(values, colour, dashes = "none") {
    const points = values.map((v, t) => `${x(t)},${y(v)}`).join(" ");
    return make("svg:polyline", { points, fill: "none", stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dashes });
  }
  function text(content, at, attributes = {}) {
    return make("svg:text", { x: at[0], y: at[1], "font-size": 16, fill: "#222222", ...attributes }, content);
  }

  function show() {
    const { name, dial: dialName } = KINDS[kind.value];
    dialText.textContent = `${dialName} ${dial.value}`;
    dial.setAttribute("aria-label", dialName);
    const both = factors(kind.value, T, Number(dial.value));
    const t = Number(step.value);
    const [signal, noise] = both[t];
    plot.replaceChildren(
      make("svg:rect", { x: LEFT, y: TOP, width: W, height: H, fill: "none", stroke: "#BBBBBB" }),
      ...[0, 0.5, 1].map((v) => text(String(v), [LEFT - 8, y(v) + 5], { "text-anchor": "end" })),
      text("step", [LEFT + W / 2, TOP + H + 28], { "text-anchor": "middle" }),
      text("0", [LEFT, TOP + H + 18]),
      text(String(T - 1), [LEFT + W, TOP + H + 18], { "text-anchor": "end" }),
      make("svg:line", { x1: x(t), x2: x(t), y1: TOP, y2: TOP + H, stroke: "#222222", "stroke-dasharray": "4 3" }),
      curve(both.map((v) => v[0]), "#0072B2"),
      curve(both.map((v) => v[1]), "#D55E00", "7 4"),
      text("signal", [LEFT, TOP - 10], { fill: "#0072B2", "font-weight": "bold" }),
      text("noise", [LEFT + W, TOP - 10], { fill: "#B34700", "font-weight": "bold", "text-anchor": "end" }),
    );
    const snr = 2 * Math.log10(signal / noise);
    says.textContent = `At step ${t}: ${signal.toFixed(3)} of the signal, ${noise.toFixed(3)} of the noise, log₁₀ of the signal-to-noise ratio ${Number.isFinite(snr) ? snr.toFixed(1).replace("-", "−") : "−∞"}.`;
    plot.setAttribute("aria-label", `Shares of signal and noise over ${T} steps, schedule ${name}. ${says.textContent}`);
  }

  function choose() {
    const { min, max, step: by, value } = KINDS[kind.value];
    Object.assign(dial, { min, max, step: by, value });
    show();
  }
  kind.addEventListener("change", choose);
  dial.addEventListener("input", show);
  step.addEventListener("input", show);
  choose();
}

export default { render, factors };
