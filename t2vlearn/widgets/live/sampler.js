// From a prompt to a clip: the steps of `TextToVideoPipeline.__call__`, with the networks behind `run`.

import { Normal } from "./random.js";

/**
 * @typedef {Object} Tensor
 * @property {Float32Array|BigInt64Array|Uint8Array} data
 * @property {number[]} dims
 */
/**
 * @callback Run calls a network: its name and inputs by name, to its outputs by name
 * @param {string} name
 * @param {Object<string, Tensor>} inputs
 * @returns {Promise<Object<string, Tensor>>}
 */

/**
 * Noise levels from 1 to 0, shifted: tau <- s tau / (1 + (s - 1) tau).
 * @param {number} steps
 * @param {number} shift
 */
export function levels(steps, shift) {
  return Array.from({ length: steps + 1 }, (_, i) => 1 - i / steps).map((tau) => (shift * tau) / (1 + (shift - 1) * tau));
}

/**
 * What sampling starts from: `TextToVideoPipeline.initial_noise`.
 * @param {Object} manifest
 * @param {number} seed
 */
export function initialNoise(manifest, seed) {
  const [c, h, w] = manifest.latents;
  const normal = new Normal(seed);
  const frames = normal.draw(c * manifest.num_frames * h * w);
  return { frames, keyframes: normal.draw(c * manifest.keyframe_numbers.length * h * w) };
}

/**
 * Encodes prompts as one batch.
 * @param {Run} run
 * @param {number[][]} rows token ids of each prompt
 */
export async function encode(run, rows) {
  const length = Math.max(...rows.map((row) => row.length));
  const ids = new BigInt64Array(rows.length * length);
  rows.forEach((row, i) => row.forEach((id, j) => (ids[i * length + j] = BigInt(id))));
  const mask = Uint8Array.from(ids, (id) => Number(id !== 0n));
  const dims = [rows.length, length];
  const { tokens, pooled } = await run("text", { ids: { data: ids, dims }, mask: { data: mask, dims } });
  return { tokens, mask: { data: mask, dims }, pooled };
}

/** The first of a batch. @param {Tensor} batch */
function firstOf({ data, dims }) {
  const [n, ...rest] = dims;
  return { data: data.slice(0, data.length / n), dims: [1, ...rest] };
}

/**
 * Walks from noise to data. x <- x_0 + (tau' / tau) (x - x_0) where a frame is not known.
 * @param {(x: Tensor, tau: Tensor) => Promise<Tensor>} denoise
 * @param {Tensor} x (1, c, f, h, w); clean where known
 * @param {boolean[]} known
 * @param {number[]} path noise levels
 * @param {string} prediction "x_0" or "v"
 * @param {(step: number, estimate: Tensor) => Promise<void>} onStep
 */
export async function walk(denoise, x, known, path, prediction, onStep) {
  const [, c, f, h, w] = x.dims;
  const cells = h * w;
  const data = Float32Array.from(x.data);
  for (let step = 0; step < path.length - 1; step++) {
    const [tau, next] = [path[step], path[step + 1]];
    const level = { data: Float32Array.from(known, (given) => (given ? 0 : tau)), dims: [1, f] };
    const said = (await denoise({ data, dims: x.dims }, level)).data;
    const estimate = Float32Array.from(data);
    for (let i = 0; i < data.length; i++) {
      if (known[Math.floor(i / cells) % f]) continue;
      const clean = prediction === "x_0" ? said[i] : data[i] - tau * said[i];
      estimate[i] = clean;
      data[i] = clean + (next / tau) * (data[i] - clean);
    }
    await onStep(step + 1, { data: estimate, dims: [1, c, f, h, w] });
  }
  return { data, dims: x.dims };
}

/**
 * @param {Run} run
 * @param {Object} manifest
 * @param {{prompt: number[], negative: number[], seed: number, steps: number, guidance: number}} wish token ids and numbers
 * @param {(stage: string, step: number, steps: number, estimate: Tensor) => Promise<void>} onStep
 * @returns {Promise<Tensor>} latents (1, c, f, h, w)
 */
export async function generate(run, manifest, wish, onStep) {
  const [c, h, w] = manifest.latents;
  const [f, times] = [manifest.num_frames, manifest.keyframe_numbers];
  const cells = h * w;
  const noise = initialNoise(manifest, wish.seed);
  const pair = await encode(run, [wish.prompt, wish.negative]);
  const one = Object.fromEntries(Object.entries(pair).map(([name, part]) => [name, firstOf(part)]));

  const dims = [1, c, times.length, h, w];
  const drawKeyframes = (data, known, steps, done) =>
    walk(
      async (x, tau) =>
        (
          await run("keyframes", {
            x,
            tau,
            known: { data: Uint8Array.from(known, Number), dims: [1, times.length] },
            ...pair,
            scale: { data: Float32Array.of(wish.guidance), dims: [] },
          })
        ).prediction,
      { data, dims },
      known,
      levels(steps, manifest.shift),
      manifest.prediction,
      (step, estimate) => onStep("key frames", done + step, wish.steps, estimate),
    );
  // As in VisualEncoder.generate: half of the steps for the first key frame, the others for the rest around it.
  const half = Math.floor(wish.steps / 2);
  const none = times.map(() => false);
  if (half) {
    const { data } = await drawKeyframes(noise.keyframes, none, half, 0);
    for (let channel = 0; channel < c; channel++) {
      const at = channel * times.length * cells;
      noise.keyframes.set(data.subarray(at, at + cells), at);
    }
  }
  const first = times.map((_, k) => half > 0 && k === 0);
  const keyframes = await drawKeyframes(noise.keyframes, first, wish.steps - half, half);

  const start = noise.frames;
  for (let channel = 0; channel < c; channel++) {
    times.forEach((time, k) => {
      const from = (channel * times.length + k) * cells;
      start.set(keyframes.data.subarray(from, from + cells), (channel * f + time) * cells);
    });
  }
  const known = Array.from({ length: f }, (_, i) => times.includes(i));
  const given = { data: Uint8Array.from(known, Number), dims: [1, f] };
  const between = Math.max(2, Math.ceil(wish.steps / 5)); // as in steps_between
  return walk(
    async (x, tau) => (await run("video", { x, tau, known: given, ...one })).prediction,
    { data: start, dims: [1, c, f, h, w] },
    known,
    levels(between, manifest.shift),
    manifest.prediction,
    (step, estimate) => onStep("video", step, between, estimate),
  );
}

/**
 * What the judge sees of one actor, or of the two that a prompt names, in its order: `Judge.read_as_asked`.
 * @param {Object} manifest
 * @param {Object<string, Tensor>} answers
 * @param {Object<string, string>} asked what the prompt names
 * @returns {Object<string, string>}
 */
export function reading(manifest, answers, asked) {
  const largest = (values) => values.indexOf(Math.max(...values));
  const { attributes } = manifest;
  const seen = { place: attributes.place[largest([...answers.place.data])] };
  const sure = [...answers.subject.data];
  const surest = sure.map((_, i) => i).sort((a, b) => sure[b] - sure[a]);
  const order = surest.slice(0, "subject_2" in asked ? 2 : 1);
  if (order.length > 1 && attributes.subject[order[1]] === asked.subject) order.reverse();
  order.forEach((subject, i) => {
    const suffix = i ? "_2" : "";
    seen[`subject${suffix}`] = attributes.subject[subject];
    for (const name of ["colour", "size", "action"]) {
      const n = attributes[name].length;
      seen[name + suffix] = attributes[name][largest([...answers[name].data.subarray(subject * n, (subject + 1) * n)])];
    }
  });
  return seen;
}

/**
 * round(127.5 (clamp(x, -1, 1) + 1)), as pixels of a canvas.
 * @param {Tensor} frames (1, 3, f, s, s)
 * @returns {Uint8ClampedArray[]} a frame each, RGBA
 */
export function pixels(frames) {
  const [, , f, h, w] = frames.dims;
  const area = h * w;
  return Array.from({ length: f }, (_, t) => {
    const rgba = new Uint8ClampedArray(4 * area).fill(255);
    for (let colour = 0; colour < 3; colour++) {
      const from = (colour * f + t) * area;
      for (let i = 0; i < area; i++) {
        const value = Math.min(Math.max(frames.data[from + i], -1), 1);
        rgba[4 * i + colour] = Math.round(127.5 * (value + 1));
      }
    }
    return rgba;
  });
}
