// An animated PNG from frames: lossless, and every browser and most viewers play it.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) sum = TABLE[(sum ^ byte) & 0xff] ^ (sum >>> 8);
  return (sum ^ 0xffffffff) >>> 0;
}

function numbers(...pairs) {
  const view = new DataView(new ArrayBuffer(pairs.reduce((sum, [, size]) => sum + size, 0)));
  let at = 0;
  for (const [value, size] of pairs) {
    if (size === 4) view.setUint32(at, value);
    else if (size === 2) view.setUint16(at, value);
    else view.setUint8(at, value);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

/** A chunk: length, name, content, checksum (PNG specification, third edition, section 5.3). */
function chunk(name, ...parts) {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const body = new Uint8Array(4 + length);
  body.set(new TextEncoder().encode(name));
  let at = 4;
  for (const part of parts) {
    body.set(part, at);
    at += part.length;
  }
  return [numbers([length, 4]), body, numbers([crc32(body), 4])];
}

async function deflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * @param {Uint8ClampedArray[]} frames RGBA
 * @param {number} side pixels of the square frame
 * @param {number} scale each pixel becomes a square of so many
 * @param {number} fps
 * @returns {Promise<Blob>}
 */
export async function apng(frames, side, scale = 8, fps = 8) {
  const size = side * scale;
  const parts = [
    Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10),
    ...chunk("IHDR", numbers([size, 4], [size, 4], [8, 1], [2, 1], [0, 1], [0, 1], [0, 1])), // 8 bits, RGB
    ...chunk("acTL", numbers([frames.length, 4], [0, 4])), // for ever
  ];
  let sequence = 0;
  for (const [i, frame] of frames.entries()) {
    const raw = new Uint8Array(size * (3 * size + 1)); // each row begins with its filter: none
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const from = 4 * (Math.floor(y / scale) * side + Math.floor(x / scale));
        const to = y * (3 * size + 1) + 1 + 3 * x;
        for (let colour = 0; colour < 3; colour++) raw[to + colour] = frame[from + colour];
      }
    }
    const data = await deflated(raw);
    const control = numbers([sequence++, 4], [size, 4], [size, 4], [0, 4], [0, 4], [1, 2], [fps, 2], [0, 1], [0, 1]);
    parts.push(...chunk("fcTL", control));
    parts.push(...(i ? chunk("fdAT", numbers([sequence++, 4]), data) : chunk("IDAT", data)));
  }
  parts.push(...chunk("IEND"));
  return new Blob(parts, { type: "image/apng" });
}
