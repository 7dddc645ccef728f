// @ts-check
/** Elements of the page, and values as text. */

/** @typedef {import('./player.js').Scores} Scores */

/**
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 */
export const element = (id) => /** @type {E} */ (document.getElementById(id));
export const button = (/** @type {string} */ id) => /** @type {HTMLButtonElement} */ (element(id));
export const input = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (element(id));

/**
 * @param {string} tag
 * @param {Record<string, string>} attributes
 * @param {(Node | string)[]} children
 */
export function html(tag, attributes = {}, ...children) {
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
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** @param {number} value */
export const short = (value) =>
  Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(4)).toString();
/** @param {Scores} scores */
export const told = ({ loss, accuracy }) =>
  `loss ${short(loss)}${accuracy === null ? '' : `, accuracy ${percent(accuracy)}`}`;
/** @param {number} value */
export const percent = (value) => `${(100 * value).toFixed(1)} %`;

/**
 * A table; the first column is text, and others are if they are named.
 * @param {string[]} names
 * @param {string[][]} rows
 * @param {number[]} texts
 */
export function table(names, rows, texts = [0]) {
  const kind = (/** @type {number} */ column) =>
    texts.includes(column) ? { class: 'text' } : undefined;
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
export function save(file, name) {
  const url = URL.createObjectURL(file);
  html('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
