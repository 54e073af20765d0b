// The model in a worker, so that the page stays awake. It is fetched once (and kept by the browser), checked, and run by
// onnxruntime-web with one thread: more would need headers that plain file servers do not send.
//
// In:  {type: "load", model, runtime} addresses of the two folders; {type: "generate", id, wish}; {type: "cancel", id}
// Out: {type: "progress", done, total} bytes; {type: "ready"}; {type: "step", id, stage, step, steps, frames};
//      {type: "clip", id, frames, seen, picture}; {type: "cancelled", id}; {type: "error", id, message}

import { apng } from "./apng.js";
import { generate, pixels, reading } from "./sampler.js";
import { Words } from "./words.js";

const KEPT = "t2vlearn-model";
let ort, manifest, words;
const sessions = {};
let cancelled = false;
/** Lets messages in between two steps. */
const breathe = () => new Promise((resolve) => setTimeout(resolve));

const broken = () => {
  throw new Error("The connection broke off. Press again: what has arrived whole is kept.");
};
/** A file's address: other content, another address. */
const addressOf = (base, name, { sha256 }) => `${base}${name}?${sha256.slice(0, 16)}`;

/** Removes earlier versions of a model from the browser's store. */
async function tidy(store, base, wanted) {
  for (const { url } of (await store?.keys().catch(() => undefined)) ?? []) {
    if (url.startsWith(base) && url.includes("?") && !wanted.includes(url)) await store.delete(url).catch(() => undefined);
  }
}

/** A file of the model: from the browser's store, or fetched, counted, and compared with its checksum. */
async function file(base, name, { bytes, sha256 }, count) {
  const address = addressOf(base, name, { sha256 });
  const store = await self.caches?.open(KEPT).catch(() => undefined); // without https there is none
  const kept = await store?.match(address);
  const response = kept ?? (await fetch(address, { cache: "no-cache" }).catch(broken)); // another file may have had this name
  if (!response.ok) throw new Error(`The file ${name} could not be fetched (${response.status}). Try again later.`);
  const content = new Uint8Array(bytes);
  let at = 0;
  for await (const part of chunks(response.body)) {
    if (at + part.length > bytes) throw new Error(`The file ${name} is damaged. Press again to fetch it anew.`);
    content.set(part, at);
    at += part.length;
    count(part.length);
  }
  if (self.crypto?.subtle) {
    const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    const hex = Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== sha256) {
      await store?.delete(address);
      throw new Error(`The file ${name} is damaged. Press again to fetch it anew.`);
    }
  } else if (at !== bytes) throw new Error(`The file ${name} is damaged. Press again to fetch it anew.`);
  if (!kept) await store?.put(address, new Response(content)).catch(() => undefined); // no room: then next time again
  return content;
}

async function* chunks(stream) {
  const reader = stream.getReader();
  const next = () => reader.read().catch(broken);
  for (let part = await next(); !part.done; part = await next()) yield part.value;
}

async function load({ model, runtime }) {
  if (typeof WebAssembly !== "object") throw new Error("This browser has no WebAssembly, or it is switched off: the model cannot run here.");
  ort = await import(`${runtime}ort.wasm.min.mjs`).catch(broken);
  ort.env.wasm.wasmPaths = runtime;
  ort.env.wasm.numThreads = 1;
  const answer = await fetch(`${model}manifest.json`, { cache: "no-cache" }).catch(() => undefined);
  const store = await self.caches?.open(KEPT).catch(() => undefined);
  if (answer?.ok) await store?.put(`${model}manifest.json`, answer.clone()).catch(() => undefined);
  const described = answer?.ok ? answer : await store?.match(`${model}manifest.json`);
  if (!described) throw new Error("The model is not there. Check the connection, and try again.");
  manifest = await described.json();
  words = new Words(manifest.tokenizer);
  const files = Object.entries(manifest.files);
  await tidy(store, model, files.map(([name, entry]) => addressOf(model, name, entry)));
  const total = files.reduce((sum, [, entry]) => sum + entry.bytes, 0);
  let done = 0;
  for (const [name, entry] of files) {
    const content = await file(model, name, entry, (n) => postMessage({ type: "progress", done: (done += n), total }));
    sessions[name.replace(".onnx", "")] = await ort.InferenceSession.create(content);
  }
  postMessage({ type: "ready" });
}

/** @type {import("./sampler.js").Run} */
async function run(name, inputs) {
  const feeds = Object.fromEntries(
    sessions[name].inputNames.map((key) => {
      const { data, dims } = inputs[key];
      const kind = data instanceof Float32Array ? "float32" : data instanceof Uint8Array ? "bool" : "int64";
      return [key, new ort.Tensor(kind, data, dims)];
    }),
  );
  const outputs = await sessions[name].run(feeds);
  return Object.fromEntries(Object.entries(outputs).map(([key, { data, dims }]) => [key, { data, dims: [...dims] }]));
}

class Cancelled extends Error {}

async function make(id, wish) {
  cancelled = false;
  const tokens = { ...wish, prompt: words.tokenize(wish.prompt), negative: [words.none] };
  const latents = await generate(run, manifest, tokens, async (stage, step, steps, estimate) => {
    await breathe();
    if (cancelled) throw new Cancelled();
    const frames = pixels((await run("decoder", { latents: estimate })).frames);
    postMessage({ type: "step", id, stage, step, steps, frames });
  });
  const { frames } = await run("decoder", { latents });
  const seen = reading(manifest, await run("judge", { frames: rounded(frames) }), words.named(wish.prompt));
  const shown = pixels(frames);
  postMessage({ type: "clip", id, frames: shown, seen, picture: await apng(shown, manifest.size).catch(() => null) }); // an old browser cannot pack one
}

/** The judge looks at what is shown: colours of 8 bits. */
function rounded({ data, dims }) {
  return { data: data.map((x) => Math.round((Math.min(Math.max(x, -1), 1) + 1) * 127.5) / 127.5 - 1), dims };
}

self.onmessage = async ({ data }) => {
  try {
    if (data.type === "load") await load(data);
    if (data.type === "generate") await make(data.id, data.wish);
    if (data.type === "cancel") cancelled = true;
  } catch (error) {
    if (error instanceof Cancelled) postMessage({ type: "cancelled", id: data.id });
    else postMessage({ type: "error", id: data.id, message: String(error.message ?? error) });
  }
};
