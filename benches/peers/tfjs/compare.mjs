// Milliseconds of a training step of gatescan's page and of TensorFlow.js, in the same tab of
// Chromium, in turns.
//
//     bash tests/web/run                  # once: installs the browser and its driver
//     node compare.mjs GATESCAN [CELL]    # in target/web, with tfjs installed there
//
// CELL is lstm or gru: T = 28, I = 28, H = 128, B = 128, Adam, as the recipes mnist and mnist-gru.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { launch, open, serve, status } from './harness.mjs';

const [program, cell = 'lstm'] = [resolve(process.argv[2]), process.argv[3]];
const STEPS = 3;
const ROUNDS = 3;

/** Builds the network in TensorFlow.js on one of its backends, and plays a first step. */
async function prepare([kind, backend]) {
  const { tf } = globalThis;
  await tf.setBackend(backend);
  await tf.ready();
  const layer = { units: 128, inputShape: [28, 28] };
  const recurrent = kind === 'gru' ? tf.layers.gru({ ...layer, resetAfter: false }) : tf.layers.lstm(layer);
  const model = tf.sequential({ layers: [recurrent, tf.layers.dense({ units: 10, activation: 'softmax' })] });
  model.compile({ optimizer: tf.train.adam(0.001), loss: 'categoricalCrossentropy' });
  const x = tf.randomUniform([128, 28, 28]);
  const y = tf.oneHot(tf.range(0, 128, 1, 'int32').mod(10), 10);
  globalThis.peer = { model, x, y };
  return model.trainOnBatch(x, y);
}

/** Milliseconds of a step of TensorFlow.js. */
async function peerStep(steps) {
  const { model, x, y } = globalThis.peer;
  const start = performance.now();
  for (let step = 0; step < steps; step += 1) await model.trainOnBatch(x, y);
  return (performance.now() - start) / steps;
}

/** Milliseconds of a step of the page. */
async function ownStep(steps) {
  const { run } = await (await import('./page.js')).page;
  const start = performance.now();
  const before = run.position.step;
  while (run.position.step < before + steps) {
    run.submission = Math.min(run.submission, before + steps - run.position.step);
    await run.advance();
  }
  return (performance.now() - start) / steps;
}

const folder = mkdtempSync(join(tmpdir(), 'gatescan-tfjs-'));
const recipe = cell === 'gru' ? 'mnist-gru' : 'mnist-lstm';
const settings = ['network.layer.0.hidden_size=128', 'batch_size=128'].flatMap((set) => ['--set', set]);
execFileSync(program, ['web', recipe, '-o', folder, '--force', '--cases', 'none', '--checked-steps', '0', ...settings]);
const server = await serve(folder);
const browser = await launch();
const modules = new URL('node_modules/@tensorflow/', import.meta.url);
for (const backend of ['webgpu', 'cpu']) {
  const { page, context } = await open(browser, server.url);
  await status(page, /^Ready/);
  for (const name of ['tfjs/dist/tf.min.js', 'tfjs-backend-webgpu/dist/tf-backend-webgpu.min.js']) {
    await page.evaluate(readFileSync(new URL(name, modules), 'utf8'));
  }
  try {
    await page.evaluate(prepare, [cell, backend]);
    await page.evaluate(ownStep, 1);
    const times = { own: [], peer: [] };
    for (let round = 0; round < ROUNDS; round += 1) {
      times.own.push(await page.evaluate(ownStep, STEPS));
      times.peer.push(await page.evaluate(peerStep, STEPS));
    }
    const [own, peer] = [times.own, times.peer].map((each) => Math.min(...each));
    const ratio = (peer / own).toFixed(1);
    console.log(`${cell} tfjs ${backend}: gatescan ${own.toFixed(0)} ms, tfjs ${peer.toFixed(0)} ms, ratio ${ratio}`);
  } catch (error) {
    console.log(`${cell} tfjs ${backend}: ${String(error).split('\n')[0]}`);
  }
  await context.close();
}
await browser.close();
server.close();
rmSync(folder, { recursive: true });
process.exit(0);
