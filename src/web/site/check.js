// @ts-check
/** Plays recorded kernel calls and compares every element that they write. */

import { Program, floats } from './device.js';
import { Parts, load, unpacked } from './files.js';

/** @typedef {import('./device.js').Device} Device */
/** @typedef {import('./device.js').Pipeline} Pipeline */
/** @typedef {import('./device.js').ProgramText} ProgramText */
/** @typedef {import('./device.js').Shaders} Shaders */
/** @typedef {import('./files.js').Segment} Segment */
/**
 * @typedef {object} Check
 * @property {[phase: string, first: number, count: number][]} calls
 * @property {[argument: string, buffer: number, real: boolean][]} written
 */
/** @typedef {{id: string, program: ProgramText, values: Segment, checks: Check[]}} Case */
/**
 * @typedef {object} Deviation
 * @property {string} kernel
 * @property {string} case
 * @property {string} call
 * @property {string} argument
 * @property {number} index
 * @property {number} found
 * @property {number} expected
 * @property {number} units
 */
/**
 * @typedef {object} Row
 * @property {number} cases
 * @property {number} calls
 * @property {number} elements
 * @property {number} units
 * @property {Deviation | null} failure
 */

/**
 * @typedef {object} Written
 * @property {Check} check
 * @property {string} argument
 * @property {number} buffer
 * @property {Uint32Array<ArrayBuffer>} expected
 * @property {Uint32Array | null} distances
 */

const ANY = 0xffffffff;
const TRAINING = 'training steps';

/**
 * The position of a value of f32 among all of them, from its bits; both zeros have position 0.
 * @param {number} bits
 */
const rank = (bits) => ((bits & 0x80000000) !== 0 ? -(bits & 0x7fffffff) : bits & 0x7fffffff);

/**
 * Plays recorded cases and compares every element that a call writes.
 * @param {Device} device
 * @param {(done: number, all: number) => void} progress
 * @param {() => boolean} isStopped
 * @returns {Promise<{rows: Map<string, Row>, failures: Deviation[], cases: number}>}
 */
export async function checkDevice(device, progress, isStopped = () => false) {
  const text = new TextDecoder().decode(await unpacked(await load('cases.bin')));
  const { shaders, cases } = /** @type {{shaders: Shaders, cases: Case[]}} */ (JSON.parse(text));
  const values = new Parts(await load('values.bin'));
  const pipelines = await device.pipelines(shaders);
  const result = {
    rows: /** @type {Map<string, Row>} */ (new Map()),
    failures: /** @type {Deviation[]} */ ([]),
    cases: 0,
  };
  for (const each of cases) {
    if (isStopped()) break;
    await checkCase(device, pipelines, each, await values.words(each.values), result);
    result.cases += 1;
    progress(result.cases, cases.length);
  }
  return result;
}

/**
 * Plays a case in one submission: after each check, what was written is copied to be read, and
 * replaced by what is expected.
 * @param {Device} device
 * @param {Pipeline[]} pipelines
 * @param {Case} each
 * @param {Uint32Array<ArrayBuffer>} words
 * @param {{rows: Map<string, Row>, failures: Deviation[]}} result
 */
async function checkCase(device, pipelines, each, words, result) {
  const program = new Program(device, each.program, pipelines);
  const lengths = each.program.buffers.map(([, length]) => length);
  let at = 0;
  const before = lengths.map((length, buffer) => {
    const contents = words.subarray(at, at + length);
    at += length;
    program.write([buffer, 0, length], contents);
    return contents;
  });
  const written = each.checks.flatMap((check) =>
    check.written.map(([argument, buffer, real]) => {
      const length = lengths[buffer];
      const expected = words
        .subarray(at, at + length)
        .map((word, index) => word ^ before[buffer][index]);
      const distances = real ? words.slice(at + length, at + 3 * length) : null;
      // The distance above is stored as its difference from the one below.
      for (let index = 0; distances && index < length; index += 1) {
        distances[length + index] ^= distances[index];
      }
      at += (real ? 3 : 1) * length;
      before[buffer] = expected;
      return { check, argument, buffer, expected, distances };
    }),
  );
  const all = written.reduce((sum, { expected }) => sum + expected.length, 0);
  const staging = device.buffer(all, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
  const expectations = device.buffer(all, GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST);
  const encoder = device.device.createCommandEncoder();
  let offset = 0;
  for (const check of each.checks) {
    const pass = encoder.beginComputePass();
    for (const [phase, first, count] of check.calls) {
      const calls = program.phases.get(phase) ?? [];
      calls.slice(first, first + count).forEach((call) => program.encode(pass, call));
    }
    pass.end();
    for (const { buffer, expected } of written.filter((one) => one.check === check)) {
      const bytes = expected.byteLength;
      device.device.queue.writeBuffer(expectations, offset, expected);
      encoder.copyBufferToBuffer(program.buffers[buffer], 0, staging, offset, bytes);
      encoder.copyBufferToBuffer(expectations, offset, program.buffers[buffer], 0, bytes);
      offset += bytes;
    }
  }
  device.device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const found = new Uint32Array(staging.getMappedRange().slice(0));
  for (const used of [staging, expectations]) used.destroy();
  program.destroy();
  compareCase(each, program, written, found, result);
}

/**
 * @param {Case} each
 * @param {Program} program
 * @param {Written[]} written
 * @param {Uint32Array<ArrayBuffer>} found
 * @param {{rows: Map<string, Row>, failures: Deviation[]}} result
 */
function compareCase(each, program, written, found, result) {
  /** @type {Map<string, Deviation>} */
  const worst = new Map();
  const counted = new Set();
  let offset = 0;
  for (const { check, argument, expected, distances } of written) {
    const [phase, first, count] = check.calls[0];
    const isOne = check.calls.length === 1 && count === 1;
    const kernel = isOne ? (program.phases.get(phase) ?? [])[first].kernel : TRAINING;
    const row = result.rows.get(kernel) ?? {
      cases: 0,
      calls: 0,
      elements: 0,
      units: 0,
      failure: null,
    };
    result.rows.set(kernel, row);
    if (!counted.has(kernel)) row.cases += 1;
    if (!counted.has(check)) row.calls += 1;
    counted.add(kernel).add(check);
    const values = found.subarray(offset, offset + expected.length);
    const { index, units } = largest(values, expected, distances);
    offset += expected.length;
    row.elements += expected.length;
    row.units = Math.max(row.units, units);
    if (units > 1 && units > (worst.get(kernel)?.units ?? 1)) {
      const read = (/** @type {Uint32Array<ArrayBuffer>} */ from) =>
        (distances ? floats(from) : from)[index];
      const call = isOne ? `${phase} ${first}` : 'all of the steps';
      const shown = { found: read(values), expected: read(expected), units };
      worst.set(kernel, { kernel, case: each.id, call, argument, index, ...shown });
    }
  }
  for (const [kernel, failure] of worst) {
    const row = /** @type {Row} */ (result.rows.get(kernel));
    if (!row.failure || failure.units > row.failure.units) row.failure = failure;
    result.failures.push(failure);
  }
}

/**
 * The element with the largest difference, as a multiple of the allowed one: above 1 it is wrong.
 * @param {Uint32Array} found
 * @param {Uint32Array} expected
 * @param {Uint32Array | null} distances
 */
export function largest(found, expected, distances) {
  const worst = { index: 0, units: 0 };
  for (let index = 0; index < found.length; index += 1) {
    let units = 0;
    if (found[index] === expected[index]) continue;
    if (!distances) {
      units = Infinity;
    } else {
      const difference = rank(found[index]) - rank(expected[index]);
      const allowed = distances[difference < 0 ? index : found.length + index];
      const isNan = (found[index] & 0x7fffffff) > 0x7f800000;
      if (allowed === ANY || difference === 0) units = 0;
      else units = isNan ? Infinity : Math.abs(difference) / allowed;
    }
    if (units > worst.units) Object.assign(worst, { index, units });
  }
  return worst;
}
