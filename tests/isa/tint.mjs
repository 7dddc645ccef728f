// Creates a module and a pipeline of every dumped WGSL with Dawn, whose compiler Tint analyses
// uniformity, and writes what it refuses.
//
//     node tint.mjs PACKAGE DUMP OUT
//
// PACKAGE is the folder of the npm package `webgpu`. Dawn's backend `null` needs no driver. It has
// the limits that every adapter has, so only the pipelines of the profile `webgpu` are created
// there; the modules of all are.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [packageFolder, dump, out] = process.argv.slice(2);
const { create, globals } = await import(pathToFileURL(join(packageFolder, 'index.js')));
Object.assign(globalThis, globals);

const gpu = create(['backend=null']);
const adapter = await gpu.requestAdapter();
if (!adapter) {
  console.error('Dawn has no adapter with the backend null');
  process.exit(2);
}
const requiredFeatures = ['subgroups', 'shader-f16'];
const device = await adapter.requestDevice({ requiredFeatures });

// Returns what Tint or Dawn says against a shader, or null.
async function problem(each, code) {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  const refused = await device.popErrorScope();
  const errors = messages.filter((message) => message.type === 'error');
  if (refused || errors.length > 0) {
    const lines = errors.map(({ lineNum, message }) => `line ${lineNum}: ${message}`);
    return lines.join('\n') || refused.message;
  }
  if (!each.profiles.includes('webgpu')) {
    return null;
  }
  try {
    const compute = { module, entryPoint: 'main', constants: each.constants };
    await device.createComputePipelineAsync({ layout: 'auto', compute });
    return null;
  } catch (error) {
    return error.message;
  }
}

const lines = [];
for (const each of JSON.parse(readFileSync(join(dump, 'index.json'), 'utf8'))) {
  const code = readFileSync(join(dump, `${each.stem}.wgsl`), 'utf8');
  const start = performance.now();
  const error = await problem(each, code);
  const seconds = (performance.now() - start) / 1000;
  lines.push(JSON.stringify({ name: each.name, seconds: Number(seconds.toFixed(3)), error }));
}
writeFileSync(out, lines.map((line) => line + '\n').join(''));
// Dawn's threads would keep the process alive.
process.exit(0);
