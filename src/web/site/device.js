// @ts-check
/** The GPU of the browser, and a recorded program on it. */

import { Problem } from './files.js';

/** @typedef {[buffer: number, offset: number, words: number]} Tensor */
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

/** Bytes from one uniform to the next, and the most bytes of one. */
const STRIDE = 256;

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
   * A program on this GPU.
   * @param {ProgramText} text
   * @param {Pipeline[]} pipelines
   */
  program(text, pipelines) {
    return new Program(this, text, pipelines);
  }

  /** @param {(info: GPUDeviceLostInfo) => void} act */
  onLost(act) {
    this.device.lost.then(act);
  }

  /** @param {(message: string) => void} act */
  onError(act) {
    this.device.addEventListener('uncapturederror', (event) =>
      act(/** @type {GPUUncapturedErrorEvent} */ (event).error.message),
    );
  }

  close() {
    this.device.destroy();
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

/**
 * The same bits as values of f32.
 * @param {Uint32Array<ArrayBuffer>} words
 */
export const floats = (words) => new Float32Array(words.buffer, words.byteOffset, words.length);

/**
 * Words of a tensor, after some that are skipped.
 * @param {Tensor} tensor
 * @param {number} skip
 * @param {number} words
 * @returns {Tensor}
 */
export const part = ([buffer, offset], skip, words) => [buffer, offset + skip, words];
