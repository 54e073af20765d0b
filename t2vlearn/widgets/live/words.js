// Prompts: cut into pieces as the Python tokenizer cuts them, looked up, and read for what they name.

const CHINESE = /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;

/** What `parse_prompt` takes for a word: one Chinese character, or letters and digits, with apostrophes inside. */
const WORD = /[\u3400-\u9fff]|(?:(?![\u3400-\u9fff])[\p{L}\p{N}])+(?:['’](?:(?![\u3400-\u9fff])[\p{L}\p{N}])+)*/gu;

/**
 * The words and characters that are looked up: `TextEncoder.pieces`.
 * @param {string} text
 * @returns {string[]}
 */
export function pieces(text) {
  const plain = text
    .replace(/\p{Cs}/gu, "?")
    .normalize("NFKC")
    .replace(/[\t\n\r]|\p{White_Space}/gu, " ")
    .replace(/[\p{C}\ufffd]/gu, "")
    .replace(CHINESE, " $& ")
    .normalize("NFD")
    .replace(/\p{Mn}/gu, "");
  const lower = Array.from(plain, (letter) => letter.toLowerCase()).join("");
  return lower.match(/[\p{L}\p{N}]+/gu) ?? [];
}

const CHANGING = ["grows", "shrinks"]; // actions that leave no size to be named

/** A vocabulary from the manifest, and what can be asked of it. */
export class Words {
  /** @param {{special: string[], words: string[], max_tokens: number, names: Object<string, [string, string]>,
   *   plainest: Object<string, Object<string, Object<string, string>>>}} tokenizer */
  constructor(tokenizer) {
    this.maxTokens = tokenizer.max_tokens;
    this.words = tokenizer.words;
    this.ids = new Map([...tokenizer.special, ...tokenizer.words].map((word, i) => [word, i]));
    const [, unknown, none] = tokenizer.special;
    this.unknown = this.ids.get(unknown);
    this.none = this.ids.get(none);
    this.plainest = tokenizer.plainest;
    this.names = new Map(Object.entries(tokenizer.names));
    const longest = [...this.names.keys()].sort((a, b) => b.length - a.length);
    this.reader = new RegExp(`(?<!\\S)(?:${longest.join("|")})(?!\\S)`, "gu");
  }

  /**
   * Token ids of a prompt; the empty one is a token of its own: `TextEncoder.tokenize`.
   * @param {string} prompt
   * @returns {number[]}
   */
  tokenize(prompt) {
    const ids = pieces(prompt).map((piece) => this.ids.get(piece) ?? this.unknown);
    if (ids.length > this.maxTokens) throw new RangeError(`The prompt has ${ids.length} words; at most ${this.maxTokens} fit.`);
    return ids.length ? ids : [this.none];
  }

  /**
   * Unknown words, each with up to three known ones that are spelt alike.
   * @param {string} prompt
   * @returns {Map<string, string[]>}
   */
  unknownWords(prompt) {
    const found = pieces(prompt).filter((piece) => !this.ids.has(piece));
    return new Map(found.map((piece) => [piece, this.near(piece)]));
  }

  /** @param {string} word */
  near(word) {
    return this.words
      .map((known) => [likeness(word, known), known])
      .filter(([share]) => share >= 0.6)
      .sort((a, b) => b[0] - a[0])
      .slice(0, 3)
      .map(([, known]) => known);
  }

  /**
   * What a prompt names: `parse_prompt`. "colour_2" and so on belong to a second actor.
   * @param {string} prompt
   * @returns {Object<string, string>}
   */
  named(prompt) {
    const text = prompt.normalize("NFKC").toLowerCase().match(WORD) ?? [];
    /** @type {Object<string, string>} */
    const named = {};
    const subjects = [];
    let adjectives = [];
    let current = 0;
    const keys = [...text.join(" ").matchAll(this.reader)].map(([key]) => this.names.get(key));
    for (const [attribute, value] of [...keys, ["", ""]]) {
      if (attribute === "colour" || attribute === "size") {
        adjectives.push([attribute, value]);
        continue;
      }
      if (attribute === "subject") {
        if (!subjects.includes(value)) subjects.push(value);
        current = subjects.indexOf(value);
      }
      let found = [[attribute, value]];
      if (attribute === "subject" || attribute === "") {
        found = [...found, ...adjectives];
        adjectives = [];
      }
      for (const [name, word] of found) {
        if (name !== "place" && (name === "" || current > 1)) continue;
        named[name === "place" || !current ? name : `${name}_2`] ??= word;
      }
    }
    return named;
  }

  /**
   * The plainest sentence that says what a prompt says, and all that it leaves open, drawn; the prompt where there is none.
   * `extend_prompt` draws the sentence, too.
   * @param {string} prompt
   * @param {() => number} draw from 0 to below 1
   * @returns {string}
   */
  extended(prompt, draw = Math.random) {
    const phrases = this.plainest[/[\u3400-\u9fff]/.test(prompt) ? "zh" : "en"];
    const said = this.named(prompt);
    const all = { ...said };
    const actors = ["", "_2"].filter((end) => `subject${end}` in said);
    const settle = (name, end, fits = () => true) => {
      const values = Object.keys(phrases[name]).filter(fits);
      all[name + end] ??= values[Math.floor(draw() * values.length)];
    };
    settle("place", "");
    for (const end of actors) {
      const sized = `size${end}` in said;
      settle("colour", end);
      settle("action", end, (action) => !sized || !CHANGING.includes(action));
      if (!CHANGING.includes(all[`action${end}`])) settle("size", end);
      else if (sized) return prompt; // a small car that grows
    }
    if (!actors.length || Object.keys(all).length === Object.keys(said).length) return prompt;
    const text = phrases.pattern[actors.length]
      .replace(/{([a-z]+)(2?)}/g, (_, name, two) => phrases[name][all[(name === "mw" ? "subject" : name) + (two && "_2")]] ?? "")
      .replace(/ +/g, " ");
    return this.unknownWords(text).size ? prompt : text; // weights that know other words
  }
}

/** 2 m / (a + b), m the length of the longest common subsequence: near to difflib's ratio. */
function likeness(a, b) {
  let row = new Array(b.length + 1).fill(0);
  for (const letter of a) {
    const next = [0];
    for (let j = 0; j < b.length; j++) next.push(letter === b[j] ? row[j] + 1 : Math.max(row[j + 1], next[j]));
    row = next;
  }
  return (2 * row[b.length]) / (a.length + b.length);
}
