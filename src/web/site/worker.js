// @ts-check
/** The library as a WebAssembly module in a thread of its own: it answers the page's requests. */

/**
 * @typedef {object} Module
 * @property {WebAssembly.Memory} memory
 * @property {(length: number) => number} request
 * @property {() => number} answer
 * @property {() => number} answered
 * @property {() => number} panic_length
 * @property {() => number} panic_message
 */
/** @typedef {{id: number, request: object, bytes: Uint8Array}} Asked */

const thread = /** @type {Worker} */ (/** @type {unknown} */ (globalThis));

/** @type {Promise<Module> | null} */
let opened = null;

/** @returns {Promise<Module>} */
async function open() {
  const response = await fetch(new URL('gatescan.wasm', import.meta.url));
  if (!response.ok) {
    throw new Error(`gatescan.wasm cannot be loaded: the server says ${response.status}`);
  }
  const { instance } = await WebAssembly.instantiate(await response.arrayBuffer(), {});
  return /** @type {Module} */ (/** @type {unknown} */ (instance.exports));
}

/**
 * Puts a request into the module's memory, and returns the answer and its bytes.
 * @param {Module} module
 * @param {object} request
 * @param {Uint8Array} bytes
 */
function asked(module, request, bytes) {
  const text = new TextEncoder().encode(JSON.stringify(request));
  const length = 4 + text.length + bytes.length;
  // The memory may grow, and its buffer is another one then.
  const begin = module.request(length) >>> 0;
  const room = new Uint8Array(module.memory.buffer, begin, length);
  new DataView(room.buffer, room.byteOffset).setUint32(0, text.length, true);
  room.set(text, 4);
  room.set(bytes, 4 + text.length);
  const answered = module.answer() >>> 0;
  const found = new Uint8Array(module.memory.buffer, module.answered() >>> 0, answered).slice();
  const end = 4 + new DataView(found.buffer).getUint32(0, true);
  const answer = JSON.parse(new TextDecoder().decode(found.subarray(4, end)));
  return { answer, bytes: found.slice(end) };
}

/**
 * Why the module has stopped.
 * @param {Module | null} module
 * @param {Error} error
 */
function failure(module, error) {
  const length = module ? module.panic_length() : 0;
  if (!module || length === 0) return error.message;
  const message = new Uint8Array(module.memory.buffer, module.panic_message() >>> 0, length);
  return new TextDecoder().decode(message);
}

thread.addEventListener('message', async (event) => {
  const { id, request, bytes } = /** @type {Asked} */ (event.data);
  let module = null;
  try {
    opened ??= open();
    module = await opened;
    const answer = asked(module, request, bytes);
    thread.postMessage({ id, ...answer }, [answer.bytes.buffer]);
  } catch (error) {
    thread.postMessage({ id, failure: failure(module, /** @type {Error} */ (error)) });
  }
});
