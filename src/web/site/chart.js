// @ts-check
/** Curves over the updates of a run. */

import { short, svg } from './dom.js';

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
export function drawChart(box, name, series, { steps, top }) {
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
export function smoothed(values, most) {
  const size = Math.max(1, Math.ceil(values.length / most));
  const means = /** @type {[number, number][]} */ ([]);
  for (let first = 0; first < values.length; first += size) {
    const some = values.slice(first, first + size);
    means.push([first + some.length, some.reduce((sum, value) => sum + value, 0) / some.length]);
  }
  return means;
}
