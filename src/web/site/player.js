// @ts-check
/**
 * Plays a run that `gatescan web` has recorded: WGSL, uniforms, grids and buffers are data, and
 * this module is the host around them. It is written by hand and needs no build step.
 */

/** @typedef {[buffer: number, offset: number, words: number]} Tensor */
/** @typedef {{offset: number, bytes: number, words: number, planes: boolean}} Segment */
/**
 * @typedef {[
 *   pipeline: number, buffers: number[], uniform: number[], grid: number[], work: number
 * ]} Call
 */
/**
 * @typedef {object} ProgramText
 * @property {[name: string, words: number][]} buffers
 * @property {Record<string, Call[]>} phases
 */
/**
 * @typedef {object} PipelineText
 * @property {string} kernel
 * @property {number} source
 * @property {Record<string, number>} constants
 * @property {boolean[]} writes
 */
/** @typedef {{sources: string[], pipelines: PipelineText[]}} Shaders */
/**
 * @typedef {object} Split
 * @property {number} count
 * @property {number} batch
 * @property {number} chunks
 * @property {number} steps
 * @property {Tensor} order
 * @property {[control: Tensor, history: Tensor][]} loops
 * @property {Segment | null} lengths
 */
/** @typedef {'step' | 'cursor' | 'row' | 'chunk' | 'taken'} ControlWord */
/** @typedef {'loss' | 'hits' | 'labelled' | 'norm' | 'notFinite' | 'history'} HistoryWord */
/** @typedef {ControlWord | HistoryWord} Word */
/**
 * @typedef {object} RunText
 * @property {[low: number, high: number]} seed
 * @property {number} epochs
 * @property {number} steps
 * @property {number | null} patience
 * @property {boolean} keepBest
 * @property {boolean} classifies
 * @property {'validation' | 'test' | 'train'} monitored
 * @property {[count: number, rate: number][]} ratesOfSteps
 * @property {number} rows
 * @property {Record<Word, number>} words
 * @property {Tensor} parameters
 * @property {Tensor} rates
 * @property {Tensor | null} average
 * @property {Tensor[]} moments
 * @property {Tensor[]} states
 * @property {Split} train
 * @property {Split | null} validation
 * @property {Split | null} test
 * @property {number[]} orders
 * @property {number[]} losses
 * @property {[buffer: number, words: Segment][]} contents
 */
/**
 * @typedef {object} TriedText
 * @property {ProgramText} program
 * @property {Tensor} parameters
 * @property {Tensor} inputs
 * @property {Tensor} outputs
 * @property {Tensor[]} states
 * @property {[number, Segment][]} contents
 */
/**
 * @typedef {object} Draw
 * @property {'draw'} kind
 * @property {TriedText} network
 * @property {number} rows
 * @property {number} columns
 * @property {number} scale
 * @property {string[]} classes
 */
/** @typedef {{kind: 'sample', network: TriedText, unit: string, entries: string[]}} Sample */
/**
 * @typedef {object} Site
 * @property {number} version
 * @property {string} gatescan
 * @property {string} recipe
 * @property {string} toml
 * @property {string} network
 * @property {number} parameters
 * @property {Record<string, number>} needs
 * @property {Shaders} shaders
 * @property {ProgramText} train
 * @property {RunText} run
 * @property {{header: string, parts: [offset: number | null, words: number][]}} model
 * @property {{kind: 'none'} | Draw | Sample} trial
 * @property {number} cases
 */
/**
 * @typedef {object} Check
 * @property {[phase: string, first: number, count: number][]} calls
 * @property {[argument: string, buffer: number, real: boolean][]} written
 */
/** @typedef {{id: string, program: ProgramText, values: Segment, checks: Check[]}} Case */
/** @typedef {{loss: number, accuracy: number | null}} Scores */
/** @typedef {{epoch: number, step: number, train: Scores, evaluated: Scores | null}} Epoch */
/** @typedef {{loss: number, hits: number, labelled: number}} Totals */

export const VERSION = 1;
/** Bytes from one uniform to the next, and the most bytes of one. */
const STRIDE = 256;
/** The longest that a device works between two readbacks, in seconds. */
const SUBMISSION = 0.05;

/** The phases of an update. */
const STEP = ['forward', 'backward', 'update'];

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

// ---------------------------------------------------------------------------------------- Random

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

// ----------------------------------------------------------------------------------------- Files

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
function safetensors(tensors, metadata) {
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
 * @param {string} header
 * @param {Float32Array[]} parts
 */
function assembled(header, parts) {
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
function parsedSafetensors(bytes) {
  const length = Number(new DataView(bytes).getBigUint64(0, true));
  const { __metadata__: metadata, ...rest } = JSON.parse(
    new TextDecoder().decode(bytes.slice(8, 8 + length)),
  );
  const values = (/** @type {{data_offsets: number[]}} */ { data_offsets: [begin, end] }) =>
    new Float32Array(bytes.slice(8 + length + begin, 8 + length + end));
  const tensors = Object.entries(rest).map(([name, info]) => [name, values(info)]);
  return { metadata, tensors: Object.fromEntries(tensors) };
}

// ---------------------------------------------------------------------------------------- Device

/** The GPU of the browser. */
export class Device {
  /**
   * @param {GPUDevice} device
   * @param {GPUAdapter} adapter
   */
  constructor(device, adapter) {
    this.device = device;
    const { vendor, architecture, description } = adapter.info;
    this.isSoftware = Boolean(adapter.info.isFallbackAdapter);
    const name = description || [vendor, architecture].filter(Boolean).join(' ');
    this.name = (name || 'unnamed') + (this.isSoftware ? ' (software)' : '');
    this.hasTimestamps = device.features.has('timestamp-query');
    /** Estimated seconds of a unit of work; a slow device before anything is measured. */
    this.pace = 1e-9;
    this.isLost = false;
    const buffer = (/** @type {GPUBufferBindingType} */ type, dynamic = false) => ({
      type,
      hasDynamicOffset: dynamic,
    });
    this.bindings = { read: buffer('read-only-storage'), write: buffer('storage') };
    this.uniformLayout = device.createBindGroupLayout({
      entries: [
        {
          binding: 0,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { ...buffer('uniform', true), minBindingSize: STRIDE },
        },
      ],
    });
  }

  /**
   * Opens the browser's GPU.
   * @param {Record<string, number>} needs limits beyond those that WebGPU guarantees
   */
  static async open(needs = {}) {
    if (!globalThis.isSecureContext) {
      throw new Problem('WebGPU is only there for secure pages, and this one is not.', [
        'Open it by https, or from this machine as http://localhost or http://127.0.0.1.',
      ]);
    }
    if (!navigator.gpu)
      throw new Problem('This browser has no WebGPU, or it is turned off.', BROWSERS);
    const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
    if (!adapter) {
      throw new Problem('This browser has WebGPU, but no GPU that it can use.', [
        'Update the graphics driver. Chrome and Edge say at chrome://gpu what is missing.',
        ...BROWSERS,
      ]);
    }
    for (const [limit, needed] of Object.entries(needs)) {
      const most = adapter.limits[/** @type {'maxBufferSize'} */ (limit)];
      if (needed > most) {
        throw new Problem(
          `This network needs the limit ${limit} of ${needed} bytes, and this GPU offers ${most}.`,
          [
            'Record the page again with fewer sequences (--train N), or a smaller batch or network.',
          ],
        );
      }
    }
    /** @type {GPUFeatureName[]} */
    const wanted = ['timestamp-query'];
    const device = await adapter.requestDevice({
      requiredFeatures: wanted.filter((feature) => adapter.features.has(feature)),
      requiredLimits: needs,
    });
    return new Device(device, adapter);
  }

  /**
   * Compiles all pipelines.
   * @param {Shaders} shaders
   */
  async pipelines({ sources, pipelines }) {
    const modules = sources.map((code) => this.device.createShaderModule({ code }));
    return Promise.all(pipelines.map((text) => this.#pipeline(text, modules[text.source])));
  }

  /**
   * @param {PipelineText} text
   * @param {GPUShaderModule} module
   */
  async #pipeline({ kernel, constants, writes }, module) {
    const storage = this.device.createBindGroupLayout({
      entries: writes.map((written, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: written ? this.bindings.write : this.bindings.read,
      })),
    });
    const layout = this.device.createPipelineLayout({
      bindGroupLayouts: [storage, this.uniformLayout],
    });
    const compute = { module, entryPoint: 'main', constants };
    try {
      const pipeline = await this.device.createComputePipelineAsync({ layout, compute });
      return { kernel, storage, pipeline };
    } catch (error) {
      if (this.isLost) throw error;
      const { messages } = await module.getCompilationInfo();
      const lines = messages.map(({ lineNum, message }) => `line ${lineNum}: ${message}`);
      const said = [/** @type {Error} */ (error).message, ...lines].join('; ');
      throw new Problem(`The kernel ${kernel} does not compile in this browser: ${said}`);
    }
  }

  /**
   * @param {number} words
   * @param {GPUBufferUsageFlags} usage
   */
  buffer(words, usage) {
    return this.device.createBuffer({ size: Math.max(words, 1) * 4, usage });
  }
}

const BROWSERS = [
  'Chrome and Edge have it from version 113 on (Windows, macOS, ChromeOS), and from 121 on Android. ' +
    'On Linux, or with an older driver, turn on chrome://flags/#enable-unsafe-webgpu and ' +
    'chrome://flags/#enable-vulkan and restart the browser.',
  'Firefox has it from version 141 on Windows and from 145 on macOS. Elsewhere, set ' +
    'dom.webgpu.enabled to true in about:config.',
  'Safari has it from version 26 on. Before, turn it on under Develop, Feature Flags, WebGPU.',
];

/** @typedef {Awaited<ReturnType<Device['pipelines']>>[number]} Pipeline */
/**
 * @typedef {object} Dispatch
 * @property {string} kernel
 * @property {GPUComputePipeline} pipeline
 * @property {GPUBindGroup} group
 * @property {number} offset
 * @property {number[]} grid
 * @property {number} work
 */

/** A program on the GPU: its buffers, and its calls ready to be encoded. */
export class Program {
  /**
   * @param {Device} device
   * @param {ProgramText} text
   * @param {Pipeline[]} pipelines
   */
  constructor(device, text, pipelines) {
    this.device = device;
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    this.buffers = text.buffers.map(([, words]) => device.buffer(words, usage));
    const calls = Object.values(text.phases).flat();
    const uniforms = new Uint32Array(Math.max(calls.length, 1) * (STRIDE / 4));
    this.uniforms = device.buffer(
      uniforms.length,
      GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    );
    this.uniformGroup = device.device.createBindGroup({
      layout: device.uniformLayout,
      entries: [{ binding: 0, resource: { buffer: this.uniforms, size: STRIDE } }],
    });
    /** @type {Map<string, GPUBindGroup>} */
    const groups = new Map();
    let count = 0;
    const dispatch = (/** @type {Call} */ [index, buffers, uniform, grid, work]) => {
      uniforms.set(uniform, count * (STRIDE / 4));
      count += 1;
      const { kernel, pipeline, storage } = pipelines[index];
      const key = [index, ...buffers].join(' ');
      const entries = buffers.map((buffer, binding) => ({
        binding,
        resource: { buffer: this.buffers[buffer] },
      }));
      const group = groups.get(key) ?? device.device.createBindGroup({ layout: storage, entries });
      groups.set(key, group);
      return { kernel, pipeline, group, offset: (count - 1) * STRIDE, grid, work };
    };
    /** @type {Map<string, Dispatch[]>} */
    this.phases = new Map();
    for (const [name, phase] of Object.entries(text.phases))
      this.phases.set(name, phase.map(dispatch));
    device.device.queue.writeBuffer(this.uniforms, 0, uniforms);
  }

  destroy() {
    for (const buffer of [...this.buffers, this.uniforms]) buffer.destroy();
  }

  /**
   * @param {Tensor} tensor
   * @param {Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>} values
   */
  write([buffer, offset], values) {
    this.device.device.queue.writeBuffer(this.buffers[buffer], offset * 4, values);
  }

  /**
   * @param {GPUComputePassEncoder} pass
   * @param {Dispatch} dispatch
   */
  encode(pass, { pipeline, group, offset, grid }) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.setBindGroup(1, this.uniformGroup, [offset]);
    pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
  }

  /**
   * Submits phases, the whole list so many times, in parts that no watchdog of a driver ends.
   * @param {string[]} phases
   * @param {number} times
   */
  run(phases, times) {
    const once = phases.flatMap((phase) => this.phases.get(phase) ?? []);
    const budget = (this.device.isSoftware ? 1 : 0.02) / this.device.pace;
    const { device } = this.device;
    let [encoder, work] = [device.createCommandEncoder(), 0];
    let pass = encoder.beginComputePass();
    for (let time = 0; time < times; time += 1) {
      for (const dispatch of once) {
        if (work > 0 && work + dispatch.work > budget) {
          pass.end();
          device.queue.submit([encoder.finish()]);
          [encoder, work] = [device.createCommandEncoder(), 0];
          pass = encoder.beginComputePass();
        }
        this.encode(pass, dispatch);
        work += dispatch.work;
      }
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
    return times * once.reduce((sum, each) => sum + each.work, 0);
  }

  /**
   * Waits, and returns copies of tensors.
   * @param {Tensor[]} tensors
   */
  async read(tensors) {
    const { device } = this.device;
    const words = tensors.reduce((sum, tensor) => sum + tensor[2], 0);
    const staging = this.device.buffer(words, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    const encoder = device.createCommandEncoder();
    let at = 0;
    for (const [buffer, offset, length] of tensors) {
      encoder.copyBufferToBuffer(this.buffers[buffer], offset * 4, staging, at * 4, length * 4);
      at += length;
    }
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const copy = staging.getMappedRange().slice(0);
    staging.destroy();
    let begin = 0;
    return tensors.map(([, , length]) => {
      begin += length;
      return new Uint32Array(copy, (begin - length) * 4, length);
    });
  }

  /**
   * Copies tensors, of this program or from another one.
   * @param {[from: Tensor, to: Tensor][]} pairs
   * @param {Program} source
   */
  copy(pairs, source = this) {
    const encoder = this.device.device.createCommandEncoder();
    for (const [[from, fromOffset, words], [to, toOffset]] of pairs) {
      const [a, b] = [source.buffers[from], this.buffers[to]];
      encoder.copyBufferToBuffer(a, fromOffset * 4, b, toOffset * 4, words * 4);
    }
    this.device.device.queue.submit([encoder.finish()]);
  }
}

/** @param {Uint32Array<ArrayBuffer>} words */
export const floats = (words) => new Float32Array(words.buffer, words.byteOffset, words.length);

/**
 * @param {Tensor} tensor
 * @param {number} skip
 * @param {number} words
 * @returns {Tensor}
 */
const part = ([buffer, offset], skip, words) => [buffer, offset + skip, words];

// ------------------------------------------------------------------------------------------- Run

/** @returns {Totals} */
const noTotals = () => ({ loss: 0, hits: 0, labelled: 0 });

/** The position of a run between two updates, as the state of a page stores it. */
export const START = {
  step: 0,
  epochs: 0,
  /** @type {Totals[]} */
  totals: [],
  /** @type {{epoch: number, loss: number} | null} */
  best: null,
  /** @type {Epoch[]} */
  history: [],
  /** @type {number[]} */
  losses: [],
};

/** A run in training. */
export class Run {
  /**
   * @param {Site} site
   * @param {Parts} data
   * @param {Device} device
   * @param {Pipeline[]} pipelines
   */
  constructor(site, data, device, pipelines) {
    this.site = site;
    this.text = site.run;
    this.data = data;
    this.device = device;
    this.program = new Program(device, site.train, pipelines);
    this.position = structuredClone(START);
    /** @type {Float32Array | null} */
    this.best = null;
    /** Updates of the next submission. */
    this.submission = 1;
    this.hasOrder = false;
    this.speed = 0;
    this.rates = new Float32Array(this.text.steps);
    let at = 0;
    for (const [count, rate] of this.text.ratesOfSteps) {
      this.rates.fill(rate, at, at + count);
      at += count;
    }
    /** @type {Map<Split, Uint32Array>} */
    this.lengths = new Map();
  }

  /** Uploads the initial parameters and the data. */
  async begin() {
    for (const [buffer, segment] of this.text.contents) {
      this.program.write([buffer, 0, segment.words], await this.data.words(segment));
    }
    for (const split of [this.text.train, this.text.validation, this.text.test]) {
      if (split?.lengths) this.lengths.set(split, await this.data.words(split.lengths));
    }
  }

  /** Why the run is over, if it is: `complete` or `stalled`. */
  get ending() {
    const { step, epochs, best } = this.position;
    if (step > epochs * this.text.train.steps) return null;
    if (step >= this.text.steps) return 'complete';
    const stalled = epochs - (best?.epoch ?? 1);
    return stalled >= (this.text.patience ?? Infinity) ? 'stalled' : null;
  }

  /** Updates of the current epoch that are done, and all of them. */
  get ofEpoch() {
    const { step, epochs } = this.position;
    const before = epochs * this.text.train.steps;
    return { done: step - before, all: Math.min(this.text.train.steps, this.text.steps - before) };
  }

  /**
   * Starts a pass over a split, or continues it after `done` steps.
   * @param {Split} split
   * @param {Uint32Array<ArrayBuffer>} order
   * @param {number} done
   */
  #beginPass(split, order, done) {
    const { cursor, chunk, taken } = this.text.words;
    const [control] = split.loops[0];
    const first = Math.floor(done / split.chunks) * split.batch;
    this.program.write(split.order, order);
    this.program.write(part(control, cursor, 2), Uint32Array.of(first, split.count));
    this.program.write(part(control, chunk, 1), Uint32Array.of(done % split.chunks));
    this.program.write(part(control, taken, 2), Uint32Array.of(0, 0));
  }

  #beginEpoch() {
    const { train, orders, seed } = this.text;
    const { epochs } = this.position;
    const lengths = this.lengths.get(train) ?? null;
    const order = sortBatches(permutation(seed, epochs, train.count), train.batch, lengths);
    if (epochs < orders.length && checksum(order) !== orders[epochs]) {
      throw new Problem(
        `This browser computes another order for epoch ${epochs + 1} than gatescan.`,
      );
    }
    this.#beginPass(train, order, this.ofEpoch.done);
    this.hasOrder = true;
  }

  /**
   * Plays steps of a split and returns their rows, by loop. `play` submits them and returns their
   * work.
   * @param {Split} split
   * @param {string[]} phases
   * @param {number} count
   */
  async #steps(split, phases, count, play = () => this.program.run(phases, count)) {
    const { row, history } = this.text.words;
    for (const [control] of split.loops)
      this.program.write(part(control, row, 1), Uint32Array.of(0));
    const begin = performance.now();
    const work = play();
    const rows = await this.program.read(
      split.loops.map(([, each]) => part(each, 0, count * history)),
    );
    const seconds = Math.max((performance.now() - begin) / 1000, 1e-4);
    this.device.pace = Math.sqrt(this.device.pace * (seconds / work));
    const fitting = Math.floor(SUBMISSION / (seconds / count));
    this.submission = Math.max(1, Math.min(fitting, this.text.rows, 2 * count));
    return { rows: rows.map(floats), seconds };
  }

  /**
   * @param {Totals[]} totals
   * @param {Float32Array[]} loops
   */
  #add(totals, loops) {
    const { loss, hits, labelled, history } = this.text.words;
    loops.forEach((rows, loop) => {
      totals[loop] ??= noTotals();
      for (let at = 0; at < rows.length; at += history) {
        totals[loop].loss += rows[at + loss] * rows[at + labelled];
        totals[loop].hits += rows[at + hits];
        totals[loop].labelled += rows[at + labelled];
      }
    });
  }

  /**
   * Mean loss and accuracy; of several heads, the sum of their means.
   * @param {Totals[]} totals
   * @returns {Scores}
   */
  scores(totals) {
    const mean = (/** @type {Totals} */ each) => each.loss / Math.max(each.labelled, 1);
    const [all, ...heads] = totals.length ? totals : [noTotals()];
    return {
      loss: heads.length ? heads.reduce((sum, head) => sum + mean(head), 0) : mean(all),
      accuracy: this.text.classifies ? all.hits / Math.max(all.labelled, 1) : null,
    };
  }

  /**
   * Plays the next updates, and the evaluation after the last one of an epoch; with `play` one
   * update, which it submits.
   * @param {(() => number) | undefined} play
   */
  async advance(play = undefined) {
    if (!this.hasOrder) this.#beginEpoch();
    const { done, all } = this.ofEpoch;
    const { step } = this.position;
    const count = play ? 1 : Math.min(this.submission, all - done);
    this.program.write(part(this.text.rates, 0, count), this.rates.slice(step, step + count));
    const played = await this.#steps(this.text.train, STEP, count, play);
    this.#count(played.rows, count);
    this.speed = (count * this.text.train.batch) / this.text.train.chunks / played.seconds;
    if (done + count === all) await this.#endEpoch();
  }

  /**
   * @param {Float32Array[]} loops
   * @param {number} count
   */
  #count(loops, count) {
    const { loss, norm, notFinite, history } = this.text.words;
    for (let at = 0; at < count; at += 1) {
      const row = loops[0].subarray(at * history, (at + 1) * history);
      if (row[notFinite] !== 0 || !Number.isFinite(row[loss]) || !Number.isFinite(row[norm])) {
        const number = this.position.step + at + 1;
        throw new Problem(
          `In update ${number} the loss is ${row[loss]} and the gradient's norm ${row[norm]}: ` +
            'training cannot go on.',
          ['Record the page again with a lower optimizer.lr, or with clip_norm.'],
        );
      }
      this.position.losses.push(row[loss]);
    }
    this.#add(this.position.totals, loops);
    this.position.step += count;
  }

  async #endEpoch() {
    const { position, text } = this;
    const train = this.scores(position.totals);
    const evaluated = await this.evaluate(text.validation ? 'validation' : 'test');
    const monitored = evaluated?.loss ?? train.loss;
    if (!Number.isFinite(monitored)) {
      throw new Problem(`After epoch ${position.epochs + 1} the monitored loss is ${monitored}.`);
    }
    position.epochs += 1;
    position.totals = [];
    this.hasOrder = false;
    if (!position.best || monitored < position.best.loss) {
      position.best = { epoch: position.epochs, loss: monitored };
      if (text.keepBest) this.best = floats((await this.program.read([this.#modelTensor()]))[0]);
    }
    position.history.push({ epoch: position.epochs, step: position.step, train, evaluated });
  }

  #modelTensor() {
    return this.text.average ?? this.text.parameters;
  }

  /**
   * Evaluates a split with the parameters of the model.
   * @param {'validation' | 'test'} name
   */
  async evaluate(name) {
    const split = this.text[name];
    if (!split) return null;
    const { average, parameters } = this.text;
    const trained = average ? await this.program.read([parameters]) : null;
    if (average) this.program.copy([[average, parameters]]);
    const order = Uint32Array.from({ length: split.count }, (_, index) => index);
    this.#beginPass(split, sortBatches(order, split.batch, this.lengths.get(split) ?? null), 0);
    const phase = name === 'test' ? 'evaluate' : 'validate';
    /** @type {Totals[]} */
    const totals = [];
    const kept = this.submission;
    for (let done = 0; done < split.steps; ) {
      const count = Math.min(this.submission, split.steps - done);
      this.#add(totals, (await this.#steps(split, [phase], count)).rows);
      done += count;
    }
    this.submission = kept;
    if (trained) this.program.write(parameters, trained[0]);
    return this.scores(totals);
  }

  /** Parameters of the model: of the best epoch where the recipe keeps them. */
  async model() {
    return this.best ?? floats((await this.program.read([this.#modelTensor()]))[0]);
  }

  /** The model as the file of the command line. */
  async modelFile() {
    const flat = await this.model();
    const { header, parts } = this.site.model;
    const values = parts.map(([offset, words]) =>
      offset === null ? new Float32Array(words) : flat.subarray(offset, offset + words),
    );
    return assembled(header, values);
  }

  #stateTensors() {
    return [this.text.parameters, ...this.text.moments, ...this.text.states];
  }

  /** Everything that a run is between two updates. */
  async snapshot() {
    const words = await this.program.read(this.#stateTensors());
    return { position: structuredClone(this.position), words, best: this.best };
  }

  /** @param {Awaited<ReturnType<Run['snapshot']>>} snapshot */
  restore({ position, words, best }) {
    this.#stateTensors().forEach((tensor, index) => this.program.write(tensor, words[index]));
    this.position = structuredClone(position);
    this.best = best;
    this.hasOrder = false;
    const [control] = this.text.train.loops[0];
    this.program.write(part(control, this.text.words.step, 1), Uint32Array.of(position.step));
  }

  /** What a state must agree with to continue here. */
  get fingerprint() {
    const bytes = new TextEncoder().encode(this.site.toml + JSON.stringify(this.text.orders));
    return String(checksum(Uint32Array.from(bytes)));
  }

  /** The state as a file. */
  async stateFile() {
    const { position, words, best } = await this.snapshot();
    const tensors = Object.fromEntries(
      words.map((each, index) => [`state.${index}`, floats(each)]),
    );
    if (best) tensors.best = /** @type {Float32Array<ArrayBuffer>} */ (best);
    const description = { fingerprint: this.fingerprint, position };
    return safetensors(tensors, { gatescan_page: JSON.stringify(description) });
  }

  /**
   * Continues from the bytes of `stateFile`.
   * @param {ArrayBuffer} bytes
   */
  restoreFile(bytes) {
    let file;
    try {
      const { metadata, tensors } = parsedSafetensors(bytes);
      file = { tensors, ...JSON.parse(metadata.gatescan_page) };
    } catch {
      throw new Problem('This file is not the state of a page; choose one that a page has saved.');
    }
    if (file.fingerprint !== this.fingerprint) {
      throw new Problem(
        'This state is of another recipe or other data; open the page that saved it.',
      );
    }
    const words = this.#stateTensors().map(([, , length], index) => {
      const values = file.tensors[`state.${index}`];
      if (values?.length !== length)
        throw new Problem('This state is damaged: a tensor is missing.');
      return new Uint32Array(values.buffer);
    });
    this.restore({ position: file.position, words, best: file.tensors.best ?? null });
  }

  /**
   * Plays one update with a timestamp before and after each call; returns seconds by kernel.
   * @returns {Promise<Map<string, {calls: number, seconds: number}>>}
   */
  async timeUpdate() {
    const calls = STEP.flatMap((phase) => this.program.phases.get(phase) ?? []);
    /** @type {Map<string, {calls: number, seconds: number}>} */
    const found = new Map();
    /** @type {bigint[]} */
    const stamps = [];
    /** @type {Promise<void>[]} */
    const reads = [];
    await this.advance(() => {
      // A query set has at most 4096 queries.
      for (let first = 0; first < calls.length; first += 2048) {
        reads.push(this.#timed(calls.slice(first, first + 2048), stamps, first));
      }
      return calls.reduce((sum, each) => sum + each.work, 0);
    });
    await Promise.all(reads);
    calls.forEach(({ kernel }, index) => {
      const each = found.get(kernel) ?? { calls: 0, seconds: 0 };
      each.calls += 1;
      each.seconds += Number(stamps[2 * index + 1] - stamps[2 * index]) / 1e9;
      found.set(kernel, each);
    });
    return found;
  }

  /**
   * @param {Dispatch[]} calls
   * @param {bigint[]} stamps
   * @param {number} first
   */
  async #timed(calls, stamps, first) {
    const { device } = this.device;
    const count = 2 * calls.length;
    const querySet = device.createQuerySet({ type: 'timestamp', count });
    const resolved = this.device.buffer(
      2 * count,
      GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    );
    const staging = this.device.buffer(
      2 * count,
      GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    );
    const encoder = device.createCommandEncoder();
    calls.forEach((call, index) => {
      const writes = { beginningOfPassWriteIndex: 2 * index, endOfPassWriteIndex: 2 * index + 1 };
      const pass = encoder.beginComputePass({ timestampWrites: { querySet, ...writes } });
      this.program.encode(pass, call);
      pass.end();
    });
    encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, count * 8);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    new BigUint64Array(staging.getMappedRange()).forEach((stamp, index) => {
      stamps[2 * first + index] = stamp;
    });
    for (const each of [querySet, resolved, staging]) each.destroy();
  }
}
