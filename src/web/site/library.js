// @ts-check
/** The library in a thread of its own. */

import { Problem } from './files.js';

/** @typedef {{answer: any, bytes: Uint8Array<ArrayBuffer>}} Answer */
/** @typedef {{resolve: (answer: Answer) => void, reject: (error: Error) => void}} Waiting */

/** The library, which answers requests in their order. */
export class Library {
  constructor() {
    this.worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    /** @type {Map<number, Waiting>} */
    this.waiting = new Map();
    this.asked = 0;
    /** @type {Error | null} */
    this.failure = null;
    this.worker.addEventListener('message', (event) => this.#answered(event.data));
    this.worker.addEventListener('error', (event) =>
      this.#fail(event.message || 'without a reason'),
    );
  }

  /**
   * Sends a request with bytes, which are no longer the caller's.
   * @param {{do: string} & Record<string, unknown>} request
   * @param {Uint8Array<ArrayBuffer>} bytes
   * @returns {Promise<Answer>}
   */
  ask(request, bytes = new Uint8Array()) {
    if (this.failure) return Promise.reject(this.failure);
    this.asked += 1;
    const id = this.asked;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, request, bytes }, [bytes.buffer]);
    });
  }

  /** @param {{id: number, failure?: string} & Answer} message */
  #answered({ id, failure, answer, bytes }) {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (failure !== undefined) {
      waiting?.reject(this.#fail(failure));
    } else if (typeof answer.error === 'string') {
      waiting?.reject(new Problem(answer.error));
    } else {
      waiting?.resolve({ answer, bytes });
    }
  }

  /**
   * Ends the thread, whose memory is in no known state.
   * @param {string} reason
   */
  #fail(reason) {
    this.failure ??= new Problem(`The library has failed in this tab: ${reason}`, [
      'Its memory may not suffice: choose a smaller file, batch or network, and try again.',
      'If it fails there too, please report it with the file and the recipe.',
    ]);
    this.close();
    return this.failure;
  }

  close() {
    this.worker.terminate();
    for (const { reject } of this.waiting.values()) {
      reject(this.failure ?? new Problem('The library was closed.'));
    }
    this.waiting.clear();
  }
}
