//! Runs a case on an executor.

use std::collections::BTreeMap;

use gatescan::low_level::backend::cpu::Cpu;
use gatescan::low_level::backend::executor::Executor;
use gatescan::low_level::backend::gpu::GpuDevice;
use gatescan::low_level::backend::gpu::executor::Gpu;
use gatescan::low_level::backend::tuning::Tuning;
use gatescan::low_level::kernels::{Columns, IGNORE, Record, control, history};
use gatescan::low_level::program::{Phase, Program};
use gatescan::low_level::record::update::RecordedUpdate;
use gatescan::low_level::record::{Gradients, MaskOf, RecordedNetwork};
use gatescan::low_level::tensor::{Element, Kind, Tensor};
use gatescan::recipe::optimizer::{Clip, Form};
use gatescan::{Optimizer, Reads};

use super::case::{Case, swap};
use super::parameters::Parameters;

/// The device that runs the cases.
pub enum OpenDevice<'a> {
    CpuF64,
    CpuF32,
    Gpu(&'a GpuDevice),
}

impl OpenDevice<'_> {
    fn load(&self, program: &Program) -> Player {
        match self {
            OpenDevice::CpuF64 => {
                Player::F64(Box::new(Cpu::new(program.clone()).expect("it fits")))
            }
            OpenDevice::CpuF32 => {
                Player::F32(Box::new(Cpu::<f32>::new(program.clone()).expect("it fits")))
            }
            OpenDevice::Gpu(device) => {
                Player::F32(Box::new(Gpu::new(device, program).expect("it loads")))
            }
        }
    }
}

/// An executor that reads and writes f64, as exactly as it can.
enum Player {
    F64(Box<Cpu<f64>>),
    F32(Box<dyn Executor>),
}

impl Player {
    fn executor(&mut self) -> &mut dyn Executor {
        match self {
            Player::F64(cpu) => cpu.as_mut(),
            Player::F32(executor) => executor.as_mut(),
        }
    }

    fn write(&mut self, tensor: &Tensor, values: &[f64]) {
        match self {
            Player::F64(cpu) => cpu.write_exact(tensor, values),
            Player::F32(executor) => {
                let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
                executor.write(tensor, &values).expect("the sizes agree");
            }
        }
    }

    fn write_index(&mut self, tensor: &Tensor, values: impl Iterator<Item = f64>) {
        let values: Vec<u32> = values.map(|value| value as u32).collect();
        let written = self.executor().write_index(tensor, &values);
        written.expect("the sizes agree");
    }

    fn run(&mut self, phases: &[Phase], times: usize) {
        self.executor().run(phases, times).expect("it runs");
    }

    fn read(&mut self, tensor: &Tensor) -> Vec<f64> {
        match self {
            Player::F64(cpu) => cpu.read_exact(tensor),
            Player::F32(executor) => {
                let values = executor.read(tensor).expect("it can be read");
                values.into_iter().map(f64::from).collect()
            }
        }
    }
}

/// The optimizer of a case, with its gradient clipping.
struct Recipe {
    optimizer: Optimizer,
    lr: f64,
    clip: Clip,
}

impl Recipe {
    /// `None` for a case that trains nothing.
    fn of(case: &Case) -> Option<Recipe> {
        let oracle = &case.oracle;
        // One file does not name its optimizer; its moments and first step are those of Adam with
        // default settings.
        let unnamed = case.under("slot1/m/").next().map(|_| DEFAULT_ADAM);
        let text = oracle["optimizer"].as_str().or(unnamed)?;
        let (optimizer, lr) = match case.is_tensorflow() {
            true => tensorflow(text),
            false => torch(text, &oracle["optimizer_options"]),
        };
        let [of_tensorflow, of_torch] =
            ["clip_by_global_norm", "clip_grad_norm"].map(|key| oracle[key].as_f64());
        let clip = |limit: f64, form| Clip::Norm { limit, form };
        let clip = match (of_tensorflow, of_torch) {
            (Some(limit), _) => clip(limit, Form::Tensorflow),
            (_, Some(limit)) => clip(limit, Form::Torch),
            (None, None) => Clip::None,
        };
        Some(Recipe {
            optimizer,
            lr,
            clip,
        })
    }

    /// The learning rates of the updates of the framework's run in f64. TensorFlow's Adam keeps
    /// beta^t in float32 even in f64 runs; the error of its bias correction is a factor that is
    /// included in the learning rate here.
    fn rates_f64(&self) -> [f64; HISTORY_ROWS] {
        let Optimizer::Adam {
            beta1,
            beta2,
            form: Form::Tensorflow,
            ..
        } = self.optimizer
        else {
            return [self.lr; HISTORY_ROWS];
        };
        let step =
            |beta1_power: f64, beta2_power: f64| (1.0 - beta2_power).sqrt() / (1.0 - beta1_power);
        let mut powers = [beta1 as f32, beta2 as f32];
        std::array::from_fn(|slot| {
            let [power1, power2] = powers.map(f64::from);
            powers = [powers[0] * beta1 as f32, powers[1] * beta2 as f32];
            let t = slot as i32 + 1;
            self.lr * step(power1, power2) / step(beta1.powi(t), beta2.powi(t))
        })
    }
}

/// Parses the optimizer and its learning rate from TensorFlow's call, whose constants are float32
/// tensors even where it computes in f64.
fn tensorflow(text: &str) -> (Optimizer, f64) {
    let (name, rest) = text.split_once('(').expect("a call");
    let (arguments, _) = rest.split_once(')').expect("a call");
    let argument = |key: &str| {
        let found = arguments
            .split(',')
            .find_map(|each| each.strip_prefix(key)?.strip_prefix('='));
        found.map(|number| f64::from(number.parse::<f32>().expect("a number")))
    };
    let named = |key: &str| argument(key).unwrap_or_else(|| panic!("{text} has no {key}"));
    let says = |flag: &str| arguments.contains(&format!("{flag}=True"));
    let lr = argument("lr").unwrap_or_else(|| arguments.parse::<f32>().expect("a rate").into());
    let optimizer = match name {
        "AdamOptimizer" => Optimizer::Adam {
            lr: lr as f32,
            beta1: named("beta1"),
            beta2: named("beta2"),
            epsilon: named("epsilon"),
            form: Form::Tensorflow,
            weight_decay: 0.0,
            amsgrad: false,
        },
        "GradientDescentOptimizer" | "MomentumOptimizer" => Optimizer::Sgd {
            lr: lr as f32,
            momentum: argument("momentum").unwrap_or(0.0),
            dampening: 0.0,
            nesterov: says("use_nesterov"),
            weight_decay: 0.0,
        },
        "RMSPropOptimizer" => Optimizer::Rmsprop {
            lr: lr as f32,
            form: Form::Tensorflow,
            rho: Some(named("decay")),
            epsilon: Some(named("epsilon")),
            momentum: named("momentum"),
            centered: says("centered"),
            weight_decay: 0.0,
        },
        other => panic!("what is {other}?"),
    };
    (optimizer, lr)
}

/// Returns an optimizer and its learning rate from the name and options of PyTorch's.
fn torch(name: &str, options: &serde_json::Value) -> (Optimizer, f64) {
    if name == "adam" {
        // With PyTorch's defaults, which `Optimizer::adam` has too.
        return (Optimizer::adam(1e-3), 1e-3);
    }
    let number = |key: &str| options[key].as_f64().expect("a number");
    let flag = |key: &str| options[key].as_bool().expect("true or false");
    let beta = |n: usize| options["betas"][n].as_f64().expect("a number");
    let lr = number("lr");
    let optimizer = match name {
        "Adam" => Optimizer::Adam {
            lr: lr as f32,
            beta1: beta(0),
            beta2: beta(1),
            epsilon: number("eps"),
            form: Form::Torch,
            weight_decay: number("weight_decay"),
            amsgrad: flag("amsgrad"),
        },
        "AdamW" => Optimizer::AdamW {
            lr: lr as f32,
            beta1: beta(0),
            beta2: beta(1),
            epsilon: number("eps"),
            weight_decay: number("weight_decay"),
            amsgrad: flag("amsgrad"),
        },
        "SGD" => Optimizer::Sgd {
            lr: lr as f32,
            momentum: number("momentum"),
            dampening: number("dampening"),
            nesterov: flag("nesterov"),
            weight_decay: number("weight_decay"),
        },
        "RMSprop" => Optimizer::Rmsprop {
            lr: lr as f32,
            form: Form::Torch,
            rho: Some(number("alpha")),
            epsilon: Some(number("eps")),
            momentum: number("momentum"),
            centered: flag("centered"),
            weight_decay: number("weight_decay"),
        },
        other => panic!("what is {other}?"),
    };
    (optimizer, lr)
}

/// Names of moments: ours, TensorFlow's and PyTorch's.
const MOMENTS: [[&str; 3]; 6] = [
    ["first_moment", "m", "exp_avg"],
    ["second_moment", "v", "exp_avg_sq"],
    ["largest_moment", "vhat", "max_exp_avg_sq"],
    ["velocity", "momentum", "momentum_buffer"],
    ["mean_square", "rms", "square_avg"],
    ["mean_gradient", "mg", "grad_avg"],
];

const DEFAULT_ADAM: &str = "AdamOptimizer(lr=0.001,beta1=0.9,beta2=0.999,epsilon=1e-8)";

/// Updates that a case makes.
const UPDATES: usize = 10;

/// Rows of the history and of the learning rates.
const HISTORY_ROWS: usize = 16;

/// The parts of a program that an optimizer adds.
struct Training {
    recipe: Recipe,
    update: RecordedUpdate,
    history: Tensor,
    control: Tensor,
}

impl Training {
    fn record(recipe: Recipe, model: &mut RecordedNetwork, control: Tensor) -> Training {
        let program = &mut model.program;
        let history = program.buffer(
            "history",
            Kind::Control,
            Element::Real,
            [HISTORY_ROWS, history::WORDS],
        );
        let (optimizer, clip) = (&recipe.optimizer, recipe.clip);
        let update = model.record_update(optimizer, clip, control, HISTORY_ROWS);
        let record = Record {
            chunks: 1,
            scores: model.head.scores,
            labels: model.head.labels,
            lengths: model.lengths,
            weight: model.head.label_weight,
            norm: Some(update.norm),
            control,
            history,
            batch: model.batch,
        };
        model.program.push(Phase::Update, record);
        Training {
            recipe,
            update,
            history,
            control,
        }
    }
}

/// Results by the names of the case's file.
#[derive(Default)]
pub struct Results(BTreeMap<String, Vec<f64>>);

impl Results {
    /// Returns a result; empty where there is none of that name.
    pub fn get(&self, name: &str) -> &[f64] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Appends values: PyTorch has the layers one after another in one tensor.
    fn add(&mut self, name: impl Into<String>, values: Vec<f64>) {
        self.0.entry(name.into()).or_default().extend(values);
    }

    fn add_all(&mut self, prefix: &str, tensors: BTreeMap<String, Vec<f64>>) {
        for (name, values) in tensors {
            self.add(format!("{prefix}/{name}"), values);
        }
    }
}

/// A case loaded on an executor.
struct Session<'a> {
    case: &'a Case,
    parameters: Parameters,
    model: RecordedNetwork,
    player: Player,
    results: Results,
}

/// Runs `case` at `place`.
pub fn play(case: &Case, place: &OpenDevice, tuning: Tuning) -> Results {
    let parameters = Parameters::of(case);
    let inputs = &case.find("x").unwrap_or_else(|| case.get("ids")).shape;
    let in_chunks = case.oracle["chunks"].is_u64();
    let [batch, steps] = [0, 1].map(|n| inputs[n + usize::from(in_chunks)]);
    let gradients = match case.has_upstream() {
        true => Gradients::OfUpstream,
        false => Gradients::OfLoss,
    };
    let mut model = RecordedNetwork::new(&parameters.network, steps, batch, gradients, tuning)
        .expect("a network");
    let program = &mut model.program;
    let control = program.buffer("control", Kind::Control, Element::Index, [control::WORDS]);
    if in_chunks {
        model.carry_states(Phase::Forward, control);
    }
    model.forward(Phase::Forward);
    if !case.has_upstream() {
        model.loss(Phase::Forward);
    }
    model.backward();
    let training = Recipe::of(case).map(|recipe| Training::record(recipe, &mut model, control));
    let mut session = Session {
        case,
        player: place.load(&model.program),
        parameters,
        model,
        results: Results::default(),
    };
    session.write_inputs();
    match training {
        Some(training) if in_chunks => session.train_in_chunks(&training),
        Some(training) => session.train(&training),
        None => {
            session.player.run(&[Phase::Forward, Phase::Backward], 1);
            session.read_forward();
            session.read_gradients();
        }
    }
    session.results
}

impl Session<'_> {
    fn write_inputs(&mut self) {
        let (case, model, player) = (self.case, &self.model, &mut self.player);
        player.write(&model.parameters, &self.parameters.initial(case));
        if case.find("x").is_some() {
            player.write(&model.inputs, &case.time_major("x"));
        } else {
            self.write_tokens(0);
        }
        let (model, player) = (&self.model, &mut self.player);
        let full = vec![model.steps as f64; model.batch];
        let lengths = case.find("lengths").map_or(&full, |array| &array.values);
        player.write_index(&model.lengths, lengths.iter().copied());
        if let Some(labels) = case.find("labels") {
            player.write_index(&model.head.labels, labels.values.iter().copied());
        }
        if let Some(targets) = &model.head.targets {
            player.write(targets, &case.time_major("targets"));
        }
        for (l, layer) in model.recurrences().enumerate() {
            let states = [("h", layer.states.h), ("c", layer.states.c)];
            let mut skip = 0;
            for ((s, over_time), len) in states.into_iter().zip(layer.state_sizes()) {
                if let (_, Some(initial)) = case.state("init", l, s, len) {
                    player.write(&over_time.part(0, [len]), initial);
                }
                if let (_, Some(gradient)) = case.state("upstream/final", l, s, len) {
                    player.write(&layer.gradients.dstate.part(skip, [len]), gradient);
                }
                skip += len;
            }
        }
        for mask in model.masks() {
            let of = match mask.of {
                MaskOf::Input => "/input",
                MaskOf::Output if case.is_tensorflow() => "/output",
                MaskOf::State { .. } => "/state",
                // PyTorch has only one kind of mask.
                MaskOf::Output | MaskOf::Last { .. } => "",
                other => panic!("no case has a mask of {other:?}"),
            };
            let kept = case.time_major(&format!("mask/layer{}{of}", mask.layer_index));
            let Columns { tensor, stride } = mask.columns;
            let mut values = vec![0.0; tensor.len()];
            for (row, kept) in values.chunks_mut(stride).zip(kept.chunks(mask.width)) {
                row.iter_mut()
                    .zip(kept)
                    .for_each(|(value, kept)| *value = kept / mask.keep_prob);
            }
            player.write(&tensor, &values);
        }
        if case.has_upstream() {
            let top = model.upstream(self.parameters.network.layers.len() - 1);
            let top = top.expect("the model is made for it");
            let upstream = match case.has_pair() {
                false => case.time_major("upstream/outputs"),
                true => {
                    let pair = ["fw", "bw"]
                        .map(|side| case.time_major(&format!("upstream/outputs_{side}")));
                    let widths = pair
                        .each_ref()
                        .map(|side| side.len() / (model.steps * model.batch));
                    let rows = pair[0].chunks(widths[0]).zip(pair[1].chunks(widths[1]));
                    rows.flat_map(|(forward, backward)| [forward, backward].concat())
                        .collect()
                }
            };
            player.write(&top, &upstream);
        }
    }

    /// Writes the tokens and targets of one chunk.
    fn write_tokens(&mut self, chunk: usize) {
        let (model, ignored) = (&self.model, self.case.oracle["ignore_index"].as_f64());
        let time_major = |name: &str| {
            let numbers = model.batch * model.steps;
            let values = &self.case.get(name).values[chunk * numbers..][..numbers];
            swap(values, model.batch, model.steps)
        };
        let label = |target: f64| match Some(target) == ignored {
            true => f64::from(IGNORE),
            false => target,
        };
        let (tokens, targets) = (time_major("ids"), time_major("targets"));
        self.player.write_index(&model.inputs, tokens.into_iter());
        self.player
            .write_index(&model.head.labels, targets.into_iter().map(label));
    }

    /// Makes an update for each chunk; states are carried from one chunk to the next.
    fn train_in_chunks(&mut self, training: &Training) {
        let rates = [training.recipe.lr; HISTORY_ROWS];
        self.player.write(&training.update.rates, &rates);
        let set = training.update.initialise(self.player.executor());
        set.expect("the sizes agree");
        let chunks = self.case.get("ids").shape[0];
        for chunk in 0..chunks {
            self.write_tokens(chunk);
            let word = training.control.part(control::CHUNK, [1]);
            self.player.write_index(&word, [chunk as f64].into_iter());
            self.player.run(&Phase::TRAIN, 1);
            let prefix = format!("chunk{}", chunk + 1);
            for layer in self.model.recurrences() {
                let mut last = self.player.read(&layer.states.last).into_iter();
                for (s, len) in ["h", "c"].into_iter().zip(layer.state_sizes()) {
                    let values = last.by_ref().take(len).collect();
                    self.results.add(format!("{prefix}/{s}"), values);
                }
            }
            let loss = self.loss_of_head();
            self.results.add(format!("{prefix}/loss"), vec![loss]);
            if chunk == 0 {
                self.results.add("loss", vec![loss]);
                self.read_gradients();
            }
            let norm = self.player.read(&training.update.norm)[0];
            self.results.add("grad_norms", vec![norm]);
            let weights = self.player.read(&self.model.parameters);
            let weights = self.parameters.named_weights(&weights);
            self.results.add_all(&prefix, weights);
        }
    }

    /// Makes all updates, and reads the results that the case has after some of them.
    fn train(&mut self, training: &Training) {
        let Training {
            recipe,
            update,
            history,
            ..
        } = training;
        let rates = match self.player {
            Player::F64(_) => recipe.rates_f64(),
            Player::F32(_) => [recipe.lr; HISTORY_ROWS],
        };
        self.player.write(&update.rates, &rates);
        let set = update.initialise(self.player.executor());
        set.expect("the sizes agree");
        let mut done = 0;
        for until in [1, 2, UPDATES] {
            self.player.run(&Phase::TRAIN, until - done);
            done = until;
            if done == 1 {
                self.read_forward();
                self.read_gradients();
                self.read_clipped(update);
            }
            let weights = self.player.read(&self.model.parameters);
            let weights = self.parameters.named_weights(&weights);
            self.results.add_all(&format!("step{done}"), weights);
            for moment in &update.moments {
                let names = MOMENTS.iter().find(|[ours, ..]| *ours == moment.name);
                let [_, of_tensorflow, of_torch] = names.expect("it has a name there");
                let name = match self.case.is_tensorflow() {
                    true => of_tensorflow,
                    false => of_torch,
                };
                let values = self.parameters.named(&self.player.read(&moment.tensor));
                self.results.add_all(&format!("slot{done}/{name}"), values);
            }
        }
        let rows = self
            .player
            .read(&history.part(0, [UPDATES, history::WORDS]));
        let column = |word: usize| rows.chunks_exact(history::WORDS).map(move |row| row[word]);
        self.results.add("losses", column(history::LOSS).collect());
        self.results
            .add("grad_norms", column(history::NORM).collect());
        self.player.run(&[Phase::Forward], 1);
        let last = self.loss_of_head();
        self.results.add("losses", vec![last]);
    }

    fn read_forward(&mut self) {
        let (steps, batch) = (self.model.steps, self.model.batch);
        for (l, layer) in self.model.recurrences().enumerate() {
            let mut last = self.player.read(&layer.states.last).into_iter();
            for (s, len) in ["h", "c"].into_iter().zip(layer.state_sizes()) {
                let (name, _) = self.case.state("out/final", l, s, len);
                self.results.add(name, last.by_ref().take(len).collect());
            }
        }
        let emitted = self.model.emitted(self.model.network.layers.len() - 1);
        let outputs = swap(&self.player.read(&emitted), steps, batch);
        if self.case.has_pair() {
            let (width, forward) = (
                emitted.shape.extents()[2],
                self.model.network.layers[0].output_size(),
            );
            let columns = |range: std::ops::Range<usize>| -> Vec<f64> {
                let rows = outputs.chunks(width);
                rows.flat_map(|row| row[range.clone()].to_vec()).collect()
            };
            self.results.add("out/outputs_fw", columns(0..forward));
            self.results.add("out/outputs_bw", columns(forward..width));
        }
        self.results.add("out/outputs", outputs);
        if self.case.has_upstream() {
            let products = self.case.under("upstream/").map(|(name, upstream)| {
                let outputs = self.results.get(&format!("out/{name}"));
                let products = outputs.iter().zip(&upstream.values).map(|(a, b)| a * b);
                products.sum::<f64>()
            });
            let loss = products.sum();
            self.results.add("loss", vec![loss]);
            return;
        }
        let outputs = self.player.read(&self.model.head.outputs);
        match self.model.head.targets {
            Some(_) => self
                .results
                .add("out/predictions", swap(&outputs, steps, batch)),
            None => {
                let every = self.model.network.head.reads == Reads::Every;
                let rows = if every { steps } else { 1 };
                let losses = self.model.head.scores.part(0, [rows * batch]);
                let losses = swap(&self.player.read(&losses), rows, batch);
                let name = if every {
                    "nll_per_token"
                } else {
                    "xentropy_per_example"
                };
                self.results.add("out/logits", swap(&outputs, rows, batch));
                self.results.add(format!("out/{name}"), losses);
            }
        }
        let loss = self.loss_of_head();
        self.results.add("loss", vec![loss]);
    }

    /// Returns the mean loss of the last forward pass.
    fn loss_of_head(&mut self) -> f64 {
        let scores = self.player.read(&self.model.head.scores);
        let losses = &scores[..scores.len() / 2];
        losses.iter().sum::<f64>() * self.player.read(&self.model.head.label_weight)[0]
    }

    fn read_gradients(&mut self) {
        let gradients = self.gradients();
        self.results.add_all("grad", gradients);
        if let Some(dinputs) = &self.model.dinputs() {
            let dinputs = self.player.read(dinputs);
            let dinputs = swap(&dinputs, self.model.steps, self.model.batch);
            self.results.add("grad/x", dinputs);
        }
        for (l, layer) in self.model.recurrences().enumerate() {
            let mut dstate = self.player.read(&layer.gradients.dstate).into_iter();
            for (s, len) in ["h", "c"].into_iter().zip(layer.state_sizes()) {
                let (name, _) = self.case.state("grad/init", l, s, len);
                self.results.add(name, dstate.by_ref().take(len).collect());
            }
        }
    }

    /// Reads the clipped gradient of the last update: the optimizer multiplies by the factor and
    /// stores no clipped copy.
    fn read_clipped(&mut self, update: &RecordedUpdate) {
        let norm = self.player.read(&update.norm);
        self.results.add("out/global_norm", vec![norm[0]]);
        for (name, values) in self.gradients() {
            let clipped = values.iter().map(|value| value * norm[1]).collect();
            self.results.add(format!("clipped_grad/{name}"), clipped);
        }
    }

    fn gradients(&mut self) -> BTreeMap<String, Vec<f64>> {
        let gradients = self.model.gradients.expect("made with gradients");
        self.parameters.named(&self.player.read(&gradients))
    }
}
