// Serves the page that trains by gatescan and by TensorFlow.js, opens it in Chromium, and prints
// what it measured.
//
//     node compare.mjs SITES [--serve] [--json] [NAME=VALUE...]
//
// SITES is the folder with one site of `gatescan web` for each shape. NAME=VALUE are parameters of
// the page (see peers.js). With --serve, the page is only served: open it in any browser.
import { createServer } from 'node:http';
import { readFileSync, statSync } from 'node:fs';
import { extname, join, resolve, sep } from 'node:path';

import { launch } from './harness.mjs';

const KINDS = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

/** The file of an address, or null: packages under npm/, sites under their shape, the page. */
function file(sites, path) {
  const here = import.meta.dirname;
  const [first, ...rest] = path.split('/').filter(Boolean).map(decodeURIComponent);
  const roots = { npm: join(here, 'node_modules/@tensorflow'), lstm: sites, gru: sites };
  const root = roots[first] ?? here;
  const names = root === sites ? [first, ...rest] : root === here ? [first ?? 'index.html'] : rest;
  const found = join(root, ...names);
  const isFile = statSync(found, { throwIfNoEntry: false })?.isFile();
  return found.startsWith(root + sep) && isFile ? found : null;
}

/** Serves on the loopback address. The headers let WebAssembly have threads. */
async function serve(sites) {
  const headers = {
    'Cache-Control': 'no-store',
    'Cross-Origin-Embedder-Policy': 'require-corp',
    'Cross-Origin-Opener-Policy': 'same-origin',
  };
  const server = createServer((request, response) => {
    const found = file(sites, new URL(request.url, 'http://127.0.0.1').pathname);
    if (!found) {
      response.writeHead(404).end();
      return;
    }
    const kind = KINDS[extname(found)] ?? 'application/octet-stream';
    response.writeHead(200, { ...headers, 'Content-Type': kind });
    response.end(readFileSync(found));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** Opens the page and waits for its results; what it is doing goes to the standard error. */
async function measure(url) {
  const browser = await launch();
  try {
    const page = await browser.newPage();
    page.on('pageerror', (error) => console.error(`page: ${error.message}`));
    page.on('console', (message) => {
      if (message.type() === 'error') console.error(`console: ${message.text()}`);
    });
    await page.goto(url);
    const told = setInterval(async () => {
      const text = await page.textContent('#result').catch(() => null);
      if (text) console.error(text.trimEnd().split('\n').at(-1));
    }, 20_000);
    const results = await page
      .evaluate(() => globalThis.measured)
      .finally(() => clearInterval(told));
    return { results, text: await page.textContent('#result') };
  } finally {
    await browser.close();
  }
}

const [sites, ...others] = process.argv.slice(2);
const flags = others.filter((each) => each.startsWith('--'));
const asked = new URLSearchParams(others.filter((each) => !each.startsWith('--')).join('&'));
const server = await serve(resolve(sites));
const url = `${server.url}?${asked}`;
if (flags.includes('--serve')) {
  console.log(`${url} (Ctrl-C ends)`);
} else {
  const { results, text } = await measure(url);
  console.log(flags.includes('--json') ? JSON.stringify(results) : text.trimEnd());
  server.close();
}
