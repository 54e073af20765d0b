// What do training and generating cost? FLOPs, time, energy and money, from twelve dials; the same formulas as in t2vlearn/costs.py.

function costs(p) {
  const attention = 4 * p.layers * p.tokens ** 2 * p.width;
  const forward = 2 * p.parameters * p.tokens + attention; // F = 2 N n + 4 L n² d
  const training = 3 * forward * p.clips; // the backward pass costs two forward passes
  const cardDays = training / (p.peak * p.used * 86400);
  const clip = forward * p.steps * p.passes;
  const clipSeconds = clip / (p.peak * p.used);
  let implied = 0;
  if (p.published_days) implied = (p.used * cardDays) / p.published_days;
  else if (p.published_seconds) implied = (p.used * clipSeconds) / p.published_seconds;
  return {
    attention,
    forward,
    training_flops: training,
    card_days: cardDays,
    days: cardDays / p.cards,
    kwh: (cardDays * 24 * p.watts) / 1000,
    dollars: cardDays * 24 * p.price,
    clip_flops: clip,
    clip_seconds: clipSeconds,
    clip_wh: (clipSeconds * p.watts) / 3600,
    clip_dollars: (clipSeconds * p.price) / 3600,
    implied,
  };
}

// Dials: [name, label, least, most, kind]; "log" dials move in equal factors, and so do "count" dials, in billions and not in G.
const DIALS = [
  ["parameters", "Parameters", 1e4, 1e12, "count"],
  ["tokens", "Tokens of a clip", 16, 1e6, "count"],
  ["width", "Width", 16, 16384, "count"],
  ["layers", "Layers", 0, 128, "whole"],
  ["clips", "Clips in training", 1, 1e11, "count"],
  ["steps", "Sampling steps", 1, 100, "whole"],
  ["passes", "Passes a step", 1, 2, "whole"],
  ["peak", "Peak rate of a card, FLOPs a second", 1e9, 1e16, "log"],
  ["used", "Share of the peak that is used", 0.01, 1.5, "log"],
  ["cards", "Cards", 1, 100000, "count"],
  ["watts", "Watts of a card", 5, 2000, "log"],
  ["price", "Dollars a card and hour", 0.01, 10, "log"],
];

// 1234567 -> "1.23 M"; small numbers keep three figures. A billion is G, but B where things are counted.
function short(value, billion = "G") {
  if (value === 0) return "0";
  if (billion === "B" && value >= 1 && value < 1e4) return value.toLocaleString("en");
  if (value >= 1e18) {
    const power = Math.floor(Math.log10(value) + 1e-9);
    const digits = [...String(power)].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]).join("");
    return `${(value / 10 ** power).toFixed(2)} · 10${digits}`;
  }
  for (const [size, name] of [[1e15, "P"], [1e12, "T"], [1e9, billion], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return `${Number((value / size).toPrecision(3))} ${name}`;
  }
  return value < 0.0001 ? value.toExponential(1).replace("-", "−") : String(Number(value.toPrecision(3)));
}

function duration(seconds) {
  if (seconds === 0) return "0 s";
  if (seconds < 120) return `${short(seconds)} s`;
  if (seconds < 2 * 3600) return `${short(seconds / 60)} min`;
  if (seconds < 2 * 86400) return `${short(seconds / 3600)} h`;
  return `${short(seconds / 86400)} days`;
}

function energy(wh) {
  if (wh >= 1e6) return `${short(wh / 1e6)} MWh`;
  if (wh >= 1e3) return `${short(wh / 1e3)} kWh`;
  return wh >= 0.1 || wh === 0 ? `${short(wh)} Wh` : `${short(wh * 1e3)} mWh`;
}

function render({ model, el }) {
  const plans = model.get("plans");
  const p = {};
  let preset = Object.keys(plans)[0];
  const choice = make("select", { "aria-label": "Preset", style: "font: inherit; max-width: 100%" });
  for (const name of Object.keys(plans)) choice.append(make("option", { value: name }, name));
  const dials = make("div", { role: "group", "aria-label": "Inputs", style: "display: grid; grid-template-columns: repeat(auto-fill, minmax(15em, 1fr)); gap: 0.4em 1.5em; margin-top: 0.6em" });
  const table = make("table", { style: "width: 100%; margin-top: 0.8em; font-variant-numeric: tabular-nums" });
  const says = make("div", { role: "status", style: "margin-top: 0.4em" });
  const source = make("div", { style: "margin-top: 0.4em; font-size: 0.9em" });
  el.replaceChildren(make("label", {}, "Preset ", choice), dials, table, says, source);

  const shown = {};
  for (const [name, label, least, most, kind] of DIALS) {
    const log = kind !== "whole";
    const range = log ? [0, 100 * Math.round(Math.log10(most / least) * 2), 1] : [least, most, 1];
    const dial = make("input", { type: "range", min: range[0], max: range[1], step: range[2], "aria-label": label, style: "width: 100%; margin: 0" });
    const value = make("span", { style: "font-weight: bold; white-space: nowrap" });
    const top = range[1];
    dial.addEventListener("input", () => {
      const place = Number(dial.value);
      const scaled = Number((least * (most / least) ** (place / top)).toPrecision(3));
      p[name] = !log ? place : kind === "count" ? Math.round(scaled) : scaled;
      show(name);
    });
    shown[name] = (moved) => {
      value.textContent = name === "used" ? `${Number((100 * p.used).toPrecision(3))}%` : short(p[name], kind === "count" ? "B" : "G");
      // A rounded number would draw the dial back from under the reader's keys.
      if (!moved) dial.value = log ? (p[name] > 0 ? Math.round((top * Math.log(p[name] / least)) / Math.log(most / least)) : 0) : p[name];
      dial.setAttribute("aria-valuetext", value.textContent);
    };
    dials.append(make("div", {}, make("div", { style: "display: flex; justify-content: space-between; gap: 0.6em" }, label, value), dial));
  }

  function row(...cells) {
    return make("tr", {}, ...cells.map((text, i) => make(i ? "td" : "th", { ...(i ? {} : { scope: "row" }), style: `padding: 0.15em 0.4em; font-weight: ${i ? "bold" : "normal"}; text-align: ${i ? "right" : "left"}` }, text)));
  }

  function show(moved) {
    for (const [name, update] of Object.entries(shown)) update(name === moved);
    const c = costs(p);
    const head = make("tr", {}, ...["", "training", "one clip"].map((text) => make("th", { scope: "col", style: `padding: 0.15em 0.4em; text-align: ${text ? "right" : "left"}` }, text)));
    const none = "not known";
    const known = (text) => (p.clips ? text : none);
    table.replaceChildren(
      head,
      row("FLOPs", known(short(c.training_flops)), short(c.clip_flops)),
      row("time on one card", known(duration(c.card_days * 86400)), duration(c.clip_seconds)),
      row("time on all cards", known(duration(c.days * 86400)), "–"),
      row("energy of the cards", known(energy(c.kwh * 1000)), energy(c.clip_wh)),
      row("rent, dollars", known(short(c.dollars)), short(c.clip_dollars)),
    );
    const share = `Attention among all tokens is ${Math.round((100 * c.attention) / c.forward)}% of a forward pass.`;
    const given = plans[preset];
    const untouched = DIALS.every(([name]) => p[name] === given[name]);
    let compared = "";
    if (untouched && c.implied) {
      const what = p.published_days ? `${duration(p.published_days * 86400)} of one card in training` : `${short(p.published_seconds)} s a clip`;
      compared = ` Known: ${what}. If these FLOPs are right, ${Number((100 * c.implied).toPrecision(2))}% of the peak was used.`;
    }
    const whole = `Training ${known(duration(c.days * 86400))}, ${known(short(c.dollars))} dollars; one clip ${duration(c.clip_seconds)}, ${energy(c.clip_wh)}. `;
    says.textContent = whole + share + compared;
    source.textContent = untouched ? given.source : `Changed from: ${preset}.`;
  }

  function choose() {
    preset = choice.value;
    Object.assign(p, plans[preset]);
    show();
  }
  choice.addEventListener("change", choose);
  choose();
}

export default { render, costs };
