// @ts-check
/** The random orders of epochs: the bits of src/rng.rs. */

/**
 * The upper half of the product of two unsigned integers of 32 bits.
 * @param {number} a
 * @param {number} b
 */
function upperHalf(a, b) {
  const [al, ah, bl, bh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const [low, left, right] = [al * bl, ah * bl, al * bh];
  const middle = Math.floor(low / 65536) + (left % 65536) + (right % 65536);
  const carried = Math.floor(left / 65536) + Math.floor(right / 65536);
  return (ah * bh + carried + Math.floor(middle / 65536)) >>> 0;
}

/**
 * Philox 4x32-10 of Salmon, Moraes, Dror and Shaw (SC 2011), as in src/rng.rs.
 * @param {number[]} counter
 * @param {number[]} key
 */
export function philox([c0, c1, c2, c3], [k0, k1]) {
  for (let round = 0; round < 10; round += 1) {
    const [high0, low0] = [upperHalf(0xd2511f53, c0), Math.imul(0xd2511f53, c0) >>> 0];
    const [high1, low1] = [upperHalf(0xcd9e8d57, c2), Math.imul(0xcd9e8d57, c2) >>> 0];
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    [k0, k1] = [(k0 + 0x9e3779b9) >>> 0, (k1 + 0xbb67ae85) >>> 0];
  }
  return [c0, c1, c2, c3];
}

/**
 * The random integers of one stream of a seed.
 * @param {number[]} seed
 * @param {[purpose: number, index: number]} stream
 */
export function* randomWords(seed, stream) {
  for (let block = 0; ; block += 1) {
    yield* philox([block >>> 0, Math.floor(block / 2 ** 32), ...stream], seed);
  }
}

/**
 * A random order of the integers below `count` (Fisher and Yates), each drawn without bias
 * (Lemire 2019).
 * @param {number[]} seed
 * @param {number} epoch
 * @param {number} count
 */
export function permutation(seed, epoch, count) {
  const words = randomWords(seed, [2, epoch]);
  const below = (/** @type {number} */ most) => {
    for (;;) {
      const word = /** @type {number} */ (words.next().value);
      if (Math.imul(word, most) >>> 0 >= (2 ** 32 - most) % most) return upperHalf(word, most);
    }
  };
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  for (let index = count - 1; index > 0; index -= 1) {
    const other = below(index + 1);
    [order[index], order[other]] = [order[other], order[index]];
  }
  return order;
}

/**
 * Sorts the sequences of each batch by length, the longest first.
 * @param {Uint32Array<ArrayBuffer>} order
 * @param {number} batch
 * @param {Uint32Array | null} lengths
 */
export function sortBatches(order, batch, lengths) {
  if (!lengths) return order;
  for (let first = 0; first < order.length; first += batch) {
    const sorted = [...order.subarray(first, first + batch)];
    order.set(
      sorted.sort((a, b) => lengths[b] - lengths[a]),
      first,
    );
  }
  return order;
}

/**
 * FNV-1a, 32 bits at a time.
 * @param {Uint32Array} words
 */
export function checksum(words) {
  return words.reduce((hash, word) => Math.imul(hash ^ word, 0x01000193) >>> 0, 0x811c9dc5);
}
