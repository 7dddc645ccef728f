// @ts-check
/**
 * Plays a run that `gatescan web` has recorded: WGSL, uniforms, grids and buffers are data, and
 * this module is the host around them. It is written by hand and needs no build step.
 */

import { floats, part } from './device.js';
import { Problem, assembled, parsedSafetensors, safetensors } from './files.js';
import { checksum, permutation, sortBatches } from './random.js';

/** @typedef {import('./cpu.js').CpuDevice} CpuDevice */
/** @typedef {import('./device.js').Device} Device */
/** @typedef {import('./device.js').Dispatch} Dispatch */
/** @typedef {import('./device.js').Pipeline} Pipeline */
/** @typedef {import('./device.js').Program} Program */
/** @typedef {import('./device.js').ProgramText} ProgramText */
/** @typedef {import('./device.js').Shaders} Shaders */
/** @typedef {import('./device.js').Tensor} Tensor */
/** @typedef {import('./files.js').Parts} Parts */
/** @typedef {import('./files.js').Segment} Segment */
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
/** @typedef {'loss' | 'hits' | 'labelled' | 'lastLoss' | 'lastLabelled'} SumWord */
/** @typedef {SumWord | 'norm' | 'notFinite' | 'history'} HistoryWord */
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
 * @property {[name: string, tensor: Tensor][]} moments
 * @property {Tensor[]} states
 * @property {Split} train
 * @property {Split | null} validation
 * @property {Split | null} test
 * @property {number[]} orders
 * @property {number[]} losses
 * @property {[buffer: number, words: Segment][]} contents
 * @property {object | null} data
 * @property {boolean} isPart
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
 * @property {string | null} library
 */
/** @typedef {{loss: number, accuracy: number | null}} Scores */
/** @typedef {{epoch: number, step: number, train: Scores, evaluated: Scores | null}} Epoch */
/** @typedef {Record<SumWord, number>} Totals */

/** The version of program.json that this page plays. */
export const VERSION = 1;
/** The version of the state's file. */
const STATE_VERSION = 1;
/** The longest that a device works between two readbacks, in seconds. */
const SUBMISSION = 0.05;

/** The phases of an update. */
const STEP = ['forward', 'backward', 'update'];

/** @returns {Totals} */
const noTotals = () => ({ loss: 0, hits: 0, labelled: 0, lastLoss: 0, lastLabelled: 0 });

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
   * @param {Device | CpuDevice} device
   * @param {Pipeline[]} pipelines
   */
  constructor(site, data, device, pipelines) {
    this.site = site;
    this.text = site.run;
    this.data = data;
    this.device = device;
    this.program = device.program(site.train, pipelines);
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
    const { loss, hits, labelled, lastLoss, lastLabelled, history } = this.text.words;
    loops.forEach((rows, loop) => {
      totals[loop] ??= noTotals();
      for (let at = 0; at < rows.length; at += history) {
        totals[loop].loss += rows[at + loss] * rows[at + labelled];
        totals[loop].hits += rows[at + hits];
        totals[loop].labelled += rows[at + labelled];
        totals[loop].lastLoss += rows[at + lastLoss] * rows[at + lastLabelled];
        totals[loop].lastLabelled += rows[at + lastLabelled];
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
   * Evaluates a split: with the parameters of an epoch, or else the current ones or their average.
   * @param {'validation' | 'test'} name
   * @param {Float32Array | null} shown
   */
  async evaluate(name, shown = null) {
    const split = this.text[name];
    if (!split) return null;
    const { average, parameters } = this.text;
    const trained = shown || average ? await this.program.read([parameters]) : null;
    if (shown) this.program.write(parameters, /** @type {Float32Array<ArrayBuffer>} */ (shown));
    else if (average) this.program.copy([[average, parameters]]);
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

  /**
   * The tensors that a run is between two updates, by their names in a checkpoint.
   * @returns {[name: string, tensor: Tensor][]}
   */
  #stateTensors() {
    const { parameters, moments, states } = this.text;
    return [
      ['parameters', parameters],
      ...moments.map(
        ([name, tensor]) => /** @type {[string, Tensor]} */ ([`moment.${name}`, tensor]),
      ),
      ...states.map((tensor, n) => /** @type {[string, Tensor]} */ ([`state.${n}`, tensor])),
    ];
  }

  /** Everything that a run is between two updates. */
  async snapshot() {
    const words = await this.program.read(this.#stateTensors().map(([, tensor]) => tensor));
    return { position: structuredClone(this.position), words, best: this.best };
  }

  /** @param {Awaited<ReturnType<Run['snapshot']>>} snapshot */
  restore({ position, words, best }) {
    this.#stateTensors().forEach(([, tensor], index) => this.program.write(tensor, words[index]));
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
    const { losses, ...counts } = position;
    const tensors = Object.fromEntries(
      this.#stateTensors().map(([name], index) => [name, floats(words[index])]),
    );
    tensors.losses = Float32Array.from(losses);
    if (best) tensors['best.parameters'] = /** @type {Float32Array<ArrayBuffer>} */ (best);
    const description = {
      version: STATE_VERSION,
      fingerprint: this.fingerprint,
      toml: this.site.toml,
      data: this.text.data,
      isPart: this.text.isPart,
      position: counts,
    };
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
    const words = this.#stateTensors().map(([name, [, , length]]) => {
      const values = file.tensors[name];
      if (values?.length !== length)
        throw new Problem('This state is damaged: a tensor is missing.');
      return new Uint32Array(values.buffer);
    });
    const { losses, 'best.parameters': best = null } = file.tensors;
    const position = { ...file.position, losses: [...(losses ?? [])] };
    this.restore({ position, words, best });
  }

  /**
   * Plays one update on a GPU with a timestamp before and after each call; returns seconds by
   * kernel.
   * @returns {Promise<Map<string, {calls: number, seconds: number}>>}
   */
  async timeUpdate() {
    const { phases } = /** @type {Program} */ (this.program);
    const calls = STEP.flatMap((phase) => phases.get(phase) ?? []);
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
    const gpu = /** @type {Device} */ (this.device);
    const program = /** @type {Program} */ (this.program);
    const { device } = gpu;
    const count = 2 * calls.length;
    const querySet = device.createQuerySet({ type: 'timestamp', count });
    const resolved = gpu.buffer(2 * count, GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC);
    const staging = gpu.buffer(2 * count, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    const encoder = device.createCommandEncoder();
    calls.forEach((call, index) => {
      const writes = { beginningOfPassWriteIndex: 2 * index, endOfPassWriteIndex: 2 * index + 1 };
      const pass = encoder.beginComputePass({ timestampWrites: { querySet, ...writes } });
      program.encode(pass, call);
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
