// Which words does a word look at? Choose layer and head, then a word; the others are shaded by their weight.

function choice(name, options) {
  const select = make("select", { "aria-label": name, style: "font: inherit; margin-right: 1em" });
  options.forEach((text, i) => select.append(make("option", { value: i }, text)));
  return select;
}

// Mean over the heads of weights [head][from][to].
function mean(heads) {
  return heads[0].map((row, i) => row.map((_, j) => heads.reduce((sum, head) => sum + head[i][j], 0) / heads.length));
}

function render({ model, el }) {
  const words = model.get("words");
  const weights = model.get("weights"); // [layer][head][from][to]
  const layer = choice("Layer", weights.map((_, i) => `layer ${i + 1}`));
  const head = choice("Head", ["mean of all heads", ...weights[0].map((_, i) => `head ${i + 1}`)]);
  const row = make("div", { role: "group", "aria-label": "The word that looks", style: "display: flex; flex-wrap: wrap; gap: 0.3em; margin: 0.6em 0" });
  const says = make("div", { role: "status" });
  const buttons = words.map((word, i) => {
    const share = make("small", { style: "display: block; font-variant-numeric: tabular-nums" });
    const button = make("button", { type: "button", style: "font: inherit; padding: 0.3em 0.5em; border: 2px solid transparent; border-radius: 4px; color: #222222" }, word, share);
    button.addEventListener("click", () => {
      model.set("word", i);
      model.save_changes();
      show();
    });
    row.append(button);
    return [button, share];
  });

  function show() {
    const from = model.get("word");
    const heads = weights[Number(layer.value)];
    const table = head.value === "0" ? mean(heads) : heads[Number(head.value) - 1];
    buttons.forEach(([button, share], i) => {
      const weight = table[from][i];
      // Okabe and Ito's sky blue on white: dark text stays readable on every shade.
      button.style.background = `color-mix(in srgb, #56B4E9 ${Math.round(100 * weight)}%, white)`;
      button.style.borderColor = i === from ? "#D55E00" : "#BBBBBB";
      button.setAttribute("aria-pressed", String(i === from));
      share.textContent = `${Math.round(100 * weight)}%`;
    });
    const most = table[from].indexOf(Math.max(...table[from]));
    says.textContent = `“${words[from]}” looks most at “${words[most]}”.`;
  }

  layer.addEventListener("change", show);
  head.addEventListener("change", show);
  model.on("change:word", show);
  el.replaceChildren(make("div", {}, layer, head), row, says);
  show();
}

export default { render };
