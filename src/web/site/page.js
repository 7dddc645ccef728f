// @ts-check
/** The page of a run: its controls, curves, files, trial and check. */

import { checkDevice } from './check.js';
import { Device, Parts, Problem, Run, START, VERSION, load, randomWords } from './player.js';
import { Tried, drawToken, rasterised, softmax } from './trial.js';

/** @typedef {import('./check.js').Deviation} Deviation */
/** @typedef {import('./check.js').Row} Row */
/** @typedef {import('./player.js').Draw} Draw */
/** @typedef {import('./player.js').Epoch} Epoch */
/** @typedef {import('./player.js').Sample} Sample */
/** @typedef {import('./player.js').Scores} Scores */
/** @typedef {import('./player.js').Site} Site */

/**
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 */
const element = (id) => /** @type {E} */ (document.getElementById(id));
const button = (/** @type {string} */ id) => /** @type {HTMLButtonElement} */ (element(id));
const input = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (element(id));

/**
 * @param {string} tag
 * @param {Record<string, string>} attributes
 * @param {(Node | string)[]} children
 */
function html(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {(Node | string)[]} children
 */
function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** @param {number} value */
const short = (value) =>
  Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(4)).toString();
/** @param {Scores} scores */
const told = ({ loss, accuracy }) =>
  `loss ${short(loss)}${accuracy === null ? '' : `, accuracy ${percent(accuracy)}`}`;
/** @param {number} value */
const percent = (value) => `${(100 * value).toFixed(1)} %`;

/**
 * A table; the first column is text.
 * @param {string[]} names
 * @param {string[][]} rows
 */
function table(names, rows) {
  const kind = (/** @type {number} */ column) => (column === 0 ? { class: 'text' } : undefined);
  const head = html(
    'tr',
    {},
    ...names.map((name, column) => html('th', { scope: 'col', ...kind(column) }, name)),
  );
  const body = rows.map((row) =>
    html('tr', {}, ...row.map((cell, column) => html('td', kind(column), cell))),
  );
  return html('table', {}, html('thead', {}, head), html('tbody', {}, ...body));
}

/**
 * Saves a file on the visitor's disk.
 * @param {Blob} file
 * @param {string} name
 */
function save(file, name) {
  const url = URL.createObjectURL(file);
  html('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {string} class
 * @property {[x: number, y: number][]} points
 * @property {boolean} [dots]
 */

/**
 * Draws series over the updates into a box of the page.
 * @param {HTMLElement} box
 * @param {string} name
 * @param {Series[]} series
 * @param {{steps: number, top: number | null}} limits
 */
function drawChart(box, name, series, { steps, top }) {
  const [width, height] = [Math.max(box.clientWidth, 240), 224];
  const values = series.flatMap(({ points }) => points.map(([, y]) => y));
  const highest = top ?? (Math.max(...values, 0) * 1.05 || 1);
  const area = { left: 44, right: width - 12, top: 12, bottom: height - 26 };
  const x = (/** @type {number} */ step) =>
    area.left + (step / Math.max(steps, 1)) * (area.right - area.left);
  const y = (/** @type {number} */ value) =>
    area.bottom - (Math.min(value, highest) / highest) * (area.bottom - area.top);
  const lines = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => {
    const at = y(share * highest);
    return [
      svg('line', { class: 'grid', x1: area.left, x2: area.right, y1: at, y2: at }),
      svg(
        'text',
        { x: area.left - 6, y: at + 4, 'text-anchor': 'end' },
        short(Number((share * highest).toPrecision(2))),
      ),
    ];
  });
  const labels = [0, 0.5, 1].map((share) =>
    svg(
      'text',
      { x: x(share * steps), y: height - 6, 'text-anchor': ['start', 'middle', 'end'][share * 2] },
      String(Math.round(share * steps)),
    ),
  );
  const drawn = series.flatMap(({ class: kind, points, dots }) => [
    svg('polyline', {
      class: kind,
      points: points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(' '),
    }),
    ...(dots
      ? points.map(([a, b]) => svg('circle', { class: kind, cx: x(a), cy: y(b), r: 4 }))
      : []),
  ]);
  const last = series
    .filter(({ points }) => points.length)
    .map((each) => `${each.name} ${short(each.points[each.points.length - 1][1])}`);
  const label = `${name} over ${steps} updates: ${last.join(', ') || 'nothing yet'}`;
  box.replaceChildren(
    svg(
      'svg',
      { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label },
      ...lines,
      ...labels,
      ...drawn,
    ),
  );
}

/**
 * At most `most` means of consecutive values, at the number of the last of each.
 * @param {number[]} values
 * @param {number} most
 * @returns {[number, number][]}
 */
function smoothed(values, most) {
  const size = Math.max(1, Math.ceil(values.length / most));
  const means = /** @type {[number, number][]} */ ([]);
  for (let first = 0; first < values.length; first += size) {
    const some = values.slice(first, first + size);
    means.push([first + some.length, some.reduce((sum, value) => sum + value, 0) / some.length]);
  }
  return means;
}

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
    /** @type {Awaited<ReturnType<Run['snapshot']>> | null} */
    this.kept = null;
    this.wasHidden = false;
    /** @type {[number, number][][]} */
    this.strokes = [];
    /** Paints what the drawing area shows, in the colours of the page. */
    this.repaint = () => {};
    this.report = '';
  }

  /** Fills in what the page says of the recipe, and connects its controls. */
  show() {
    const { site } = this;
    element('title').textContent = `${site.recipe}, trained in this tab`;
    document.title = `${site.recipe} · gatescan`;
    element('summary').textContent =
      `A network of ${site.parameters.toLocaleString('en')} parameters (${site.network}) on ` +
      `${site.run.train.count.toLocaleString('en')} sequences, trained by this computer's GPU. ` +
      'Nothing is installed, and no data leave this page.';
    element('recipe').textContent = site.toml;
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
    this.#connect();
    this.draw();
  }

  #connect() {
    const on = (/** @type {string} */ id, /** @type {() => unknown} */ act) =>
      element(id).addEventListener('click', () => this.guarded(act));
    on('start', () => (this.isTraining ? this.stop() : this.train()));
    on('restart', () => this.#restart());
    on('model', async () => save(await this.#alone((run) => run.modelFile()), 'model.safetensors'));
    on('state', async () => save(await this.#alone((run) => run.stateFile()), 'state.safetensors'));
    on('check', () => this.check());
    on('copy', () => this.#copy());
    on('time', () => this.#time());
    input('resume').addEventListener('change', () => this.guarded(() => this.#resume()));
    document.addEventListener('visibilitychange', () => this.#visibility());
    new ResizeObserver(() => this.draw()).observe(element('loss-chart'));
    if (this.site.trial.kind === 'draw') this.#connectDrawing(this.site.trial);
    if (this.site.trial.kind === 'sample') on('sample', () => this.sample());
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

  /** Opens the GPU and uploads the run, from a state if there is one. */
  async open() {
    element('problem').hidden = true;
    this.say('Compiling the kernels.');
    const device = await Device.open(this.site.needs);
    element('adapter').textContent = device.name;
    device.device.lost.then((info) => this.#lost(device, info));
    device.device.addEventListener('uncapturederror', (event) => {
      this.isTraining = false;
      const { message } = /** @type {GPUUncapturedErrorEvent} */ (event).error;
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
  async train() {
    if (!this.run) await this.open();
    const run = /** @type {Run} */ (this.run);
    this.isTraining = true;
    this.#enable();
    this.say('Training.');
    let [kept, drawn] = [performance.now(), 0];
    while (this.isTraining && run === this.run && !run.ending) {
      await this.#turn(() => run.advance());
      const now = performance.now();
      if (now - kept > KEPT_EVERY * 1000) {
        this.kept = await this.#turn(() => run.snapshot());
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
    this.kept = await this.#turn(() => run.snapshot());
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
      const test = await this.#turn(() => run.evaluate('test'));
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
    this.isTraining = false;
    await this.#turn(async () => {});
    this.kept = null;
    this.run?.device.device.destroy();
    this.run = null;
    await this.open();
  }

  /**
   * Waits for what is in progress on the device, then acts: the parts of the page take turns.
   * @template T
   * @param {() => Promise<T>} act
   * @returns {Promise<T>}
   */
  #turn(act) {
    const turn = this.last.then(act, act);
    this.last = turn.catch(() => {});
    return turn;
  }

  /**
   * @template T
   * @param {(run: Run) => Promise<T>} act
   */
  #alone(act) {
    return this.#turn(() => act(/** @type {Run} */ (this.run)));
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
    await this.#alone(async (run) => run.restoreFile(bytes));
    input('resume').value = '';
    this.kept = await this.#alone((run) => run.snapshot());
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

  // ----- Drawing

  /** @param {Draw} trial */
  #connectDrawing(trial) {
    const canvas = /** @type {HTMLCanvasElement} */ (element('canvas'));
    const pen = { x: 0.5, y: 0.3, isDown: false };
    const at = (/** @type {PointerEvent} */ event) => {
      const box = canvas.getBoundingClientRect();
      return /** @type {[number, number]} */ ([
        (event.clientX - box.left) / box.width,
        (event.clientY - box.top) / box.height,
      ]);
    };
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      pen.isDown = true;
      this.strokes.push([at(event)]);
      this.#paint(canvas, null);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (!pen.isDown) return;
      this.strokes[this.strokes.length - 1].push(at(event));
      this.#paint(canvas, null);
    });
    canvas.addEventListener('pointerup', () => {
      pen.isDown = false;
      this.guarded(() => this.classify());
    });
    canvas.addEventListener('keydown', (event) => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
        event.key
      ];
      if (!move) return;
      event.preventDefault();
      const [x, y] = [pen.x + move[0] / 28, pen.y + move[1] / 28].map((value) =>
        Math.min(1, Math.max(0, value)),
      );
      if (event.shiftKey)
        this.strokes.push([
          [pen.x, pen.y],
          [x, y],
        ]);
      Object.assign(pen, { x, y });
      this.#paint(canvas, pen);
      if (event.shiftKey) this.guarded(() => this.classify());
    });
    canvas.addEventListener('blur', () => this.repaint());
    this.repaint = () => this.#paint(canvas, null);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.repaint());
    element('clear').addEventListener('click', () =>
      this.guarded(() => this.classify((this.strokes = []))),
    );
    element('example').addEventListener('click', () => this.guarded(() => this.#example(trial)));
  }

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{x: number, y: number} | null} pen
   */
  #paint(canvas, pen) {
    const context = canvas.getContext('2d');
    if (!context) return;
    const side = canvas.width;
    context.clearRect(0, 0, side, side);
    const ink = getComputedStyle(canvas).color;
    Object.assign(context, {
      lineWidth: side / 14,
      lineCap: 'round',
      lineJoin: 'round',
      strokeStyle: ink,
      fillStyle: ink,
    });
    for (const stroke of this.strokes) {
      context.beginPath();
      stroke.forEach(([x, y], index) =>
        index ? context.lineTo(x * side, y * side) : context.moveTo(x * side, y * side),
      );
      if (stroke.length === 1) context.lineTo(stroke[0][0] * side, stroke[0][1] * side + 0.1);
      context.stroke();
    }
    if (pen) {
      context.beginPath();
      context.arc(pen.x * side, pen.y * side, 4, 0, 7);
      context.fill();
    }
  }

  /** Classifies the drawing. */
  async classify(strokes = this.strokes) {
    const canvas = /** @type {HTMLCanvasElement} */ (element('canvas'));
    this.repaint = () => this.#paint(canvas, null);
    this.repaint();
    const { trial } = this.site;
    if (strokes.length === 0 || trial.kind !== 'draw') {
      element('drawing-result').textContent = 'Nothing is drawn.';
      element('classes').replaceChildren();
      return null;
    }
    return this.classifyImage(rasterised(strokes, trial.rows, trial.columns), trial);
  }

  /**
   * Classifies an image of values in 0..1.
   * @param {Float32Array} image
   * @param {Draw} trial
   */
  async classifyImage(image, trial, label = '') {
    const inputs = image.map((value) => Math.round(value * 255) * trial.scale);
    const outputs = await this.#alone(async (run) => {
      const tried = /** @type {Tried} */ (this.tried);
      await tried.follow(run);
      return tried.outputs(inputs);
    });
    const probabilities = softmax(outputs);
    const best = probabilities.indexOf(Math.max(...probabilities));
    const trained = this.run?.position.step ? '' : ' The network is not trained yet.';
    element('drawing-result').textContent =
      `${label}Read as ${trial.classes[best]}, with the probability ${percent(probabilities[best])}.${trained}`;
    const row = (/** @type {number} */ probability, /** @type {number} */ index) =>
      html(
        'div',
        { class: 'row' },
        html('span', {}, trial.classes[index]),
        html('i', { style: `width: ${(100 * probability).toFixed(1)}%` }),
        html('span', {}, percent(probability)),
      );
    element('classes').replaceChildren(...probabilities.map(row));
    return { class: best, probabilities };
  }

  /**
   * Shows and classifies an image of the evaluated split.
   * @param {Draw} trial
   */
  async #example(trial) {
    const split = this.site.run.validation
      ? 'validate'
      : this.site.run.test
        ? 'evaluate'
        : 'forward';
    const names = this.site.train.buffers.map(([name]) => name);
    const [pixels, labels] = ['data', 'labels'].map((name) => names.indexOf(`${split}.${name}`));
    const count =
      {
        validate: this.site.run.validation,
        evaluate: this.site.run.test,
        forward: this.site.run.train,
      }[split]?.count ?? 1;
    const index = Math.floor(Math.random() * count);
    const size = trial.rows * trial.columns;
    const first = index * size;
    const words = Math.ceil((first + size) / 4) - Math.floor(first / 4);
    const [bytes, label] = await this.#alone((run) =>
      run.program.read([
        [pixels, Math.floor(first / 4), words],
        [labels, index, 1],
      ]),
    );
    const image = Float32Array.from(
      new Uint8Array(bytes.buffer, bytes.byteOffset + (first % 4), size),
      (byte) => byte / 255,
    );
    this.strokes = [];
    this.repaint = () => this.#paintImage(image, trial);
    this.repaint();
    await this.classifyImage(
      image,
      trial,
      `Image ${index + 1} of the evaluated ones, a ${trial.classes[label[0]]}. `,
    );
  }

  /**
   * @param {Float32Array} image
   * @param {Draw} trial
   */
  #paintImage(image, { rows, columns }) {
    const canvas = /** @type {HTMLCanvasElement} */ (element('canvas'));
    this.#paint(canvas, null);
    const context = canvas.getContext('2d');
    if (!context) return;
    const [width, height] = [canvas.width / columns, canvas.height / rows];
    image.forEach((value, pixel) => {
      const [x, y] = [(pixel % columns) * width, Math.floor(pixel / columns) * height];
      context.globalAlpha = value;
      context.fillRect(x, y, width, height);
    });
    context.globalAlpha = 1;
  }

  // ----- Sampling

  /** Samples a text from the prompt on. */
  async sample() {
    const { trial } = this.site;
    const { run, tried } = this;
    if (trial.kind !== 'sample' || !run || !tried) return;
    const tokens = this.tokens(input('prompt').value, trial);
    const [length, temperature] = [
      Number(input('length').value),
      Number(input('temperature').value),
    ];
    if (!(length >= 1 && length <= 5000))
      throw new Problem(`The length is ${input('length').value}; it must be from 1 to 5000.`);
    if (!(temperature >= 0))
      throw new Problem(`The temperature is ${input('temperature').value}; it must be 0 or more.`);
    const words = randomWords([run.position.step, 0], [7, 0]);
    const uniform = () => {
      const word = /** @type {number} */ (words.next().value);
      return (word >>> 8) / 2 ** 24;
    };
    const bytes = /** @type {number[]} */ ([]);
    const names =
      trial.unit === 'byte'
        ? null
        : ['', ...trial.entries].map((name) => new TextEncoder().encode(name));
    element('sample-status').textContent = 'Sampling.';
    await this.#turn(async () => {
      await tried.follow(run);
      let logits = /** @type {Float32Array<ArrayBufferLike>} */ (
        new Float32Array(tried.text.outputs[2])
      );
      for (const token of tokens) logits = await tried.outputs(Uint32Array.of(token));
      for (let made = 0; made < length && run === this.run; made += 1) {
        // The unknown token stands for no text.
        if (names) logits[0] = -Infinity;
        const token = drawToken(logits, made || tokens.length ? temperature : 1, uniform());
        bytes.push(...(names ? names[token] : [token]));
        if (made % 16 === 0) this.#showText(bytes);
        logits = await tried.outputs(Uint32Array.of(token));
      }
    });
    this.#showText(bytes);
    element('sample-status').textContent = `${length} tokens after ${run.position.step} updates.`;
  }

  /** @param {number[]} bytes */
  #showText(bytes) {
    element('text').textContent =
      input('prompt').value + new TextDecoder().decode(Uint8Array.from(bytes));
  }

  /**
   * The tokens of a prompt; unknown ones are refused.
   * @param {string} prompt
   * @param {Sample} trial
   */
  tokens(prompt, { unit, entries }) {
    if (unit === 'byte') return [...new TextEncoder().encode(prompt)];
    const strings =
      unit === 'word' ? (prompt.match(/ ?[\p{Alphabetic}\p{N}]+|[^]/gu) ?? []) : [...prompt];
    return strings.map((string) => {
      const index = entries.indexOf(string);
      if (index < 0)
        throw new Problem(
          `The text that the network was trained on has no “${string}”; begin with something else.`,
        );
      return index + 1;
    });
  }

  // ----- Checking and timing

  /** Plays the recorded cases on this GPU. */
  async check() {
    const device = /** @type {Run} */ (this.run).device;
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
        for (const [kernel, { calls, seconds }] of await this.#alone((run) => run.timeUpdate())) {
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
    await page.open();
  } catch (error) {
    (page ?? Page.prototype).problem.call(page ?? Page.prototype, /** @type {Error} */ (error));
  }
  return page;
}

/** The page, for tests and for curious visitors. */
export const page = globalThis.document?.getElementById('status') ? start() : null;
