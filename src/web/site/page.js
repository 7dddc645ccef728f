// @ts-check
/** The page of a run: its controls, curves and files. */

import { drawChart, smoothed } from './chart.js';
import { checkDevice } from './check.js';
import { Device } from './device.js';
import { button, element, html, input, percent, save, short, table, told } from './dom.js';
import { Drawing } from './drawing.js';
import { Parts, Problem, load } from './files.js';
import { Own } from './own.js';
import { Run, START, VERSION } from './player.js';
import { sample } from './sampling.js';
import { Tried } from './trial.js';

/** @typedef {import('./check.js').Deviation} Deviation */
/** @typedef {import('./cpu.js').CpuDevice} CpuDevice */
/** @typedef {import('./check.js').Row} Row */
/** @typedef {import('./player.js').Epoch} Epoch */
/** @typedef {import('./player.js').Site} Site */

/** How often the state of a run is kept in case the device is lost, in seconds. */
const KEPT_EVERY = 10;

/** The page of a run. */
export class Page {
  /**
   * @param {Site} site
   * @param {Parts} data
   */
  constructor(site, data) {
    this.site = site;
    this.data = data;
    /** @type {'GPU' | 'CPU'} */
    this.processor = 'GPU';
    /** @type {() => Promise<Device | CpuDevice>} */
    this.openDevice = () => Device.open(this.site.needs);
    /** @type {Run | null} */
    this.run = null;
    /** @type {Tried | null} */
    this.tried = null;
    this.isTraining = false;
    this.isBusy = false;
    /**
     * What is in progress on the device.
     * @type {Promise<unknown>}
     */
    this.last = Promise.resolve();
    /**
     * The training in progress, or the last one.
     * @type {Promise<unknown>}
     */
    this.training = Promise.resolve();
    /** @type {Awaited<ReturnType<Run['snapshot']>> | null} */
    this.kept = null;
    this.wasHidden = false;
    this.report = '';
  }

  /** Shows the run, and connects the controls. */
  show() {
    this.#describe();
    this.#connect();
    this.draw();
  }

  /** Fills in what the page says of the run. */
  #describe() {
    const { site, processor } = this;
    element('title').textContent = `${site.recipe}, trained in this tab`;
    document.title = `${site.recipe} · gatescan`;
    element('summary').textContent =
      `A network of ${site.parameters.toLocaleString('en')} parameters (${site.network}) on ` +
      `${site.run.train.count.toLocaleString('en')} sequences, trained by this computer's ${processor}. ` +
      'Nothing is installed, and no data leave this page.';
    element('recipe').textContent = site.toml;
    element('processor').textContent = processor;
    element('agreement-box').hidden = processor === 'CPU';
    for (const id of ['adapter', 'agreement']) element(id).textContent = '–';
    for (const id of ['text', 'sample-status']) element(id).textContent = '';
    element('accuracy-figure').hidden = !site.run.classifies;
    element('accuracy-box').hidden = !site.run.classifies;
    const split = site.run.validation ? 'Validation' : 'Test';
    const hasSplit = site.run.validation ?? site.run.test;
    element('evaluated-name').textContent = hasSplit
      ? `${split}, ${hasSplit.count} sequences`
      : 'Evaluated';
    const key = (/** @type {string} */ kind, /** @type {string} */ name) =>
      html('span', { class: `key ${kind}` }, html('i'), name);
    element('key').replaceChildren(
      key('c0', 'training'),
      ...(hasSplit ? [key('c1', `${split.toLowerCase()} split`)] : []),
    );
    element('drawing').hidden = site.trial.kind !== 'draw';
    element('sampling').hidden = site.trial.kind !== 'sample';
    element('checking').hidden = site.cases === 0;
    element('timing-table').hidden = true;
    element('timing-result').textContent = '';
  }

  /**
   * Shows another run in place of this one, and opens its device.
   * @param {Site} site
   * @param {Parts} data
   * @param {'GPU' | 'CPU'} processor
   * @param {() => Promise<Device | CpuDevice>} openDevice
   */
  async adopt(site, data, processor, openDevice) {
    await this.#close();
    Object.assign(this, { site, data, processor, openDevice, tried: null });
    this.#describe();
    this.draw();
    await this.open();
  }

  #connect() {
    const on = (/** @type {string} */ id, /** @type {() => unknown} */ act) =>
      element(id).addEventListener('click', () => this.guarded(act));
    on('start', () => (this.isTraining ? this.stop() : this.train()));
    on('restart', () => this.#restart());
    on('model', async () => save(await this.alone((run) => run.modelFile()), 'model.safetensors'));
    on('state', async () => save(await this.alone((run) => run.stateFile()), 'state.safetensors'));
    on('check', () => this.check());
    on('copy', () => this.#copy());
    on('time', () => this.#time());
    input('resume').addEventListener('change', () => this.guarded(() => this.#resume()));
    document.addEventListener('visibilitychange', () => this.#visibility());
    new ResizeObserver(() => this.draw()).observe(element('loss-chart'));
    const { trial } = this.site;
    if (trial.kind === 'draw') new Drawing(this, trial).connect();
    on('sample', () => {
      const { trial: current } = this.site;
      return current.kind === 'sample' ? sample(this, current) : undefined;
    });
  }

  /**
   * Shows a problem in place of throwing it.
   * @param {() => unknown} act
   */
  async guarded(act) {
    try {
      await act();
    } catch (error) {
      this.isTraining = false;
      // A lost device fails whatever was waiting for it; what happened is on the page by then.
      if (!this.run?.device.isLost) this.problem(/** @type {Error} */ (error));
    }
    this.#enable();
  }

  /** @param {string} text */
  say(text) {
    element('status').textContent = text;
  }

  /** @param {Error} error */
  problem(error) {
    const isKnown = error instanceof Problem;
    this.say(
      isKnown ? error.message : `This is a defect of the page or of the browser: ${error.message}`,
    );
    const remedies = isKnown
      ? error.remedies
      : ['Please report it with the browser and its version.'];
    element('problem').hidden = remedies.length === 0;
    element('remedies').replaceChildren(...remedies.map((remedy) => html('li', {}, remedy)));
  }

  /** Opens the device and uploads the run, from a state if there is one. */
  async open() {
    element('problem').hidden = true;
    this.say(this.processor === 'GPU' ? 'Compiling the kernels.' : 'Loading the run.');
    const device = await this.openDevice();
    element('adapter').textContent = device.name;
    device.onLost((info) => this.#lost(/** @type {Device} */ (device), info));
    device.onError((message) => {
      this.isTraining = false;
      this.problem(
        new Problem(`The GPU reports an error: ${message}`, ['Train a smaller network or batch.']),
      );
    });
    const pipelines = await device.pipelines(this.site.shaders);
    const run = new Run(this.site, this.data, device, pipelines);
    await run.begin();
    if (this.kept) run.restore(this.kept);
    this.run = run;
    const { trial } = this.site;
    if (trial.kind !== 'none') {
      this.tried = new Tried(trial.network, this.data, device, pipelines);
      await this.tried.begin();
    }
    element('timing').hidden = !device.hasTimestamps;
    this.say('Ready.');
    this.draw();
    this.#enable();
  }

  #enable() {
    const isReady = this.run !== null && !this.isBusy;
    const canTrain = isReady || (this.run === null && this.kept !== null);
    button('start').disabled = !canTrain || (this.run !== null && this.run.ending !== null);
    button('start').textContent = this.isTraining
      ? 'Stop'
      : this.run?.position.step
        ? 'Continue'
        : 'Start';
    for (const id of ['restart', 'model', 'state']) button(id).disabled = !isReady;
    input('resume').disabled = !isReady || this.isTraining;
    button('time').disabled = !isReady || this.isTraining || this.run?.ending !== null;
    button('check').disabled = !isReady || this.isTraining;
    if (this.site.trial.kind === 'sample') button('sample').disabled = !isReady;
  }

  /** Trains until it is stopped or over. */
  train() {
    this.training = this.#train();
    return this.training;
  }

  async #train() {
    if (!this.run) await this.open();
    const run = /** @type {Run} */ (this.run);
    this.isTraining = true;
    this.#enable();
    this.say('Training.');
    let [kept, drawn] = [performance.now(), 0];
    while (this.isTraining && run === this.run && !run.ending) {
      await this.turn(() => run.advance());
      const now = performance.now();
      if (now - kept > KEPT_EVERY * 1000) {
        this.kept = await this.turn(() => run.snapshot());
        kept = now;
      }
      // A drawing takes a few milliseconds, which training would miss.
      if (now - drawn > 200) {
        this.draw();
        drawn = now;
      }
    }
    if (run === this.run) await this.#pause(run);
  }

  /** @param {Run} run */
  async #pause(run) {
    this.isTraining = false;
    this.kept = await this.turn(() => run.snapshot());
    const { epochs, history } = run.position;
    const last = history[history.length - 1]?.evaluated ?? null;
    const split = this.site.run.validation ? 'validation' : 'test';
    const scores = last ? `: ${told(last)} on the ${split} split` : '';
    const ending = {
      complete: 'Training is complete',
      stalled: 'Training has ended, since the loss no longer falls',
    };
    const count = epochs === 1 ? 'one epoch' : `${epochs} epochs`;
    this.say(run.ending ? `${ending[run.ending]} after ${count}${scores}.` : 'Stopped.');
    if (run.ending && this.site.run.validation && this.site.run.test) {
      // The best epoch's parameters are the model, where the recipe keeps them.
      const test = await this.turn(() => run.evaluate('test', run.best));
      if (test) this.say(`${element('status').textContent} Test split: ${told(test)}.`);
    }
    this.draw();
  }

  /** Stops after the submission in progress. */
  stop() {
    this.isTraining = false;
    this.say('Stopping.');
  }

  async #restart() {
    await this.#close();
    await this.open();
  }

  /** Gives up the run and its device. */
  async #close() {
    this.isTraining = false;
    await this.training.catch(() => {});
    await this.turn(async () => {});
    this.kept = null;
    this.run?.device.close();
    this.run = null;
  }

  /**
   * Waits for what is in progress on the device, then acts: the parts of the page take turns.
   * @template T
   * @param {() => Promise<T>} act
   * @returns {Promise<T>}
   */
  turn(act) {
    const turn = this.last.then(act, act);
    this.last = turn.catch(() => {});
    return turn;
  }

  /**
   * Acts on the run in its turn.
   * @template T
   * @param {(run: Run) => Promise<T>} act
   */
  alone(act) {
    return this.turn(() => act(/** @type {Run} */ (this.run)));
  }

  /**
   * @param {Device} device
   * @param {GPUDeviceLostInfo} info
   */
  #lost(device, info) {
    device.isLost = true;
    if (info.reason === 'destroyed') return;
    this.isTraining = false;
    this.run = null;
    this.isBusy = false;
    const since = this.kept
      ? `The state of update ${this.kept.position.step} is kept: Continue starts from it.`
      : 'Nothing was trained yet.';
    this.problem(
      new Problem(
        `The browser has lost the GPU (${info.message || 'without a reason'}). ${since}`,
        [
          'A driver that was restarted, a computer that slept, or a GPU that another program filled can be the cause.',
          'If Continue fails, reload the page; a state that was downloaded continues there.',
        ],
      ),
    );
    this.kept ??= null;
    this.#enable();
    if (!this.kept) button('restart').disabled = false;
  }

  #visibility() {
    if (document.hidden && this.isTraining) {
      this.wasHidden = true;
      this.say('Training. This tab is hidden, so the browser may slow it down; nothing is lost.');
    } else if (!document.hidden && this.wasHidden) {
      this.wasHidden = false;
      if (this.isTraining) this.say('Training.');
      this.draw();
    }
  }

  async #resume() {
    const file = input('resume').files?.[0];
    if (!file) return;
    const bytes = await file.arrayBuffer();
    await this.alone(async (run) => run.restoreFile(bytes));
    input('resume').value = '';
    this.kept = await this.alone((run) => run.snapshot());
    this.say(`Continued from update ${this.run?.position.step}.`);
    this.draw();
  }

  /** Shows the position of the run and its curves. */
  draw() {
    const { run, site } = this;
    const position = run?.position ?? this.kept?.position ?? START;
    const { history, losses, totals } = position;
    const last = history[history.length - 1];
    const inProgress = run && totals.length ? run.scores(totals) : last?.train;
    const put = (/** @type {string} */ id, /** @type {string} */ text) =>
      (element(id).textContent = text);
    put(
      'epoch',
      `${Math.min(position.epochs + (totals.length ? 1 : 0), site.run.epochs)} of ${site.run.epochs}`,
    );
    put('step', `${position.step} of ${site.run.steps}`);
    put('loss', inProgress ? short(inProgress.loss) : '–');
    put(
      'accuracy',
      inProgress && inProgress.accuracy !== null ? percent(inProgress.accuracy) : '–',
    );
    const evaluated = last?.evaluated;
    put(
      'evaluated',
      evaluated
        ? `${short(evaluated.loss)}${evaluated.accuracy === null ? '' : ` · ${percent(evaluated.accuracy)}`}`
        : '–',
    );
    put('speed', run?.speed ? Math.round(run.speed).toLocaleString('en') : '–');
    this.#agreement(losses);
    const dots = (/** @type {(epoch: Epoch) => number | null | undefined} */ of) =>
      /** @type {[number, number][]} */ (
        history
          .map((epoch) => [epoch.step, of(epoch)])
          .filter(([, value]) => typeof value === 'number')
      );
    const limits = { steps: site.run.steps, top: null };
    drawChart(
      element('loss-chart'),
      'Loss',
      [
        { name: 'training', class: 'c0', points: smoothed(losses, 400) },
        {
          name: 'evaluated',
          class: 'c1',
          points: dots((epoch) => epoch.evaluated?.loss),
          dots: true,
        },
      ],
      limits,
    );
    if (!site.run.classifies) return;
    drawChart(
      element('accuracy-chart'),
      'Accuracy',
      [
        {
          name: 'training',
          class: 'c0',
          points: dots((epoch) => epoch.train.accuracy),
          dots: true,
        },
        {
          name: 'evaluated',
          class: 'c1',
          points: dots((epoch) => epoch.evaluated?.accuracy),
          dots: true,
        },
      ],
      { ...limits, top: 1 },
    );
  }

  /**
   * Compares the first losses with those of the CPU.
   * @param {number[]} losses
   */
  #agreement(losses) {
    const expected = this.site.run.losses;
    const count = Math.min(losses.length, expected.length);
    if (count === 0) return;
    const worst = losses
      .slice(0, count)
      .reduce((most, loss, index) => Math.max(most, Math.abs(loss - expected[index])), 0);
    element('agreement').textContent =
      `${worst === 0 ? 'equal' : `±${worst.toExponential(1)}`} in ${count} updates`;
  }

  /** Plays the recorded cases on this GPU. */
  async check() {
    const device = /** @type {Device} */ (/** @type {Run} */ (this.run).device);
    this.isBusy = true;
    this.#enable();
    const bar = /** @type {HTMLProgressElement} */ (element('check-progress'));
    bar.hidden = false;
    element('check-result').textContent = 'Compiling the kernels of all cases.';
    try {
      const result = await checkDevice(device, (done, all) => {
        [bar.value, bar.max] = [done, all];
        if (done === 1) element('check-result').textContent = 'Checking.';
      });
      this.#showCheck(result, device);
      return result;
    } finally {
      bar.hidden = true;
      this.isBusy = false;
    }
  }

  /**
   * @param {Awaited<ReturnType<typeof checkDevice>>} result
   * @param {Device} device
   */
  #showCheck({ rows, failures, cases }, device) {
    const names = [...rows.keys()].sort();
    const sum = (/** @type {(row: Row) => number} */ of) =>
      [...rows.values()].reduce((all, row) => all + of(row), 0);
    const wrong = names.filter((name) => rows.get(name)?.failure);
    const counted = `${sum((row) => row.elements).toLocaleString('en')} elements of ${sum((row) => row.calls).toLocaleString('en')} calls in ${cases} cases`;
    const verdict = wrong.length
      ? `Wrong on this GPU: ${wrong.join(', ')}. ${counted} were compared.`
      : `This GPU computes right: ${counted} are within their bounds.`;
    const text = (/** @type {Deviation} */ each) =>
      `${each.kernel} in ${each.case}, call ${each.call}: ${each.argument}[${each.index}] is ${each.found}, must be ${each.expected}; the difference is ${short(each.units)} times the allowed one`;
    const result = element('check-result');
    result.replaceChildren(
      verdict,
      ...failures.slice(0, 5).map((each) => html('span', { class: 'bad' }, html('br'), text(each))),
    );
    const cells = names.map((name) => {
      const row = /** @type {Row} */ (rows.get(name));
      return [
        name,
        String(row.cases),
        String(row.calls),
        row.elements.toLocaleString('en'),
        short(row.units),
        row.failure ? 'wrong' : 'right',
      ];
    });
    element('check-table').hidden = false;
    element('check-table').replaceChildren(
      table(['Kernel', 'Cases', 'Calls', 'Elements', 'Error / bound', 'Result'], cells),
    );
    button('copy').hidden = false;
    this.report = [
      `gatescan ${this.site.gatescan}, checked in a browser`,
      `GPU: ${device.name}`,
      `Browser: ${navigator.userAgent}`,
      verdict,
      ...failures.map(text),
      ...cells.map((row) => row.join('\t')),
    ].join('\n');
  }

  async #copy() {
    await navigator.clipboard.writeText(this.report);
    button('copy').textContent = 'Copied';
    setTimeout(() => (button('copy').textContent = 'Copy the report'), 2000);
  }

  async #time() {
    const updates = Math.min(5, this.site.run.steps - /** @type {Run} */ (this.run).position.step);
    this.isBusy = true;
    this.#enable();
    /** @type {Map<string, {calls: number, seconds: number}>} */
    const all = new Map();
    try {
      for (let update = 0; update < updates && !this.run?.ending; update += 1) {
        for (const [kernel, { calls, seconds }] of await this.alone((run) => run.timeUpdate())) {
          const each = all.get(kernel) ?? { calls: 0, seconds: 0 };
          all.set(kernel, { calls: each.calls + calls, seconds: each.seconds + seconds });
        }
      }
    } finally {
      this.isBusy = false;
    }
    const total = [...all.values()].reduce((sum, { seconds }) => sum + seconds, 0);
    const rows = [...all].sort((a, b) => b[1].seconds - a[1].seconds);
    element('timing-result').textContent =
      `${updates} updates took ${short(1000 * total)} ms on the GPU. Browsers round timestamps, so short kernels may show no time.`;
    element('timing-table').hidden = false;
    element('timing-table').replaceChildren(
      table(
        ['Kernel', 'Calls of an update', 'Milliseconds', 'Share'],
        rows.map(([kernel, { calls, seconds }]) => [
          kernel,
          String(calls / updates),
          short((1000 * seconds) / updates),
          percent(seconds / total || 0),
        ]),
      ),
    );
    this.draw();
  }
}

/** Loads the site and opens its page. */
export async function start() {
  let page = null;
  try {
    const text = new TextDecoder().decode(await load('program.json'));
    const site = /** @type {Site} */ (JSON.parse(text));
    if (site.version !== VERSION) {
      throw new Problem(
        `program.json has version ${site.version}, and this page plays ${VERSION}.`,
        [
          'Copy all files of the folder that `gatescan web` wrote, and reload the page without its cache.',
        ],
      );
    }
    page = new Page(site, new Parts(await load('data.bin')));
    page.show();
    if (site.library) new Own(page).connect();
    await page.open();
  } catch (error) {
    (page ?? Page.prototype).problem.call(page ?? Page.prototype, /** @type {Error} */ (error));
  }
  return page;
}

/** The page, for tests and for curious visitors. */
export const page = globalThis.document?.getElementById('status') ? start() : null;
