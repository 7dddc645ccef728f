//! The cases: every kernel; every cell with every option; sizes at and around the edges of tiles and workgroups; ordinary,
//! saturated, zero and subnormal numbers.

use super::{Case, Content, Manner, Scene};
use crate::backend::tuning::{Route, Tuning};
use crate::cells::Cell;
use crate::error::{Error, Result};
use crate::kernels::{
    Arrange, Call, CarryState, ClipFactor, ColumnSum, Columns, Form, Gather, GatherKind, Gemm,
    IGNORE, LabelWeight, Lookup, LookupGradient, Matrix, MeanSquaredError, Order, Pack, Record,
    Side, SoftmaxCrossEntropy, SquaredNorm, Table, Tally, Tokens, control, history,
};
use crate::network::{
    Bias, Dropout, Head, Init, Input, Layer, Loss, MaskSharing, Network, Padding, Reads,
};
use crate::program::{Phase, Program};
use crate::recipe::optimizer::{Clip, Optimizer};
use crate::recipe::{DataRecipe, Recipe};
use crate::record::{Gradients, RecordedNetwork};
use crate::rng::{Philox, Stream};
use crate::tensor::{Element, Kind, Tensor};

/// How much is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Every kernel, cell, option and route: under a minute on a software driver.
    Quick,
    /// More sizes and every combination with every kind of numbers: minutes.
    Full,
}

/// The numbers that a case begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    Ordinary,
    /// Inputs and biases of ±10⁴, so that gates saturate and logits are huge.
    Saturated,
    Zeros,
    /// Below what f32 holds with all its digits; a driver may take them for 0.
    Subnormal,
}

impl Values {
    const ALL: [Values; 4] = [
        Values::Ordinary,
        Values::Saturated,
        Values::Zeros,
        Values::Subnormal,
    ];

    fn name(self) -> &'static str {
        match self {
            Values::Ordinary => "ordinary",
            Values::Saturated => "saturated",
            Values::Zeros => "zeros",
            Values::Subnormal => "subnormal",
        }
    }

    /// What a number in ±1 is multiplied by; `pushes` for inputs and biases.
    fn scale(self, pushes: bool) -> f32 {
        match self {
            Values::Ordinary => 1.0,
            Values::Saturated if pushes => 1e4,
            Values::Saturated => 1.0,
            Values::Zeros => 0.0,
            Values::Subnormal => 1e-39,
        }
    }
}

/// A network's case.
#[derive(Clone)]
struct Spec {
    network: Network,
    steps: usize,
    batch: usize,
    gradients: Gradients,
    optimizer: Optimizer,
    clip: Clip,
    route: Option<Route>,
    /// Steps of a scan's cut.
    cut: usize,
    values: Values,
    manner: Manner,
    /// The options in the case's name.
    name: String,
}

/// All cases of a sweep.
pub fn sweep(effort: Effort) -> Vec<Case> {
    let mut cases = kernels(effort);
    cases.extend(networks(effort).into_iter().map(Spec::case));
    cases
}

/// A recipe's own network, at its own T, B and H, with numbers of this module's.
///
/// # Errors
/// A recipe that makes no sense, or whose data say nothing of sizes.
pub fn of_recipe(recipe: &Recipe) -> Result<Vec<Case>> {
    recipe.validate()?;
    let [steps, features, outputs] = match &recipe.data {
        DataRecipe::Series { steps, .. } => [*steps, 1, 1],
        // Where the files are not there, MNIST's sizes.
        DataRecipe::Idx { classes, .. } => {
            let loaded = recipe
                .data
                .load_split(crate::data::Split::Test, recipe.seed);
            loaded.map_or([28, 28, *classes], |data| {
                [data.steps, data.input_size(), *classes]
            })
        }
        // Where the text is not there, as many characters as an English one has.
        DataRecipe::Text(_) => {
            let loaded = recipe.data.load(recipe.seed).map(|splits| splits.train);
            loaded.map_or([50, 66, 66], |data| {
                [data.steps, data.input_size(), data.input_size()]
            })
        }
        DataRecipe::Csv(_) | DataRecipe::Npy(_) => {
            let data = recipe.data.load(recipe.seed)?.train;
            let outputs = data.targets.outputs();
            [data.steps, data.input_size(), outputs]
        }
        DataRecipe::Arrays {} => {
            return Err(Error::usage(
                "--recipe: the recipe's data are arrays of a program that uses the library, and their sizes are not known here",
            ));
        }
    };
    let network = recipe.network(features, outputs)?;
    let steps = recipe.bptt_steps.unwrap_or(steps).min(steps);
    let spec = Spec {
        network,
        steps,
        batch: recipe.batch_size,
        gradients: Gradients::OfLoss,
        optimizer: recipe.optimizer.clone(),
        clip: recipe.clip(),
        route: None,
        // Bounds grow with every step; short cuts keep them near to what happens.
        cut: 4,
        values: Values::Ordinary,
        manner: Manner::Calls,
        name: recipe.name.clone(),
    };
    let values = [Values::Ordinary, Values::Saturated];
    let cases = values.map(|values| {
        Spec {
            values,
            ..spec.clone()
        }
        .case()
    });
    Ok(cases.into())
}

// ---- networks ------------------------------------------------------------------------------------------------------

/// Optimisers and clips, each with every form and option somewhere.
fn optimizers() -> Vec<(Optimizer, Clip)> {
    let (lr, weight_decay) = (0.01, 0.1);
    let norm = |limit, form| Clip::Norm { limit, form };
    let sgd = |momentum, dampening, nesterov| Optimizer::Sgd {
        lr,
        momentum,
        dampening,
        nesterov,
        weight_decay,
    };
    let adam = |form, amsgrad| Optimizer::Adam {
        lr,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        form,
        weight_decay,
        amsgrad,
    };
    let rmsprop = |form, momentum, centered| Optimizer::Rmsprop {
        lr,
        form,
        rho: None,
        epsilon: None,
        momentum,
        centered,
        weight_decay,
    };
    vec![
        (Optimizer::sgd(lr), norm(0.1, Form::Torch)),
        (adam(Form::Torch, false), Clip::None),
        (rmsprop(Form::Torch, 0.9, false), Clip::Value(0.01)),
        (sgd(0.9, 0.1, false), Clip::Value(0.01)),
        (adam(Form::Tensorflow, true), norm(0.1, Form::Tensorflow)),
        (rmsprop(Form::Tensorflow, 0.9, false), Clip::None),
        (sgd(0.9, 0.0, true), norm(1e6, Form::Torch)),
        (
            Optimizer::AdamW {
                lr,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay,
                amsgrad: true,
            },
            Clip::Value(0.01),
        ),
        (rmsprop(Form::Torch, 0.0, true), norm(0.1, Form::Torch)),
        (rmsprop(Form::Tensorflow, 0.5, true), Clip::None),
    ]
}

/// Two layers of `cell`.
fn spec(cell: Cell, hidden_size: usize, steps: usize, batch: usize) -> Spec {
    let layer = Layer {
        bias: Bias::Double,
        ..Layer::new(cell, hidden_size)
    };
    Spec {
        network: Network {
            input_size: 3,
            input: Input::Values,
            layers: vec![layer.clone(), layer],
            head: Head {
                size: 5,
                reads: Reads::Last,
                loss: Loss::CrossEntropy,
                init: Init::Glorot,
            },
        },
        steps,
        batch,
        gradients: Gradients::OfLoss,
        optimizer: Optimizer::sgd(0.01),
        clip: Clip::None,
        route: None,
        cut: usize::MAX,
        values: Values::Ordinary,
        manner: Manner::Calls,
        name: format!("{} {hidden_size}", cell.name()),
    }
}

/// `cell` with each of its options; small, and every size on another side of four, the sequences that a scan takes together.
fn options(cell: Cell) -> Vec<Spec> {
    let plain = spec(cell, 5, 4, 5);
    let mut specs = vec![];
    let mut with = |name: &str, change: &dyn Fn(&mut Spec)| {
        let mut spec = plain.clone();
        spec.name += &format!(" {name}");
        change(&mut spec);
        specs.push(spec);
    };
    with("no-bias every", &|spec| {
        for layer in &mut spec.network.layers {
            layer.bias = Bias::None;
        }
        spec.network.head.reads = Reads::Every;
    });
    with("both-ways repeat", &|spec| {
        for layer in &mut spec.network.layers {
            layer.bidirectional = true;
            layer.backward_hidden_size = Some(4);
            layer.padding = Padding::Repeat;
        }
        spec.network.head.reads = Reads::Every;
        spec.network.head.loss = Loss::MeanSquaredError;
    });
    with("dropout residual", &|spec| {
        spec.network.input_size = 5;
        for (l, layer) in spec.network.layers.iter_mut().enumerate() {
            // Which a head that reads the last state does not see.
            layer.residual = l == 0;
            layer.dropout = Dropout {
                input_keep_prob: 0.6,
                output_keep_prob: 0.7,
                state_keep_prob: 0.8,
                mask: [MaskSharing::EachStep, MaskSharing::EachSequence][l],
            };
        }
    });
    with("dropout both-ways", &|spec| {
        let layer = &mut spec.network.layers[1];
        layer.bidirectional = true;
        layer.dropout = Dropout {
            output_keep_prob: 0.5,
            mask: MaskSharing::EachBatch,
            ..Dropout::default()
        };
        spec.network.head.reads = Reads::Every;
    });
    with("one-hot both-ways", &|spec| {
        spec.network.input = Input::OneHot;
        spec.network.layers[0].bidirectional = true;
    });
    with("embedding", &|spec| {
        spec.network.input = Input::Embedding {
            size: 4,
            padding_idx: Some(1),
            init: Init::Torch,
            tied: false,
        };
        spec.network.head.loss = Loss::MeanSquaredError;
    });
    with("tied every", &|spec| {
        spec.network.input = Input::Embedding {
            size: spec.network.head_inputs(),
            padding_idx: None,
            init: Init::Torch,
            tied: true,
        };
        spec.network.input_size = spec.network.head.size;
        spec.network.head.reads = Reads::Every;
    });
    with("upstream", &|spec| spec.gradients = Gradients::OfUpstream);
    if cell.is_lstm() {
        with("clip", &|spec| {
            for layer in &mut spec.network.layers {
                layer.cell_clip = Some(0.05);
            }
        });
        with("projection", &|spec| {
            for (layer, size) in spec.network.layers.iter_mut().zip([3, 7]) {
                layer.projection_size = Some(size);
            }
        });
        with("projection clip dropout", &|spec| {
            for (layer, size) in spec.network.layers.iter_mut().zip([7, 4]) {
                layer.projection_size = Some(size);
                layer.projection_clip = Some(0.02);
                layer.cell_clip = Some(0.05);
                layer.dropout.state_keep_prob = 0.6;
            }
            spec.network.head.reads = Reads::Every;
        });
    }
    specs
}

fn networks(effort: Effort) -> Vec<Spec> {
    let full = effort == Effort::Full;
    let routes = [Route::Scan, Route::Step];
    let mut specs = vec![];
    for cell in Cell::ALL {
        // Numbers of every kind, on both routes.
        for route in routes {
            for values in Values::ALL {
                let plain = spec(cell, 5, 3, 3);
                let route = Some(route);
                specs.push(Spec {
                    route,
                    values,
                    ..plain
                });
            }
        }
        // Options.
        for plain in options(cell) {
            for route in routes {
                let values = if full {
                    &Values::ALL[..]
                } else {
                    &Values::ALL[..1]
                };
                for &values in values {
                    specs.push(Spec {
                        route: Some(route),
                        values,
                        ..plain.clone()
                    });
                }
            }
        }
        // Around the edges of workgroups, of what a scan takes together, and of its cuts.
        let quick = [(1, 1, 1), (33, 5, 4), (65, 2, 9), (257, 2, 2)];
        let more = [
            (31, 3, 4),
            (32, 9, 5),
            (63, 4, 31),
            (64, 3, 33),
            (255, 2, 3),
            (256, 3, 5),
            (341, 2, 2),
            (342, 2, 2),
            (513, 2, 1),
        ];
        let sizes = quick.iter().chain(more.iter().filter(|_| full));
        for &(hidden_size, steps, batch) in sizes {
            for route in [None, Some(Route::Step)] {
                if route.is_some() && !full && hidden_size != 65 {
                    continue;
                }
                let plain = spec(cell, hidden_size, steps, batch);
                let mut sized = Spec {
                    route,
                    cut: 2,
                    ..plain
                };
                sized.network.layers.truncate(1);
                specs.push(sized);
            }
        }
        let projections =
            [[65, 40], [33, 70], [200, 224]]
                .into_iter()
                .take(if full { 3 } else { 1 });
        for [hidden_size, outputs] in projections.filter(|_| cell.is_lstm()) {
            for route in [None, Some(Route::Step)] {
                let mut sized = spec(cell, hidden_size, 3, 6);
                sized.name += &format!(" projection {outputs}");
                sized.network.layers.truncate(1);
                sized.network.layers[0].projection_size = Some(outputs);
                let cut = 2;
                specs.push(Spec {
                    route,
                    cut,
                    ..sized
                });
            }
        }
        // Long sequences: in cuts, whose bounds stay near to what happens, and at one go.
        let lengths: &[usize] = if full {
            &[31, 32, 63, 64, 65, 257]
        } else {
            &[33]
        };
        for &steps in lengths {
            for (route, cut) in [
                (Route::Scan, 8),
                (Route::Scan, usize::MAX),
                (Route::Step, 1),
            ] {
                let mut long = spec(cell, 9, steps, 6);
                long.network.layers.truncate(1);
                long.network.head.reads = Reads::Every;
                if cut == 8 {
                    long.name += " cut";
                }
                let route = Some(route);
                specs.push(Spec { route, cut, ..long });
            }
        }
        // Whole training steps.
        for route in routes {
            for (number, (optimizer, clip)) in optimizers().into_iter().enumerate() {
                // What is left of a mean square without its mean may be all rounding.
                let centered = matches!(optimizer, Optimizer::Rmsprop { centered: true, .. });
                if centered {
                    continue;
                }
                let plain = spec(cell, 6, 3, 5);
                specs.push(Spec {
                    route: Some(route),
                    manner: Manner::Training(3),
                    name: format!("{} training {number}", plain.name),
                    optimizer,
                    clip,
                    ..plain
                });
            }
        }
    }
    let rules = optimizers();
    for spec in &mut specs {
        if let Manner::Calls = spec.manner {
            // A case is the same in every sweep that has it.
            let rule = hash(&spec.id()) % rules.len() as u64;
            (spec.optimizer, spec.clip) = rules[rule as usize].clone();
        }
    }
    specs
}

impl Spec {
    fn id(&self) -> String {
        let route = match self.route {
            Some(Route::Scan) => " scan",
            Some(Route::Step) => " step",
            None => "",
        };
        let (t, b, values) = (self.steps, self.batch, self.values.name());
        format!("{} t{t} b{b}{route} {values}", self.name).replace(' ', "-")
    }

    fn case(self) -> Case {
        Case {
            id: self.id(),
            manner: self.manner,
            make: Box::new(move |tuning| self.scene(tuning)),
        }
    }

    fn scene(&self, tuning: Tuning) -> Result<Scene> {
        let layers = self.network.layers.iter();
        let work = layers.map(|layer| {
            let facts = layer.cell.facts();
            (facts.gates + 1) * layer.hidden_size * layer.output_size()
        });
        let work = work.max().unwrap_or(1) * self.batch;
        let tuning = Tuning {
            route: self.route.or(tuning.route),
            scan_work: self.cut.saturating_mul(work).min(tuning.scan_work),
            ..tuning
        };
        let (network, steps, batch) = (&self.network, self.steps, self.batch);
        let mut model = RecordedNetwork::new(network, steps, batch, self.gradients, tuning)?;
        let index = Element::Index;
        let words = model
            .program
            .buffer("control", Kind::Control, index, [control::WORDS]);
        let rows = 4;
        let real = Element::Real;
        let rows_of_history =
            model
                .program
                .buffer("history", Kind::Control, real, [rows, history::WORDS]);
        model.carry_states(Phase::Forward, words);
        model.draw_masks(7, words);
        model.forward(Phase::Forward);
        model.loss(Phase::Forward);
        if self.gradients != Gradients::None {
            model.backward();
        }
        let update = model.record_update(&self.optimizer, self.clip, words, rows);
        let record = Record {
            scores: model.head.scores,
            labels: model.head.labels,
            lengths: model.lengths,
            weight: model.head.label_weight,
            norm: Some(update.norm),
            control: words,
            history: rows_of_history,
            batch,
            chunks: 1,
        };
        model.program.push(Phase::Update, record.clone());
        if !network.layers.iter().all(|layer| layer.dropout.is_none()) {
            model.forward(Phase::Evaluate);
        }
        model.program.push(
            Phase::Evaluate,
            Record {
                norm: None,
                chunks: 2,
                ..record
            },
        );
        let mut counts = vec![];
        if network.head.loss == Loss::CrossEntropy {
            let classes = network.head.size;
            let mut count = |extents: [usize; 2]| {
                let tensor = model
                    .program
                    .buffer("counts", Kind::Control, index, extents);
                counts.push(tensor);
                tensor
            };
            let tally = Tally {
                outputs: model.head.outputs,
                labels: model.head.labels,
                confusion: count([classes, classes]),
                ranks: count([classes, 1]),
                classes,
            };
            model.program.push(Phase::Evaluate, tally);
        }

        let mut fill = Fill::new(&model.program, &self.name);
        fill.reals(self.values);
        for entry in &model.entries {
            let tensor = model.parameters.part(entry.offset, entry.shape);
            // Rows of magnitudes that sum up to about 1, so that errors do not grow over time.
            let (limit, pushes) = match entry.shape.extents() {
                [_, columns] => (2.0 / *columns as f32, false),
                _ => (0.5, true),
            };
            fill.uniform(&tensor, limit * self.values.scale(pushes));
        }
        if network.input.is_values() {
            fill.uniform(&model.inputs, self.values.scale(true));
        } else {
            fill.below(&model.inputs, network.input_size as u32);
        }
        // The second four, which a scan takes together, all end early.
        let half = steps.div_ceil(2);
        let lengths = [steps + 3, 0, half, 1, half, 1, 0, half, steps];
        fill.index(&model.lengths, |b| lengths[b % lengths.len()] as u32);
        let classes = match model.head.targets {
            Some(_) => 1,
            None => network.head.size as u32,
        };
        fill.below(&model.head.labels, classes);
        fill.each_index(&model.head.labels, 4, IGNORE);
        for tensor in counts {
            fill.below(&tensor, 9);
        }
        // The first update of some, not of others; a first chunk, or a later one.
        let turn = (self.name.len() % 2) as u32;
        fill.index(&words, |word| match word {
            control::STEP => 3 * turn,
            control::CHUNK => turn,
            control::COUNT => 100,
            _ => 0,
        });
        // Moments are means of squares, among others: at least 0.
        for moment in &update.moments {
            fill.positive(&moment.tensor, 1.0);
        }
        fill.positive(&update.rates, 0.01);
        Ok(Scene {
            contents: fill.contents,
            program: model.program,
        })
    }
}

/// FNV-1a: what follows from it does not depend on a case's place among the others.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Fills buffers, with numbers that follow from a name.
struct Fill {
    contents: Vec<Content>,
    random: Philox,
    kinds: Vec<Kind>,
}

impl Fill {
    fn new(program: &Program, name: &str) -> Self {
        let content = |buffer: &crate::tensor::Buffer| match buffer.element {
            Element::Real => Content::Real(vec![0.0; buffer.len]),
            Element::Index => Content::Index(vec![0; buffer.len]),
        };
        Fill {
            contents: program.buffers().iter().map(content).collect(),
            random: Philox::new(hash(name), Stream::Parameter(0)),
            kinds: program.buffers().iter().map(|buffer| buffer.kind).collect(),
        }
    }

    /// Everything but parameters: what nobody computes must not matter, or must be seen to.
    fn reals(&mut self, values: Values) {
        for (kind, content) in self.kinds.iter().zip(&mut self.contents) {
            if let Content::Real(content) = content
                && *kind != Kind::Parameters
            {
                let scale = values.scale(false);
                let random = &mut self.random;
                content.fill_with(|| (2.0 * random.uniform() - 1.0) * scale);
            }
        }
    }

    fn part(&mut self, tensor: &Tensor) -> (&mut Philox, &mut [f32]) {
        match &mut self.contents[tensor.buffer.index()] {
            Content::Real(values) => (&mut self.random, &mut values[tensor.range()]),
            Content::Index(_) => (&mut self.random, &mut []),
        }
    }

    /// In ±limit.
    fn uniform(&mut self, tensor: &Tensor, limit: f32) {
        let (random, values) = self.part(tensor);
        values.fill_with(|| (2.0 * random.uniform() - 1.0) * limit);
    }

    /// From 0 to limit.
    fn positive(&mut self, tensor: &Tensor, limit: f32) {
        let (random, values) = self.part(tensor);
        values.fill_with(|| random.uniform() * limit);
    }

    fn index(&mut self, tensor: &Tensor, value: impl Fn(usize) -> u32) {
        if let Content::Index(values) = &mut self.contents[tensor.buffer.index()] {
            let values = values[tensor.range()].iter_mut().enumerate();
            values.for_each(|(at, place)| *place = value(at));
        }
    }

    fn below(&mut self, tensor: &Tensor, limit: u32) {
        if let Content::Index(values) = &mut self.contents[tensor.buffer.index()] {
            let random = &mut self.random;
            values[tensor.range()].fill_with(|| random.below(limit));
        }
    }

    /// Every `step`th number becomes `value`.
    fn each_index(&mut self, tensor: &Tensor, step: usize, value: u32) {
        if let Content::Index(values) = &mut self.contents[tensor.buffer.index()] {
            let values = values[tensor.range()].iter_mut().step_by(step);
            values.for_each(|place| *place = value);
        }
    }
}

// ---- kernels alone -------------------------------------------------------------------------------------------------

/// Sets a tensor of integers.
type Set = Box<dyn Fn(&mut Fill)>;

/// Calls over buffers of their own, each tensor at an odd place of a larger buffer.
#[derive(Default)]
struct Bench {
    program: Program,
    fills: Vec<Set>,
}

impl Bench {
    fn place(&mut self, element: Element, extents: [usize; 2]) -> Tensor {
        let skip = 2 * self.program.buffers().len() + 1;
        let count = extents[0] * extents[1];
        let name = format!("buffer {}", self.program.buffers().len());
        let whole = self
            .program
            .buffer(name, Kind::Data, element, [skip + count + 67]);
        whole.part(skip, extents)
    }

    fn reals(&mut self, rows: usize, columns: usize) -> Tensor {
        self.place(Element::Real, [rows, columns])
    }

    fn indices(&mut self, count: usize, value: impl Fn(usize) -> u32 + 'static) -> Tensor {
        let tensor = self.place(Element::Index, [count, 1]);
        self.fills
            .push(Box::new(move |fill| fill.index(&tensor, &value)));
        tensor
    }

    /// Classes below `limit`, some of them not labelled.
    fn labels(&mut self, count: usize, limit: u32) -> Tensor {
        let tensor = self.place(Element::Index, [count, 1]);
        self.fills.push(Box::new(move |fill| {
            fill.below(&tensor, limit);
            fill.each_index(&tensor, 5, IGNORE);
        }));
        tensor
    }

    fn push(&mut self, call: impl Into<Call>) {
        self.program.push(Phase::Forward, call);
    }
}

/// Records a kernel at sizes around its edges; more of them, where it is told so.
type Sizes = fn(&mut Bench, bool);

/// Kernels that stand alone, each with all its sizes in one program, so that it is compiled once.
fn kernels(effort: Effort) -> Vec<Case> {
    let full = effort == Effort::Full;
    let benches: [(&str, Sizes); 13] = [
        ("gemm", gemm),
        ("column-sum", column_sum),
        ("squared-norm", squared_norm),
        ("softmax", softmax),
        ("squared-error", squared_error),
        ("label-weight", label_weight),
        ("tally", tally),
        ("pack", pack),
        ("arrange", arrange),
        ("carry-state", carry_state),
        ("gather", gather),
        ("lookup", lookup),
        ("record", record),
    ];
    let mut cases = vec![];
    for (name, bench) in benches {
        for values in Values::ALL {
            let make = move |_| {
                let mut place = Bench::default();
                bench(&mut place, full);
                let mut fill = Fill::new(&place.program, name);
                fill.reals(values);
                if values == Values::Saturated {
                    for content in &mut fill.contents {
                        if let Content::Real(numbers) = content {
                            numbers.iter_mut().for_each(|number| *number *= 1e4);
                        }
                    }
                }
                place.fills.iter().for_each(|set| set(&mut fill));
                Ok(Scene {
                    contents: fill.contents,
                    program: place.program,
                })
            };
            cases.push(Case {
                id: format!(
                    "{name}-{}sizes-{}",
                    if full { "many-" } else { "" },
                    values.name()
                ),
                manner: Manner::Calls,
                make: Box::new(make),
            });
        }
    }
    cases
}

/// At and around four, 32, 64 and 256.
fn edges(full: bool) -> &'static [usize] {
    match full {
        true => &[
            1, 3, 4, 5, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257,
        ],
        false => &[1, 5, 63, 64, 65, 257],
    }
}

fn gemm(bench: &mut Bench, full: bool) {
    let sizes: &[[usize; 3]] = match full {
        true => &[
            [1, 1, 1],
            [7, 9, 3],
            [8, 8, 8],
            [9, 7, 5],
            [63, 65, 33],
            [64, 64, 64],
            [65, 63, 31],
            [129, 5, 257],
            [4, 130, 255],
        ],
        false => &[[1, 1, 1], [9, 7, 5], [65, 63, 31], [64, 66, 2], [3, 4, 257]],
    };
    for (number, &[m, n, k]) in sizes.iter().enumerate() {
        for transposed in 0..4 {
            let [a, b] =
                [(transposed & 1, m, k), (transposed >> 1, k, n)].map(|(t, rows, columns)| {
                    // Some columns of a wider matrix.
                    let [rows, columns] = if t == 1 {
                        [columns, rows]
                    } else {
                        [rows, columns]
                    };
                    let tensor = bench.reals(rows, columns + 3);
                    let block = Matrix::block(tensor, rows, columns + 3, 2..columns + 2);
                    if t == 1 { block.t() } else { block }
                });
            let out = bench.reals(m, n + 2);
            let product = Gemm::new(a, b, Matrix::block(out, m, n + 2, 1..n + 1));
            bench_product(bench, product, number + transposed, n);
        }
    }
    // Aligned, so that four numbers are loaded at once; and sums as long as some drivers let no loop be.
    for (number, [m, n, k]) in [[4, 4, 4], [68, 72, 60], [12, 8, 1 << 17]]
        .into_iter()
        .enumerate()
    {
        for transposed in 0..4 {
            let matrix = |bench: &mut Bench, transposed: bool, rows, columns| match transposed {
                true => Matrix::new(bench.reals(columns, rows), columns, rows).t(),
                false => Matrix::new(bench.reals(rows, columns), rows, columns),
            };
            let a = matrix(bench, transposed & 1 == 1, m, k);
            let b = matrix(bench, transposed >> 1 == 1, k, n);
            let out = Matrix::new(bench.reals(m, n), m, n);
            bench_product(bench, Gemm::new(a, b, out), number + transposed, n);
        }
    }
    for (steps, batch, m, n) in [(1, 1, 4, 4), (5, 6, 9, 8), (7, 12, 68, 20), (9, 33, 8, 65)] {
        for slices in [1, 3].into_iter().filter(|&slices| slices <= batch) {
            let lengths = bench.indices(batch, move |b| (b * 7 % (steps + 2)) as u32);
            let rows = steps * batch;
            let matrix = |bench: &mut Bench, rows, columns| {
                Matrix::new(bench.reals(rows, columns), rows, columns)
            };
            let (of, by, out) = (
                matrix(bench, rows, m),
                matrix(bench, rows, n),
                matrix(bench, m, n),
            );
            let partials = bench.reals(slices * m, n);
            bench.push(
                Gemm::new(of.t(), by, out)
                    .ragged_terms(lengths)
                    .sliced(slices, partials),
            );
            let (weight, out) = (matrix(bench, n, m), matrix(bench, rows, n));
            bench.push(Gemm::new(of, weight.t(), out).ragged_rows(lengths));
        }
    }
}

/// With a bias, adding, or neither; some in large tiles.
fn bench_product(bench: &mut Bench, product: Gemm, turn: usize, columns: usize) {
    let product = Gemm {
        side: Gemm::SIDE << u32::from(turn == 1),
        ..product
    };
    let product = match turn % 3 {
        0 => product.bias(Some(bench.reals(1, columns))),
        1 => product.accumulate(),
        _ => product,
    };
    bench.push(product);
}

fn column_sum(bench: &mut Bench, full: bool) {
    for &rows in edges(full).iter().chain(&[511, 1025]) {
        for columns in [1, 64, 65] {
            for (factors, ragged) in [(false, false), (true, false), (false, true)] {
                let stride = columns + 3;
                let source = bench.reals(rows, stride);
                let factor = factors.then(|| bench.reals(rows, columns));
                // Sequences of a few steps each.
                let batch = (1..=rows)
                    .rev()
                    .find(|b| rows % b == 0 && rows / b >= 3.min(rows));
                let steps = rows / batch.unwrap_or(1);
                let lengths = batch
                    .filter(|_| ragged)
                    .map(|batch| bench.indices(batch, move |b| (b * 5 % (steps + 2)) as u32));
                let copies = 1 + rows % 2;
                let out = bench.reals(copies, columns);
                bench.push(ColumnSum {
                    source,
                    factor,
                    lengths,
                    out,
                    copies,
                    rows,
                    stride,
                });
            }
        }
    }
}

fn squared_norm(bench: &mut Bench, full: bool) {
    for &count in edges(full).iter().chain(&[4095, 4096, 4097, 9000]) {
        let source = bench.reals(1, count);
        let partials = bench.reals(1, SquaredNorm::PARTIALS);
        bench.push(SquaredNorm { source, partials });
        for limit in [None, Some(1e-3), Some(1e9)] {
            for form in [Form::Torch, Form::Tensorflow] {
                let norm = bench.reals(1, 2);
                bench.push(ClipFactor {
                    partials,
                    norm,
                    limit,
                    form,
                });
            }
        }
    }
}

fn softmax(bench: &mut Bench, full: bool) {
    for &classes in edges(full) {
        for rows in [1, 7] {
            let logits = bench.reals(rows, classes);
            let labels = bench.labels(rows, classes as u32);
            let weight = bench.reals(1, 2);
            let dlogits = bench.reals(rows, classes);
            let scores = bench.reals(2, rows);
            bench.push(SoftmaxCrossEntropy {
                logits,
                labels,
                weight,
                dlogits,
                scores,
                classes,
            });
        }
    }
}

fn squared_error(bench: &mut Bench, full: bool) {
    for &width in edges(full) {
        for rows in [1, 65] {
            let predictions = bench.reals(rows, width);
            let targets = bench.reals(rows, width);
            let labels = bench.labels(rows, 1);
            let weight = bench.reals(1, 2);
            let dpredictions = bench.reals(rows, width);
            let scores = bench.reals(2, rows);
            bench.push(MeanSquaredError {
                predictions,
                targets,
                labels,
                weight,
                dpredictions,
                scores,
                width,
            });
        }
    }
}

fn label_weight(bench: &mut Bench, full: bool) {
    for &rows in edges(full) {
        for labels in [bench.labels(rows, 3), bench.indices(rows, |_| IGNORE)] {
            let weight = bench.reals(1, 2);
            bench.push(LabelWeight { labels, weight });
        }
    }
}

fn tally(bench: &mut Bench, full: bool) {
    for &classes in edges(full) {
        for side in [classes, 0] {
            let outputs = bench.reals(9, classes);
            let labels = bench.labels(9, classes as u32);
            let confusion = bench.indices(side * side, |_| 0);
            let ranks = bench.indices(classes, |class| class as u32);
            bench.push(Tally {
                outputs,
                labels,
                confusion,
                ranks,
                classes,
            });
        }
    }
}

fn pack(bench: &mut Bench, full: bool) {
    for &terms in edges(full) {
        for (number, columns) in [1, 5, 64, 67].into_iter().enumerate() {
            let (blocks, transposed) = (1 + number % 3, number % 2 == 1);
            let size = Pack::size([blocks, terms, columns]);
            let (source, room) = (
                bench.reals(blocks * terms, columns),
                bench.reals(size + 3, 1),
            );
            let skip = room.offset.next_multiple_of(4) - room.offset;
            let out = room.part(skip, [size, 1]);
            bench.push(Pack {
                source,
                out,
                blocks,
                inner: terms,
                columns,
                transposed,
            });
        }
    }
}

fn arrange(bench: &mut Bench, full: bool) {
    let orders = [
        Order::InTime,
        Order::Reversed,
        Order::Repeat,
        Order::Collect,
    ];
    for &width in edges(full).iter().filter(|&&width| width < 100) {
        for order in orders {
            for (turn, side) in [None, Some(Side::Source), Some(Side::Out)]
                .into_iter()
                .enumerate()
            {
                let (steps, batch) = (5, 4);
                let mut columns = |extra: usize| {
                    let tensor = bench.reals(steps * batch, width + extra);
                    let stride = width + extra;
                    Columns { tensor, stride }
                };
                let (source, out, mask) = (columns(2), columns(1), columns(3));
                let lengths = bench.indices(batch, |b| [3, 0, 9, 1][b]);
                bench.push(Arrange {
                    source,
                    out,
                    mask: side.map(|side| (mask, side)),
                    lengths,
                    steps,
                    batch,
                    width,
                    order,
                    accumulate: turn == 1,
                });
            }
        }
    }
}

fn words(bench: &mut Bench, cursor: u32, count: u32, chunk: u32) -> Tensor {
    bench.indices(control::WORDS, move |word| match word {
        control::CURSOR => cursor,
        control::COUNT => count,
        control::CHUNK => chunk,
        control::STEP => 3,
        _ => 1,
    })
}

fn carry_state(bench: &mut Bench, full: bool) {
    for &count in edges(full) {
        for chunk in [0, 2] {
            let (last, initial) = (bench.reals(1, count), bench.reals(1, count));
            let control = words(bench, 0, 0, chunk);
            bench.push(CarryState {
                last,
                control,
                initial,
            });
        }
    }
}

fn gather(bench: &mut Bench, full: bool) {
    let sequences = 9;
    for &width in edges(full).iter().filter(|&&width| width < 100) {
        for (steps, batch, source_steps, cursor, chunk) in
            [(3, 4, 3, 2, 0), (2, 5, 5, 6, 1), (2, 3, 5, 0, 2)]
        {
            let order = bench.indices(sequences, move |n| (n * 4 % sequences) as u32);
            let control = words(bench, cursor, sequences as u32, chunk);
            let whole = [
                GatherKind::Reals,
                GatherKind::Bytes { scale: 0.3 },
                GatherKind::Indices { absent: IGNORE },
            ];
            for kind in whole {
                let count = sequences * source_steps * width;
                let bytes = |word: usize| (word as u32).wrapping_mul(0x9E37_79B9);
                let source = match kind {
                    GatherKind::Reals => bench.reals(1, count),
                    GatherKind::Bytes { .. } => bench.indices(count.div_ceil(4), bytes),
                    _ => bench.indices(count, bytes),
                };
                let out = match kind {
                    GatherKind::Indices { .. } => bench.indices(steps * batch * width, |_| 1),
                    _ => bench.reals(steps * batch, width),
                };
                bench.push(Gather {
                    kind,
                    source,
                    order,
                    control,
                    out,
                    steps,
                    batch,
                    width,
                    source_steps,
                    chunk_steps: steps,
                });
            }
            let source = bench.indices(sequences, |n| n as u32 % 6);
            let out = bench.indices(batch, |_| 77);
            bench.push(Gather {
                kind: GatherKind::Lengths,
                source,
                order,
                control,
                out,
                steps: 1,
                batch,
                width: 1,
                source_steps: 1,
                chunk_steps: steps,
            });
        }
    }
}

fn lookup(bench: &mut Bench, full: bool) {
    let (steps, batch) = (5, 4);
    for &width in edges(full) {
        for vocabulary in [1, 9] {
            for turn in 0..4 {
                let (reversed, columns) = (turn % 2 == 1, turn / 2 == 1);
                let tensor = bench.place(Element::Index, [steps * batch, 1]);
                let set = move |fill: &mut Fill| fill.below(&tensor, vocabulary as u32);
                bench.fills.push(Box::new(set));
                let lengths = bench.indices(batch, |b| [3, 0, 9, 5][b]);
                let tokens = Tokens {
                    tensor,
                    lengths,
                    steps,
                    batch,
                    reversed,
                };
                let mut table = || match columns {
                    true => Table::columns(bench.reals(width, vocabulary)),
                    false => Table::rows(bench.reals(vocabulary, width)),
                };
                let (table, dtable) = (table(), table());
                let mut out = || Columns {
                    tensor: bench.reals(steps * batch, width + 2),
                    stride: width + 2,
                };
                let (out, dout) = (out(), out());
                let bias = reversed.then(|| bench.reals(1, width));
                bench.push(Lookup {
                    table,
                    bias,
                    tokens,
                    out,
                });
                bench.push(LookupGradient {
                    dout,
                    tokens,
                    dtable,
                    padding: columns.then_some(0),
                    accumulate: reversed,
                });
            }
        }
    }
}

fn record(bench: &mut Bench, full: bool) {
    for &batch in edges(full) {
        for (steps, chunks, updates) in [(1, 1, true), (3, 2, false), (3, 3, true)] {
            let rows = steps * batch;
            let scores = bench.reals(2, rows);
            let labels = bench.labels(rows, 3);
            let lengths = bench.indices(batch, move |b| [steps as u32, 0, 1, 9][b % 4]);
            let weight = bench.reals(1, 2);
            let norm = updates.then(|| bench.reals(1, 2));
            let control = words(bench, 5, 100, 1);
            let history = bench.reals(2, history::WORDS);
            bench.push(Record {
                scores,
                labels,
                lengths,
                weight,
                norm,
                control,
                history,
                batch,
                chunks,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_means_one_case() {
        let all = [Effort::Quick, Effort::Full].map(sweep);
        for cases in &all {
            let names: BTreeSet<&String> = cases.iter().map(|case| &case.id).collect();
            assert_eq!(names.len(), cases.len());
        }
    }

    #[test]
    fn every_rule_and_clip_is_swept() {
        for (rule, clip) in optimizers() {
            let specs = networks(Effort::Quick);
            let found = specs
                .iter()
                .any(|spec| spec.optimizer == rule && spec.clip == clip);
            assert!(found, "{rule:?} {clip:?}");
        }
    }
}
