// @ts-check
/** The files of a site, and files that the visitor downloads. */

/** @typedef {{offset: number, bytes: number, words: number, planes: boolean}} Segment */

/** A problem that a visitor can do something about. */
export class Problem extends Error {
  /**
   * @param {string} message
   * @param {string[]} remedies
   */
  constructor(message, remedies = []) {
    super(message);
    this.remedies = remedies;
  }
}

/** @param {string} name */
export async function load(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) {
    throw new Problem(`${name} cannot be loaded: the server says ${response.status}.`, [
      'Copy all files of the folder that `gatescan web` wrote to the server.',
    ]);
  }
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * Unpacks gzip.
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
export async function unpacked(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).arrayBuffer();
}

/** A binary file of compressed parts. */
export class Parts {
  /** @param {Uint8Array<ArrayBuffer>} bytes */
  constructor(bytes) {
    this.bytes = bytes;
  }

  /** @param {Segment} segment */
  async words(segment) {
    const end = segment.offset + segment.bytes;
    const packed = await unpacked(this.bytes.subarray(segment.offset, end));
    if (!segment.planes) return new Uint32Array(packed);
    // The lowest bytes of all words come first, then the second ones, and so on.
    const [bytes, words] = [new Uint8Array(packed), new Uint32Array(segment.words)];
    return words.map((_, at) => {
      const byte = (/** @type {number} */ plane) => bytes[plane * words.length + at];
      return byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24);
    });
  }
}

/**
 * A file of tensors in f32 in the format safetensors.
 * @param {Record<string, Float32Array>} tensors
 * @param {Record<string, string>} metadata
 */
export function safetensors(tensors, metadata) {
  /** @type {Record<string, unknown>} */
  const header = { __metadata__: metadata };
  let offset = 0;
  for (const [name, values] of Object.entries(tensors)) {
    const end = offset + values.byteLength;
    header[name] = { dtype: 'F32', shape: [values.length], data_offsets: [offset, end] };
    offset = end;
  }
  const json = JSON.stringify(header);
  return assembled(json.padEnd(Math.ceil(json.length / 8) * 8), Object.values(tensors));
}

/**
 * A file of a header in JSON and the values of its tensors.
 * @param {string} header
 * @param {Float32Array[]} parts
 */
export function assembled(header, parts) {
  const text = new TextEncoder().encode(header);
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(text.length), true);
  return new Blob([length.buffer, text, .../** @type {BlobPart[]} */ (parts)]);
}

/**
 * Reads what `safetensors` wrote.
 * @param {ArrayBuffer} bytes
 * @returns {{metadata: Record<string, string>, tensors: Record<string, Float32Array>}}
 */
export function parsedSafetensors(bytes) {
  const length = Number(new DataView(bytes).getBigUint64(0, true));
  const { __metadata__: metadata, ...rest } = JSON.parse(
    new TextDecoder().decode(bytes.slice(8, 8 + length)),
  );
  const values = (/** @type {{data_offsets: number[]}} */ { data_offsets: [begin, end] }) =>
    new Float32Array(bytes.slice(8 + length + begin, 8 + length + end));
  const tensors = Object.entries(rest).map(([name, info]) => [name, values(info)]);
  return { metadata, tensors: Object.fromEntries(tensors) };
}
