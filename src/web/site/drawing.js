// @ts-check
/** A drawing of the visitor, or an image of the data, that the network classifies. */

import { element, html, percent } from './dom.js';
import { rasterised, softmax } from './trial.js';

/** @typedef {import('./page.js').Page} Page */
/** @typedef {import('./player.js').Draw} Draw */
/** @typedef {import('./trial.js').Tried} Tried */

/** The drawing area. */
export class Drawing {
  /**
   * @param {Page} page
   * @param {Draw} trial
   */
  constructor(page, trial) {
    this.page = page;
    this.trial = trial;
    /** @type {[number, number][][]} */
    this.strokes = [];
    /** Paints what the drawing area shows, in the colours of the page. */
    this.repaint = () => {};
  }

  /** Connects the controls. */
  connect() {
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
      this.page.guarded(() => this.classify());
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
      if (event.shiftKey) this.page.guarded(() => this.classify());
    });
    canvas.addEventListener('blur', () => this.repaint());
    this.repaint = () => this.#paint(canvas, null);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.repaint());
    element('clear').addEventListener('click', () =>
      this.page.guarded(() => this.classify((this.strokes = []))),
    );
    element('example').addEventListener('click', () => this.page.guarded(() => this.#example()));
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
    if (strokes.length === 0) {
      element('drawing-result').textContent = 'Nothing is drawn.';
      element('classes').replaceChildren();
      return null;
    }
    return this.classifyImage(rasterised(strokes, this.trial.rows, this.trial.columns));
  }

  /**
   * Classifies an image of values in 0..1.
   * @param {Float32Array} image
   */
  async classifyImage(image, label = '') {
    const { trial } = this;
    const inputs = image.map((value) => Math.round(value * 255) * trial.scale);
    const outputs = await this.page.alone(async (run) => {
      const tried = /** @type {Tried} */ (this.page.tried);
      await tried.follow(run);
      return tried.outputs(inputs);
    });
    const probabilities = softmax(outputs);
    const best = probabilities.indexOf(Math.max(...probabilities));
    const trained = this.page.run?.position.step ? '' : ' The network is not trained yet.';
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

  /** Shows and classifies an image of the evaluated split. */
  async #example() {
    const { trial } = this;
    const { run: recorded, train } = this.page.site;
    const split = recorded.validation ? 'validate' : recorded.test ? 'evaluate' : 'forward';
    const names = train.buffers.map(([name]) => name);
    const [pixels, labels] = ['data', 'labels'].map((name) => names.indexOf(`${split}.${name}`));
    const { count } = recorded.validation ?? recorded.test ?? recorded.train;
    const index = Math.floor(Math.random() * count);
    const size = trial.rows * trial.columns;
    const first = index * size;
    const words = Math.ceil((first + size) / 4) - Math.floor(first / 4);
    const [bytes, label] = await this.page.alone((run) =>
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
    this.repaint = () => this.#paintImage(image);
    this.repaint();
    await this.classifyImage(
      image,
      `Image ${index + 1} of the evaluated ones, a ${trial.classes[label[0]]}. `,
    );
  }

  /** @param {Float32Array} image */
  #paintImage(image) {
    const { rows, columns } = this.trial;
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
}
