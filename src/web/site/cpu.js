// @ts-check
/** A recorded run on the CPU, by the library: what `device.js` is for a GPU. */

/** @typedef {import('./device.js').ProgramText} ProgramText */
/** @typedef {import('./device.js').Tensor} Tensor */
/** @typedef {import('./library.js').Library} Library */

/** The CPU, with the programs of the run that the library has recorded last. */
export class CpuDevice {
  /** @param {Library} library */
  constructor(library) {
    this.library = library;
    this.name = 'one thread (WebAssembly)';
    this.hasTimestamps = false;
    this.pace = 1e-9;
    this.isLost = false;
    this.programs = 0;
  }

  /** Loads the programs of the run. */
  async pipelines() {
    await this.library.ask({ do: 'load' });
    return [];
  }

  /**
   * The next program of the run: first that of a training step, then that of a trial.
   * @param {ProgramText} text
   */
  program(text) {
    this.programs += 1;
    return new CpuProgram(this.library, text, this.programs - 1);
  }

  onLost() {}

  onError() {}

  close() {}
}

/** A program on the CPU. Requests are handled in their order, so only reading waits. */
class CpuProgram {
  /**
   * @param {Library} library
   * @param {ProgramText} text
   * @param {number} index
   */
  constructor(library, text, index) {
    this.library = library;
    this.index = index;
    const work = Object.entries(text.phases).map(([name, calls]) => {
      const sum = calls.reduce((all, call) => all + call[4], 0);
      return /** @type {[string, number]} */ ([name, sum]);
    });
    this.work = new Map(work);
    /** @type {Error | null} */
    this.failure = null;
  }

  /**
   * Asks without waiting: a failure is thrown by the next read.
   * @param {{do: string} & Record<string, unknown>} request
   * @param {Uint8Array<ArrayBuffer> | undefined} bytes
   */
  #submit(request, bytes = undefined) {
    this.library.ask({ ...request, program: this.index }, bytes).catch((error) => {
      this.failure ??= error;
    });
  }

  /**
   * @param {Tensor} tensor
   * @param {Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>} values
   */
  write([buffer, offset], values) {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength).slice();
    this.#submit({ do: 'write', tensor: [buffer, offset, values.length] }, bytes);
  }

  /**
   * @param {string[]} phases
   * @param {number} times
   */
  run(phases, times) {
    this.#submit({ do: 'run', phases, times });
    return times * phases.reduce((sum, phase) => sum + (this.work.get(phase) ?? 0), 0);
  }

  /** @param {Tensor[]} tensors */
  async read(tensors) {
    const { bytes } = await this.library.ask({ do: 'read', program: this.index, tensors });
    if (this.failure) throw this.failure;
    let end = 0;
    return tensors.map(([, , length]) => {
      end += length;
      return new Uint32Array(bytes.buffer, (end - length) * 4, length);
    });
  }

  /** @param {[from: Tensor, to: Tensor][]} pairs */
  copy(pairs) {
    this.#submit({ do: 'copy', pairs });
  }
}
