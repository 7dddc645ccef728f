// @ts-check
/** A network in training, tried on one sequence: a drawing to classify, or text to sample. */

import { floats } from './device.js';

/** @typedef {import('./cpu.js').CpuDevice} CpuDevice */
/** @typedef {import('./device.js').Device} Device */
/** @typedef {import('./device.js').Pipeline} Pipeline */
/** @typedef {import('./files.js').Parts} Parts */
/** @typedef {import('./player.js').Run} Run */
/** @typedef {import('./player.js').TriedText} TriedText */

/** The network for one sequence: it reads the parameters of a run. */
export class Tried {
  /**
   * @param {TriedText} text
   * @param {Parts} data
   * @param {Device | CpuDevice} device
   * @param {Pipeline[]} pipelines
   */
  constructor(text, data, device, pipelines) {
    this.text = text;
    this.data = data;
    this.program = device.program(text.program, pipelines);
  }

  async begin() {
    for (const [buffer, segment] of this.text.contents) {
      this.program.write([buffer, 0, segment.words], await this.data.words(segment));
    }
  }

  /**
   * Takes over the parameters of the run's model, and begins with states of zeros.
   * @param {Run} run
   */
  async follow(run) {
    this.program.write(
      this.text.parameters,
      /** @type {Float32Array<ArrayBuffer>} */ (await run.model()),
    );
    for (const state of this.text.states) this.program.write(state, new Uint32Array(state[2]));
  }

  /**
   * The outputs for these inputs.
   * @param {Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>} inputs
   */
  async outputs(inputs) {
    this.program.write(this.text.inputs, inputs);
    this.program.run(['evaluate'], 1);
    return floats((await this.program.read([this.text.outputs]))[0]);
  }
}

/**
 * Probabilities of logits.
 * @param {Float32Array} logits
 * @param {number} temperature
 */
export function softmax(logits, temperature = 1) {
  const highest = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / all);
}

/**
 * Draws a token by its logit, with `uniform` in 0..1; the likeliest at the temperature 0.
 * @param {Float32Array} logits
 * @param {number} temperature
 * @param {number} uniform
 */
export function drawToken(logits, temperature, uniform) {
  if (temperature === 0) return logits.indexOf(Math.max(...logits));
  const probabilities = softmax(logits, temperature);
  let left = uniform;
  const drawn = probabilities.findIndex((probability) => (left -= probability) < 0);
  return drawn >= 0 ? drawn : probabilities.findLastIndex((probability) => probability > 0);
}

/**
 * The strokes of a drawing, in 0..1 of its sides, as an image: the drawing's larger side fills the
 * part of the image that digits of MNIST fill, around their centre of mass.
 * @param {[x: number, y: number][][]} strokes
 * @param {number} rows
 * @param {number} columns
 */
export function rasterised(strokes, rows, columns) {
  const points = strokes.flat();
  const image = new Float32Array(rows * columns);
  if (points.length === 0) return image;
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [left, right, top, bottom] = [
    Math.min(...xs),
    Math.max(...xs),
    Math.min(...ys),
    Math.max(...ys),
  ];
  const radius = Math.min(rows, columns) / 22;
  const side = (Math.min(rows, columns) * 20) / 28 - 2 * radius;
  const scale = side / Math.max(right - left, bottom - top, 0.2);
  const paint = (/** @type {number} */ dx, /** @type {number} */ dy) => {
    const place = (/** @type {[number, number]} */ [x, y]) => [
      (x - left) * scale + dx,
      (y - top) * scale + dy,
    ];
    const segments = strokes.flatMap((stroke) =>
      stroke.map((point, index) => [place(stroke[Math.max(index - 1, 0)]), place(point)]),
    );
    for (let pixel = 0; pixel < image.length; pixel += 1) {
      const [px, py] = [(pixel % columns) + 0.5, Math.floor(pixel / columns) + 0.5];
      const distances = segments.map(([[ax, ay], [bx, by]]) => {
        const length = (bx - ax) ** 2 + (by - ay) ** 2 || 1;
        const along = Math.min(
          1,
          Math.max(0, ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / length),
        );
        return Math.hypot(px - ax - along * (bx - ax), py - ay - along * (by - ay));
      });
      image[pixel] = Math.min(1, Math.max(0, radius + 0.5 - Math.min(...distances)));
    }
  };
  const centred = [(columns - (right - left) * scale) / 2, (rows - (bottom - top) * scale) / 2];
  paint(centred[0], centred[1]);
  const mass = image.reduce((sum, value) => sum + value, 0);
  const mean = (/** @type {(pixel: number) => number} */ of) =>
    image.reduce((sum, value, pixel) => sum + value * (of(pixel) + 0.5), 0) / mass;
  const [x, y] = [mean((pixel) => pixel % columns), mean((pixel) => Math.floor(pixel / columns))];
  paint(centred[0] + columns / 2 - x, centred[1] + rows / 2 - y);
  return image;
}
