// @ts-check
/** A run on a table or text of the visitor, which the library records in this tab. */

import { CpuDevice } from './cpu.js';
import { Device } from './device.js';
import { button, element, html, input, table } from './dom.js';
import { Parts, Problem } from './files.js';
import { Library } from './library.js';

/** @typedef {import('./page.js').Page} Page */
/** @typedef {import('./player.js').Site} Site */
/**
 * @typedef {object} Proposal
 * @property {string} summary
 * @property {string} task
 * @property {string[]} findings
 * @property {string[][]} parts
 * @property {string} recipe
 */

/** The largest file, in bytes: the library has 4 GiB for it and all that is made of it. */
const LARGEST = 200e6;
/** The most columns that are shown. */
const MOST_PARTS = 100;
/** Updates whose losses the library computes in advance for a run on the GPU. */
const CHECKED = 5;

/** The part of the page for the visitor's own data. */
export class Own {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    /** The version of the page, which is the library's too. */
    this.version = page.site.gatescan;
    /** @type {Library | null} */
    this.library = null;
    /** @type {File | null} */
    this.file = null;
    this.isBusy = false;
  }

  /** Shows the part, and connects its controls. */
  connect() {
    element('own').hidden = false;
    const drop = element('drop');
    const isOver = (/** @type {boolean} */ over) => drop.classList.toggle('over', over);
    drop.addEventListener('dragover', (event) => {
      event.preventDefault();
      isOver(true);
    });
    drop.addEventListener('dragleave', () => isOver(false));
    drop.addEventListener('drop', (event) => {
      event.preventDefault();
      isOver(false);
      this.#choose(event.dataTransfer?.files);
    });
    input('own-file').addEventListener('change', () => this.#choose(input('own-file').files));
    button('own-look').addEventListener('click', () => this.#guarded(() => this.#look()));
    button('own-train').addEventListener('click', () => this.#guarded(() => this.#train()));
  }

  /** @param {FileList | null | undefined} files */
  #choose(files) {
    if (!files?.length) return;
    this.file = files[0];
    this.#guarded(() => this.#look());
  }

  /**
   * Shows a problem in place of throwing it, and lets nothing else begin meanwhile.
   * @param {() => Promise<void>} act
   */
  async #guarded(act) {
    if (this.isBusy) return;
    this.#enable(false);
    try {
      await act();
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      const remedies = error instanceof Problem ? error.remedies : [];
      this.#say([message, ...remedies].join(' '));
      element('own-status').classList.add('bad');
    }
    this.#enable(true);
  }

  /** @param {boolean} isFree */
  #enable(isFree) {
    this.isBusy = !isFree;
    input('own-file').disabled = !isFree;
    button('own-look').disabled = !isFree || !this.file;
    button('own-train').disabled = !isFree;
  }

  /** @param {string} text */
  #say(text) {
    element('own-status').textContent = text;
    element('own-status').classList.remove('bad');
  }

  /** The library, opened where it is not, or where it has failed. */
  async #opened() {
    if (this.library && !this.library.failure) return this.library;
    this.library = new Library();
    const { answer } = await this.library.ask({ do: 'version' });
    if (answer.version !== this.version) {
      this.library.close();
      this.library = null;
      throw new Problem(
        `gatescan.wasm has version ${answer.version}, and this page ${this.version}.`,
        ['Write the folder again with a module of the same version.'],
      );
    }
    return this.library;
  }

  /** Looks at the file, and shows the recipe that is proposed for it. */
  async #look() {
    const file = /** @type {File} */ (this.file);
    element('own-run').hidden = true;
    element('own-parts').hidden = true;
    element('own-findings').replaceChildren();
    if (file.size > LARGEST) {
      throw new Problem(
        `${file.name} has ${(file.size / 1e6).toFixed(0)} MB, and this page takes files of at ` +
          `most ${LARGEST / 1e6} MB.`,
        ['The command line takes larger ones: gatescan init FILE.'],
      );
    }
    if (/\.(npz|npy|zip)$/i.test(file.name)) {
      throw new Problem(
        `${file.name} holds arrays, and this page reads tables, series, sequences and texts.`,
        ['The command line reads arrays: gatescan init FILE.'],
      );
    }
    this.#say(`Looking at ${file.name}.`);
    const [target, group, time] = ['target', 'group', 'time'].map(
      (name) => input(`own-${name}`).value,
    );
    const hints = { target, group, time, noGroup: input('own-no-group').checked };
    const bytes = new Uint8Array(await file.arrayBuffer());
    const library = await this.#opened();
    const { answer } = await library.ask({ do: 'propose', name: file.name, hints }, bytes);
    this.#show(file.name, answer);
  }

  /**
   * @param {string} name
   * @param {Proposal} proposal
   */
  #show(name, { summary, task, findings, parts, recipe }) {
    this.#say(`${name}: ${summary}. ${task}.`);
    element('own-findings').replaceChildren(...findings.map((each) => html('li', {}, each)));
    element('own-parts').hidden = parts.length === 0;
    const more = parts.length > MOST_PARTS ? `and ${parts.length - MOST_PARTS} more columns` : '';
    element('own-parts').replaceChildren(
      table(['Name', 'Holds', 'Missing', 'Used as'], parts.slice(0, MOST_PARTS), [0, 1, 3]),
      more,
    );
    const text = /** @type {HTMLTextAreaElement} */ (element('own-recipe'));
    text.value = recipe;
    element('own-run').hidden = false;
    const processor = /** @type {HTMLSelectElement} */ (element('own-processor'));
    if (!navigator.gpu || element('adapter').textContent === '–') processor.value = 'CPU';
  }

  /** Records the recipe, and trains it in the place of the page's run. */
  async #train() {
    this.#say('Recording the run.');
    const { value: recipe } = /** @type {HTMLTextAreaElement} */ (element('own-recipe'));
    const { value } = /** @type {HTMLSelectElement} */ (element('own-processor'));
    const processor = value === 'CPU' ? 'CPU' : 'GPU';
    const { page } = this;
    // The programs of a run in progress are those that the library has recorded last.
    if (page.isTraining) page.stop();
    await page.training.catch(() => {});
    const library = await this.#opened();
    const checked = processor === 'GPU' ? CHECKED : 0;
    const { answer, bytes } = await library.ask({ do: 'record', recipe, checked });
    const description = new TextDecoder().decode(bytes.subarray(0, answer.description));
    const site = /** @type {Site} */ (JSON.parse(description));
    const data = new Parts(bytes.slice(answer.description));
    const opened = {
      GPU: () => Device.open(site.needs),
      CPU: async () => new CpuDevice(library),
    };
    await page.guarded(() => page.adopt(site, data, processor, opened[processor]));
    if (!page.run) {
      throw new Problem('The run is recorded, but does not begin: the top of the page says why.');
    }
    this.#say(`Recorded. It trains above, on the ${processor}.`);
    element('title').scrollIntoView({ block: 'start' });
    page.guarded(() => page.train());
  }
}
