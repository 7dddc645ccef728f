// @ts-check
/** A text that the network in training continues. */

import { element, input } from './dom.js';
import { Problem } from './files.js';
import { randomWords } from './random.js';
import { drawToken } from './trial.js';

/** @typedef {import('./page.js').Page} Page */
/** @typedef {import('./player.js').Sample} Sample */

/**
 * Samples a text from the prompt on.
 * @param {Page} page
 * @param {Sample} trial
 */
export async function sample(page, trial) {
  const { run, tried } = page;
  if (!run || !tried) return;
  const tokens = tokensOf(input('prompt').value, trial);
  const [length, temperature] = [Number(input('length').value), Number(input('temperature').value)];
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
  await page.turn(async () => {
    await tried.follow(run);
    let logits = /** @type {Float32Array<ArrayBufferLike>} */ (
      new Float32Array(tried.text.outputs[2])
    );
    for (const token of tokens) logits = await tried.outputs(Uint32Array.of(token));
    for (let made = 0; made < length && run === page.run; made += 1) {
      // The unknown token stands for no text.
      if (names) logits[0] = -Infinity;
      const token = drawToken(logits, made || tokens.length ? temperature : 1, uniform());
      bytes.push(...(names ? names[token] : [token]));
      if (made % 16 === 0) showText(bytes);
      logits = await tried.outputs(Uint32Array.of(token));
    }
  });
  showText(bytes);
  element('sample-status').textContent = `${length} tokens after ${run.position.step} updates.`;
}

/** @param {number[]} bytes */
function showText(bytes) {
  element('text').textContent =
    input('prompt').value + new TextDecoder().decode(Uint8Array.from(bytes));
}

/**
 * The tokens of a prompt; unknown ones are refused.
 * @param {string} prompt
 * @param {Sample} trial
 */
function tokensOf(prompt, { unit, entries }) {
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
