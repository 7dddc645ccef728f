// gatescan and TensorFlow.js train the same network in this tab, in turn, and are timed.
//
// Parameters of the address: `shapes` and `backends` (separated by commas), `rounds`, and `steps`
// of each round.

const { tf } = globalThis;

/** The largest difference of a loss from that of gatescan on the CPU: of gatescan, of the peer. */
const BOUNDS = { gatescan: 1e-5, peer: 1e-4 };

/** The order of gates: gatescan's blocks of rows for each of the peer's. */
const GATES = { lstm: [0, 1, 2, 3], gru: [1, 0, 2] };

/** A recorded run, played by the modules of its own site. */
class Gatescan {
  name = 'gatescan';

  /** Opens the site in a folder of this server. */
  static async open(folder) {
    const { Device } = await import(`./${folder}/device.js`);
    const { Parts, load } = await import(`./${folder}/files.js`);
    const { Run } = await import(`./${folder}/player.js`);
    const site = JSON.parse(new TextDecoder().decode(await load('program.json')));
    const device = await Device.open(site.needs);
    const pipelines = await device.pipelines(site.shaders);
    const run = new Run(site, new Parts(await load('data.bin')), device, pipelines);
    await run.begin();
    return Object.assign(new Gatescan(), { site, device, run });
  }

  /** Plays updates and returns their losses. */
  async train(count) {
    const { run } = this;
    const first = run.position.step;
    while (run.position.step < first + count) {
      run.submission = Math.min(first + count - run.position.step, run.text.rows);
      await run.advance();
    }
    return run.position.losses.slice(first);
  }

  /** The parameters by their names in a model's file, each with its shape. */
  async parameters() {
    const flat = await this.run.model();
    const { header, parts } = this.site.model;
    const names = Object.entries(JSON.parse(header)).filter(([name]) => name !== '__metadata__');
    const entry = ([name, { shape }], index) => {
      const [offset, words] = parts[index];
      return [name, { shape, values: flat.slice(offset ?? 0, (offset ?? 0) + words) }];
    };
    return Object.fromEntries(names.map(entry));
  }

  /** The first batches of the first epoch: images `[B, 28, 28]` and one-hot labels `[B, 10]`. */
  async batches(count, order) {
    const { site, run } = this;
    const { batch } = site.run.train;
    const names = site.train.buffers.map(([name]) => name);
    const whole = (name) => [names.indexOf(name), 0, site.train.buffers[names.indexOf(name)][1]];
    const [packed, labels] = await run.program.read(
      ['forward.data', 'forward.labels'].map((name) => whole(name)),
    );
    const pixels = new Uint8Array(packed.buffer, packed.byteOffset, packed.byteLength);
    const { rows, columns, scale, classes } = site.trial;
    const size = rows * columns;
    return Array.from({ length: count }, (_, index) => {
      const taken = [...order.subarray(index * batch, (index + 1) * batch)];
      const images = taken.flatMap((image) =>
        Array.from(pixels.subarray(image * size, (image + 1) * size), (byte) => byte * scale),
      );
      const hot = taken.flatMap((image) =>
        classes.map((_name, at) => Number(at === labels[image])),
      );
      return { images, labels: hot, sizes: [batch, rows, columns, classes.length] };
    });
  }
}

/** The same network of TensorFlow.js's layers. */
class Peer {
  constructor(backend, cell, parameters, batches, { lr, beta1, beta2, epsilon }) {
    this.name = `tfjs ${backend}`;
    this.backend = backend;
    const [, steps, features, classes] = batches[0].sizes;
    const units = parameters['head.weight'].shape[1];
    const recurrent = { units, recurrentActivation: 'sigmoid', inputShape: [steps, features] };
    this.model = tf.sequential({
      layers: [tf.layers[cell](recurrent), tf.layers.dense({ units: classes })],
    });
    this.model.setWeights(weights(cell, parameters));
    this.optimizer = tf.train.adam(lr, beta1, beta2, epsilon);
    this.batches = batches.map((each) => ({
      images: tf.tensor(each.images, each.sizes.slice(0, 3)),
      labels: tf.tensor(each.labels, [each.sizes[0], classes]),
    }));
    this.step = 0;
  }

  /** Makes updates and returns their losses; they are read after the last one. */
  async train(count) {
    await tf.setBackend(this.backend);
    const variables = this.model.trainableWeights.map((weight) => weight.read());
    const costs = Array.from({ length: count }, () => {
      const { images, labels } = this.batches[this.step % this.batches.length];
      this.step += 1;
      const loss = () => tf.losses.softmaxCrossEntropy(labels, this.model.apply(images));
      return this.optimizer.minimize(loss, true, variables);
    });
    // A weight is there when the last update is.
    await variables[0].data();
    const losses = await Promise.all(costs.map(async (cost) => (await cost.data())[0]));
    tf.dispose(costs);
    return losses;
  }
}

/** gatescan's parameters as the weights of the peer's layers. */
function weights(cell, parameters) {
  const matrix = ({ shape, values }) => tf.tensor(values, shape);
  const arranged = (tensor) => {
    const blocks = tf.split(tensor, GATES[cell].length);
    return tf.concat(GATES[cell].map((gate) => blocks[gate]));
  };
  const of = (name) => matrix(parameters[name]);
  return tf.tidy(() => [
    arranged(of('rnn.weight_ih_l0')).transpose(),
    arranged(of('rnn.weight_hh_l0')).transpose(),
    arranged(of('rnn.bias_ih_l0')),
    of('head.weight').transpose(),
    of('head.bias'),
  ]);
}

/** The settings of Adam in a recipe's text. */
function adam(toml) {
  const value = (key) => Number(toml.match(new RegExp(`^${key} = (\\S+)`, 'm'))[1]);
  return Object.fromEntries(['lr', 'beta1', 'beta2', 'epsilon'].map((key) => [key, value(key)]));
}

/** Trains the first updates; fails if the losses are not the CPU's or do not go down. */
async function checkLosses(trained, expected, bound) {
  const losses = await trained.train(expected.length);
  const worst = Math.max(...losses.map((loss, index) => Math.abs(loss - expected[index])));
  if (!(worst <= bound)) {
    throw new Error(`the losses ${losses} differ from ${expected} by ${worst}, above ${bound}`);
  }
  if (!(losses.at(-1) < losses[0])) throw new Error(`the losses ${losses} do not go down`);
  return worst;
}

/** The peers whose backend opens, computes the losses and trains; the others with their error. */
async function peers(backends, cell, ours, expected) {
  const { permutation } = await import(`./${cell}/random.js`);
  const { train, seed } = ours.site.run;
  const batches = await ours.batches(expected.length, permutation(seed, 0, train.count));
  const parameters = await ours.parameters();
  const found = [];
  for (const backend of backends) {
    say(`${cell}: tfjs ${backend}, first losses`);
    try {
      if (!(await tf.setBackend(backend))) throw new Error('the backend cannot be opened');
      const peer = new Peer(backend, cell, parameters, batches, adam(ours.site.toml));
      found.push({ trained: peer, worst: await checkLosses(peer, expected, BOUNDS.peer) });
    } catch (error) {
      found.push({ trained: { name: `tfjs ${backend}` }, error: String(error.message ?? error) });
    }
  }
  return found;
}

const median = (values) => {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
};

/** Milliseconds of an update in each round. The programs take turns. */
async function time(runs, cell, { rounds, steps }) {
  const times = new Map(runs.map((run) => [run.name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const run of runs) {
      say(`${cell}: round ${round + 1} of ${rounds}, ${run.name}`);
      const begin = performance.now();
      await run.train(steps);
      times.get(run.name).push((performance.now() - begin) / steps);
    }
  }
  return times;
}

/** One shape: checks, then times. */
async function compare(cell, options) {
  say(`${cell}: gatescan, first losses`);
  const ours = await Gatescan.open(cell);
  const expected = ours.site.run.losses;
  const others = await peers(options.backends, cell, ours, expected);
  const all = [
    { trained: ours, worst: await checkLosses(ours, expected, BOUNDS.gatescan) },
    ...others,
  ];
  const runs = all.filter(({ error }) => !error).map(({ trained }) => trained);
  const times = await time(runs, cell, options);
  const rows = all.map(({ trained: { name }, worst, error }) => {
    const measured = times.get(name) ?? [];
    const ratios = measured.map((ms, round) => ms / times.get('gatescan')[round]);
    return { name, worst, error, ms: measured, ratios };
  });
  tf.disposeVariables();
  ours.device.device.destroy();
  const { network, run } = ours.site;
  return { cell, network, batch: run.train.batch, gpu: ours.device.name, rows };
}

/** The results of a shape as lines. */
function lines({ network, batch, gpu, rows }) {
  const short = (value) => Number(value.toPrecision(3)).toString();
  const spread = (values) =>
    `${short(median(values))} (${short(Math.min(...values))} to ${short(Math.max(...values))})`;
  const line = ({ name, worst, error, ms, ratios }) =>
    error
      ? `${name.padEnd(14)}${error.split('\n')[0]}`
      : [name.padEnd(14), spread(ms).padEnd(30), spread(ratios).padEnd(24), worst.toExponential(1)]
          .join('')
          .trimEnd();
  const heads = [
    ''.padEnd(14),
    'ms for each update'.padEnd(30),
    'times gatescan’s'.padEnd(24),
    'loss ±',
  ];
  return [`${network}, batches of ${batch}, ${gpu}`, heads.join(''), ...rows.map(line), ''];
}

const shown = document.getElementById('result');
const written = [];
const say = (text) => (shown.textContent = [...written, text].join('\n'));

/** Measures what the address asks for. */
async function main() {
  const asked = new URLSearchParams(location.search);
  const options = {
    shapes: (asked.get('shapes') ?? 'lstm,gru').split(','),
    backends: (asked.get('backends') ?? 'webgpu,webgl,wasm,cpu').split(','),
    rounds: Number(asked.get('rounds') ?? 5),
    steps: Number(asked.get('steps') ?? 2),
  };
  tf.wasm.setWasmPaths('npm/tfjs-backend-wasm/dist/');
  const results = [];
  for (const cell of options.shapes) {
    results.push(await compare(cell, options));
    written.push(...lines(results.at(-1)));
    say('');
  }
  return { tfjs: tf.version.tfjs, browser: navigator.userAgent, options, results };
}

/** What was measured, for the program that opened the page. */
globalThis.measured = main().catch((error) => {
  say(`This failed: ${error.message}`);
  throw error;
});
