// A static server, a browser, and small helpers of the tests.
import { createServer } from 'node:http';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

const KINDS = { html: 'text/html', js: 'text/javascript', json: 'application/json' };

/** Serves a folder on the loopback address; `changes` maps a file's name to a function of its bytes. */
export async function serve(folder, changes = {}) {
  const server = createServer((request, response) => {
    const path = new URL(request.url, 'http://localhost').pathname;
    const name = path === '/' ? 'index.html' : path.slice(1);
    if (name.includes('/') || !existsSync(join(folder, name))) {
      response.writeHead(404).end();
      return;
    }
    const bytes = readFileSync(join(folder, name));
    const kind = KINDS[name.split('.').pop()] ?? 'application/octet-stream';
    response.writeHead(200, { 'Content-Type': kind, 'Cache-Control': 'no-store' });
    response.end(changes[name]?.(bytes) ?? bytes);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** Chromium with WebGPU on SwiftShader. */
export function launch() {
  const candidates = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser'];
  const executablePath = candidates.find((path) => path && existsSync(path));
  if (!executablePath) throw new Error('there is no chromium; install it, or set CHROMIUM');
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--enable-unsafe-webgpu',
      '--use-webgpu-adapter=swiftshader',
      '--enable-unsafe-swiftshader',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-default-apps',
      '--disable-sync',
      '--no-first-run',
    ],
  });
}

let failures = 0;

/** Notes whether something holds. */
export function check(holds, what) {
  console.log(`${holds ? 'ok  ' : 'FAIL'} ${what}`);
  if (!holds) failures += 1;
}

export function failed() {
  return failures;
}

/** A new page with the site, and the errors that it writes to its console. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ acceptDownloads: true, ...options.context });
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  if (options.script) await page.addInitScript(options.script);
  await page.goto(url);
  return { page, context, errors };
}

/** Waits until the status of the page matches. */
export async function status(page, pattern, timeout = 120_000) {
  const matches = ([source]) =>
    new RegExp(source).test(document.getElementById('status').textContent);
  try {
    await page.waitForFunction(matches, [pattern.source], { timeout });
  } catch {
    const text = await page.textContent('#status');
    throw new Error(`the status is “${text}” and not /${pattern.source}/`);
  }
  return page.textContent('#status');
}
