// The noise of a seed: the same numbers as torch.randn with torch.Generator().manual_seed(seed) on a CPU.

/** Matsumoto & Nishimura 1998, "Mersenne Twister", the 32-bit generator that torch uses. */
class Mersenne {
  /** @param {number} seed whole, from 0; its lowest 32 bits count, as in torch */
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = Number(BigInt(seed) & 0xffffffffn);
    for (let i = 1; i < 624; i++) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, before) + i;
    }
    this.at = 624;
  }

  /** @returns {number} the next 32 bits */
  next() {
    if (this.at === 624) this.#twist();
    let y = this.state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #twist() {
    const s = this.state;
    for (let i = 0; i < 624; i++) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % 624] & 0x7fffffff);
      s[i] = s[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.at = 0;
  }
}

/** Standard normal numbers, drawn as torch draws tensors of 16 numbers or more: Box and Muller 1958, in blocks of 16. */
export class Normal {
  /** @param {number} seed */
  constructor(seed) {
    this.bits = new Mersenne(seed);
  }

  /**
   * @param {number} n a multiple of 16
   * @returns {Float32Array}
   */
  draw(n) {
    if (n % 16) throw new RangeError(`${n} numbers are asked for: only multiples of 16 are drawn as torch does`);
    const z = new Float32Array(n);
    for (let i = 0; i < n; i++) z[i] = (this.bits.next() & 0xffffff) / 0x1000000;
    for (let block = 0; block < n; block += 16) {
      for (let j = block; j < block + 8; j++) {
        // r = sqrt(-2 ln(1 - u)), z = r cos(2 pi u'), z' = r sin(2 pi u')
        const r = Math.sqrt(-2 * Math.log(1 - z[j]));
        const angle = 2 * Math.PI * z[j + 8];
        z[j] = r * Math.cos(angle);
        z[j + 8] = r * Math.sin(angle);
      }
    }
    return z;
  }
}
