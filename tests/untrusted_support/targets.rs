//! Targets for untrusted bytes: each reads them like a file of a user and uses the result. Any
//! bytes must give a result or an error. cargo-fuzz runs the same targets (`fuzz/`).

use std::io::Cursor;
use std::path::Path;

use flate2::Crc;
use gatescan::data::baselines;
use gatescan::data::csv::{Csv, TableTask};
use gatescan::data::npy::{ArrayFiles, Npy, OwnFiles};
use gatescan::data::preparation::Missing;
use gatescan::data::series::Series;
use gatescan::data::source::DataUse;
use gatescan::data::text::{Text, Unit};
use gatescan::data::{DataSource, Horizon, Inputs, SplitBy, idx, npy};
use gatescan::formats::{self, ImportHints, Imported};
use gatescan::infer::predict::Sequences;
use gatescan::low_level::backend::tuning::Tuning;
use gatescan::low_level::kernels::IGNORE;
use gatescan::low_level::messages::is_unprintable;
use gatescan::low_level::program::Phase;
use gatescan::low_level::record::{Gradients, RecordedNetwork};
use gatescan::low_level::tables::{decode_with_notes, time_of, times_of};
use gatescan::network::Bias;
use gatescan::profile::Profile;
use gatescan::recipe::propose::{Hints, propose};
use gatescan::recipe::schedule::{Plateaus, RunProgress};
use gatescan::report::{self, Run};
use gatescan::train;
use gatescan::{
    Cell, Checkpoint, DataRecipe, Dataset, Device, HeadRecipe, Input, Layer, Loss, Model, Network,
    Optimizer, Predictor, Reads, Recipe, Targets, Trainer,
};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3};

/// Returns whether the bytes were valid.
pub type Target = fn(&[u8]) -> bool;

/// Every target, by the name of its corpus.
pub const TARGETS: [(&str, Target); 18] = [
    ("idx", idx),
    ("model", model),
    ("checkpoint", checkpoint),
    ("page_state", page_state),
    ("recipe", recipe),
    ("series", series),
    ("text", text),
    ("csv", csv),
    ("decode", decode),
    ("times", times),
    ("init", init),
    ("npy", npy),
    ("profile", profile),
    ("metrics", metrics),
    ("dataset", dataset),
    ("pytorch", pytorch),
    ("keras", keras),
    ("keras_config", keras_config),
];

/// Networks with more parameters are not run, so that an input takes milliseconds.
const SMALL: usize = 2000;

/// Two IDX files, plain or gzipped. Input: the number of classes, the length of the labels' file
/// (two bytes), the labels, the images.
pub fn idx(input: &[u8]) -> bool {
    let mut input = Bytes(input);
    let (classes, length) = (
        input.byte(),
        u16::from_le_bytes([input.byte(), input.byte()]),
    );
    let labels = input.take(length.into());
    let files =
        [("images", input.0), ("labels", labels)].map(|(name, file)| (Path::new(name), file));
    let Ok(data) = idx::read_split(files[0], files[1], classes.into()) else {
        return false;
    };
    data.check().expect("data that are read are valid");
    data.slice(0..1).expect("there is a sequence");
    true
}

/// A model file. Input: `r` and the file; or `d`, its description, the tensors of its header and
/// their values, each followed by a zero byte, from which a file with valid lengths and quotes is
/// made.
pub fn model(input: &[u8]) -> bool {
    let bytes = match input.split_first() {
        Some((b'r', file)) => file.to_vec(),
        Some((b'd', parts)) => {
            let mut parts = parts.splitn(3, |&byte| byte == 0).map(<[u8]>::to_vec);
            let mut text =
                || String::from_utf8_lossy(&parts.next().unwrap_or_default()).into_owned();
            let description = serde_json::Value::from(text());
            let tensors = text();
            let comma = if tensors.is_empty() { "" } else { "," };
            let header =
                format!("{{\"__metadata__\":{{\"gatescan\":{description}}}{comma}{tensors}}}");
            let length = (header.len() as u64).to_le_bytes();
            let values = parts.next().unwrap_or_default();
            [&length[..], header.as_bytes(), &values].concat()
        }
        _ => return false,
    };
    let Ok(model) = Model::from_bytes(&bytes) else {
        return false;
    };
    let network = &model.network;
    if !is_small(network) || !network.input.is_values() {
        return false;
    }
    let inputs = Array3::from_elem((1, 2, network.input_size), 0.5);
    model.predict(inputs.view(), &Device::Cpu).is_ok()
}

/// A checkpoint of a run. The checksum is corrected, so that the contents are read.
pub fn checkpoint(input: &[u8]) -> bool {
    let Some((before, _)) = input.split_last_chunk::<4>() else {
        return false;
    };
    let mut crc = Crc::new();
    crc.update(before);
    let bytes = [before, &crc.sum().to_le_bytes()].concat();
    let Ok(checkpoint) = Checkpoint::from_bytes(&bytes) else {
        return false;
    };
    let network = &checkpoint.network;
    let parameters = checkpoint.model().parameters;
    match network.from_parameters(&parameters) {
        Ok(flat) => assert_eq!(flat.len(), network.table().1),
        Err(_) => assert!(parameters.iter().any(|each| each.check_finite().is_err())),
    }
    true
}

/// The state of a page of `gatescan web`.
pub fn page_state(input: &[u8]) -> bool {
    let Ok(state) = train::PageState::from_bytes(input) else {
        return false;
    };
    state.recipe.validate().expect("it was read");
    true
}

/// Weights as PyTorch saves them.
pub fn pytorch(input: &[u8]) -> bool {
    imported(input, formats::pytorch::import)
}

/// Keras's weights as `.weights.h5`, `.keras` or `.npz`.
pub fn keras(input: &[u8]) -> bool {
    imported(input, formats::keras::import)
}

/// The description of a Keras model, with the weights of two recurrent layers and a head. Input:
/// `config.json`.
pub fn keras_config(input: &[u8]) -> bool {
    let layers = vec![Layer::new(Cell::Lstm, 2), Layer::new(Cell::RnnTanh, 2)];
    let head = HeadRecipe::new(Reads::Last, Loss::MeanSquaredError);
    let recipe = Recipe::new("fuzz", layers, head, Optimizer::sgd(0.1));
    let network = recipe.network(2, 2).expect("it is valid");
    let mut parameters = network.to_parameters(&network.initial(1));
    parameters.sort_by(|a, b| a.name.cmp(&b.name));
    let model = Model {
        network,
        recipe,
        preparation: Default::default(),
        parameters,
    };
    let weights = formats::keras::export(&model, "w").expect("Keras has it");
    let members = [
        ("config.json", input),
        ("model.weights.h5", &weights.weights[..]),
    ];
    let archive = [&[7], &stored_zip(&members)[..]].concat();
    keras(&archive)
}

/// A zip archive of uncompressed members.
fn stored_zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut archive, mut directory) = (vec![], vec![]);
    for (name, contents) in members {
        let mut crc = Crc::new();
        crc.update(contents);
        let size = (contents.len() as u32).to_le_bytes();
        let name_size = (name.len() as u16).to_le_bytes();
        // The version needed, no flags, stored, no time.
        let common = [
            &[10, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &crc.sum().to_le_bytes(),
        ]
        .concat();
        let common = [&common[..], &size, &size, &name_size, &[0, 0]].concat();
        let offset = (archive.len() as u32).to_le_bytes();
        archive.extend([b"PK\x03\x04", &common[..], name.as_bytes(), contents].concat());
        let entry = [
            b"PK\x01\x02\x0a\x00",
            &common[..],
            &[0; 10],
            &offset,
            name.as_bytes(),
        ];
        directory.extend(entry.concat());
    }
    let count = (members.len() as u16).to_le_bytes();
    let (size, offset) = (directory.len() as u32, archive.len() as u32);
    archive.extend(directory);
    let end = [
        b"PK\x05\x06\0\0\0\0",
        &count[..],
        &count,
        &size.to_le_bytes(),
    ]
    .concat();
    archive.extend([&end[..], &offset.to_le_bytes(), &[0, 0]].concat());
    archive
}

/// The cells that files of other frameworks can have.
fn known_cells() -> impl Iterator<Item = Cell> {
    let cells = Cell::ALL.into_iter();
    cells.filter(|cell| cell.spec().frameworks.onnx.is_some())
}

/// Imported weights, which are then exported. Input: a byte of hints, and the weights.
fn imported(
    input: &[u8],
    import: fn(&[u8], &str, &ImportHints) -> gatescan::Result<Imported>,
) -> bool {
    let Some((&first, file)) = input.split_first() else {
        return false;
    };
    let hints = ImportHints {
        cell: known_cells().nth(usize::from(first % 8)),
        one_hot: first & 8 != 0,
        order: if first & 16 != 0 {
            vec!["encoder".into(), "decoder".into()]
        } else {
            vec![]
        },
        ..ImportHints::default()
    };
    let Ok(Imported { model, notes }) = import(file, "fuzz", &hints) else {
        return false;
    };
    assert!(!notes.is_empty(), "the layers are named");
    let _ = formats::pytorch::export(&model, "w");
    let _ = formats::keras::export(&model, "w");
    formats::onnx::export(&model, true).expect("every network has a graph");
    true
}

/// A recipe. Input: its TOML, then assignments for [`Recipe::set`], each after a zero byte.
pub fn recipe(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.split('\0');
    let Ok(mut recipe) = Recipe::parse(parts.next().unwrap_or_default(), "fuzz.toml") else {
        return false;
    };
    let _ = recipe.set(&parts.collect::<Vec<_>>());
    if recipe.validate().is_err() {
        return false;
    }
    if let Ok(text) = recipe.to_toml() {
        let is_odd = |c| is_unprintable(c) && c != '\n';
        assert!(!text.contains(is_odd), "{text:?}");
        Recipe::parse(&text, "written").expect("a recipe that was written can be read");
    }
    for step in [0, 1, 1000, usize::MAX - 1] {
        let mut plateaus = Plateaus::default();
        for loss in [1.0, 2.0, 0.5] {
            recipe.schedule.count_epoch(&mut plateaus, loss);
        }
        recipe.schedule.factor(&RunProgress {
            step,
            steps: 1000,
            epochs: 3,
            plateaus: plateaus.count(),
        });
    }
    let Ok(network) = recipe.network(1, 1) else {
        return false;
    };
    if !is_small(&network) {
        return false;
    }
    let mut model = RecordedNetwork::new(&network, 2, 2, Gradients::OfLoss, Tuning::cpu())
        .expect("it is small");
    model.add_lists(2).expect("they are small");
    model.forward(Phase::Forward);
    model.loss(Phase::Forward);
    model.backward();
    if !matches!(&recipe.data, DataRecipe::Series(series) if series.steps <= 20) {
        return false;
    }
    let data = recipe.data.source().made_up(3, recipe.seed);
    recipe.steps = Some(2);
    train::train(&recipe, &data.expect("there are windows"), &Device::Cpu).is_ok()
}

/// A series. Input: steps, the test fraction in 256ths, and the text.
pub fn series(input: &[u8]) -> bool {
    let mut input = Bytes(input);
    let (steps, fraction) = (usize::from(input.byte()), f64::from(input.byte()) / 256.0);
    let text = String::from_utf8_lossy(input.0);
    let series = Series {
        fold: None,
        horizon: 1.into(),
        path: None,
        steps: steps.max(1),
        test_fraction: fraction,
        resolution: 0.1,
        range: [0.0, 30.0],
        windows: 1,
        season: None,
        normalise: true,
        residual_on_last: fraction > 0.5,
        residual_on_linear: fraction > 0.7,
        linear_of_training: false,
        differences: if fraction > 0.25 { vec![1, 3] } else { vec![] },
        context: 0,
        validation_fraction: if fraction > 0.5 { 0.2 } else { 0.0 },
        missing: Missing::Forward,
    };
    let Ok(splits) = series.split(&text, Path::new("series.txt")) else {
        return false;
    };
    for data in [splits.train].iter().chain(&splits.test) {
        data.check().expect("data that are read are valid");
    }
    true
}

/// A text. Input: a byte each for unit, streams, test fraction in 256ths and minimal count, and the
/// text.
pub fn text(input: &[u8]) -> bool {
    let mut input = Bytes(input);
    let [unit, streams, fraction, min_count] = [(); 4].map(|()| input.byte());
    let text = Text {
        path: "text.txt".into(),
        unit: [Unit::Char, Unit::Byte, Unit::Word][usize::from(unit % 3)],
        streams: usize::from(streams).max(1),
        validation_path: None,
        test_path: None,
        test_fraction: f64::from(fraction) / 256.0,
        validation_fraction: f64::from(fraction % 64) / 256.0,
        min_count: usize::from(min_count).max(1),
    };
    let Ok(splits) = text.split(input.0, &text.path, None) else {
        return false;
    };
    let evaluated = splits.validation.iter().chain(&splits.test);
    for data in [&splits.train].into_iter().chain(evaluated) {
        data.check().expect("data that are read are valid");
    }
    let known = &splits.preparation;
    text.split(input.0, &text.path, Some(known))
        .expect("its own vocabulary is valid");
    let vocabulary = known.vocabulary.as_ref().expect("a text has a vocabulary");
    if let Ok(text) = str::from_utf8(input.0)
        && let Ok(tokens) = vocabulary.encode_known(text)
    {
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|&token| vocabulary.bytes(token))
            .collect();
        assert_eq!(bytes, text.as_bytes());
    }
    true
}

/// A table. Input: two bytes of options, steps, horizon, and the text.
pub fn csv(input: &[u8]) -> bool {
    let mut input = Bytes(input);
    let [options, more, steps, horizon] = [(); 4].map(|()| input.byte());
    let is = |bit: u8| options & 1 << bit != 0;
    let mut csv = Csv::new(Path::new("table.csv"), &["a", "b"], &["y"]);
    csv.task = if is(0) {
        TableTask::Classification
    } else {
        TableTask::Regression
    };
    csv.every_step = is(1);
    csv.group = is(2).then(|| "g".into());
    csv.steps = is(3).then_some(usize::from(steps));
    let ahead = usize::from(horizon % 8);
    csv.horizon = Horizon::range(ahead, ahead + usize::from(horizon / 64));
    csv.normalise = is(4);
    csv.delimiter = if is(5) { ';' } else { ',' };
    csv.test_fraction = if is(6) { 0.25 } else { 0.0 };
    let missing = [
        Missing::Refuse,
        Missing::Forward,
        Missing::Zero,
        Missing::Mean,
    ];
    csv.missing = missing[usize::from(more % 4)];
    let by = [SplitBy::Order, SplitBy::Random, SplitBy::Group];
    csv.split_by = by[usize::from(more / 4 % 3)];
    csv.stride = usize::from(more / 16);
    let loss = if is(0) {
        Loss::CrossEntropy
    } else {
        Loss::MeanSquaredError
    };
    let reads = if is(1) { Reads::Every } else { Reads::Last };
    let usage = DataUse {
        input: Input::Values,
        loss,
        reads,
        batch_size: 1,
        bptt_steps: None,
    };
    if csv.validate(&usage).is_err() {
        return false;
    }
    let Ok(splits) = csv.split(input.0, 1) else {
        return false;
    };
    splits
        .preparation
        .check(2, splits.train.targets.outputs())
        .expect("it fits");
    for data in [&splits.train].into_iter().chain(&splits.test) {
        data.check().expect("data that are read are valid");
        baselines::majority(&splits.train, data);
        let _ = baselines::of_values(
            &splits.train,
            data,
            csv.forecast().as_ref(),
            &splits.preparation,
        );
    }
    true
}

/// A table's file of any format, which becomes CSV text.
pub fn decode(input: &[u8]) -> bool {
    decode_with_notes(input.to_vec(), Path::new("table.csv")).is_ok()
}

/// The times of a column. Input: a cell on each line.
pub fn times(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let cells: Vec<&str> = text.lines().collect();
    for cell in &cells {
        assert!(time_of(cell).is_none_or(f64::is_finite), "{cell}");
    }
    let Ok(times) = times_of(&cells) else {
        return false;
    };
    assert_eq!(times.len(), cells.len());
    times.iter().flatten().all(|time| time.is_finite())
}

/// A file for which a recipe is proposed.
pub fn init(input: &[u8]) -> bool {
    let directory = tempfile::tempdir().expect("there is one");
    let path = directory.path().join("table.csv");
    std::fs::write(&path, input).expect("it is written");
    let Ok(proposal) = propose(&path, &Hints::default()) else {
        return false;
    };
    proposal
        .recipe
        .validate()
        .expect("a proposed recipe is valid");
    let text = proposal.to_toml().expect("it is written as TOML");
    let read = Recipe::parse(&text, "proposed").expect("a recipe that was written can be read");
    assert_eq!(read, proposal.recipe);
    true
}

/// Arrays. Input: `a` and an `.npy` file; or `z`, a byte of options and an archive.
pub fn npy(input: &[u8]) -> bool {
    let mut input = Bytes(input);
    let kind = input.byte();
    if kind == b'a' {
        return npy::parse(input.0, Path::new("x.npy")).is_ok();
    }
    let options = input.byte();
    let is = |bit: u8| options & 1 << bit != 0;
    let Ok(mut files) = ArrayFiles::archive(Cursor::new(input.0), Path::new("data.npz")) else {
        return false;
    };
    let names = files.names();
    let named = |name: &str| {
        names
            .iter()
            .any(|own| own == name)
            .then(|| name.to_string())
    };
    let recipe = Npy {
        labels: is(0).then(|| "y".into()),
        targets: (!is(0)).then(|| "y".into()),
        lengths: named("n"),
        groups: named("g"),
        vocabulary: is(1).then_some(8),
        one_hot: is(6).then(|| is(7)),
        test_fraction: if is(2) { 0.5 } else { 0.0 },
        split_by: if is(3) {
            SplitBy::Random
        } else {
            SplitBy::Order
        },
        normalise: is(4),
        missing: if is(5) {
            Missing::Mean
        } else {
            Missing::Forward
        },
        ..Npy::new(Path::new("data.npz"), "x")
    };
    let Ok(splits) = recipe.split(&mut files, OwnFiles::NONE, 1, None) else {
        return false;
    };
    for data in [&splits.train].into_iter().chain(&splits.test) {
        data.check().expect("data that are read are valid");
    }
    true
}

/// Two profiles as JSON, separated by a zero byte; one alone is compared with itself.
pub fn profile(input: &[u8]) -> bool {
    let parts: Vec<Profile> = input
        .splitn(2, |&byte| byte == 0)
        .filter_map(|text| serde_json::from_slice(text).ok())
        .collect();
    let (Some(before), Some(after)) = (parts.first(), parts.last()) else {
        return false;
    };
    serde_json::to_string(&before.compare(after)).is_ok()
}

/// The metrics of a run, as a page and as a plot.
pub fn metrics(input: &[u8]) -> bool {
    let Ok(recipe) = Recipe::load("mnist") else {
        return false;
    };
    let text = String::from_utf8_lossy(input);
    let runs = [Run::new("run", recipe, vec![], &text)];
    let page = report::comparison(&runs, &[]);
    assert!(!page.contains("NaN"), "{page}");
    report::svg(&runs).is_ok()
}

/// A data set whose sizes may disagree. If they agree, a network is trained with it and predicts
/// sequences with lengths.
pub fn dataset(input: &[u8]) -> bool {
    let mut input = Bytes(input);
    let data = any_dataset(&mut input);
    // Wide networks take long.
    if data.check().is_err() || data.input_size() > 8 || data.targets.outputs() > 256 {
        return false;
    }
    let _ = data.slice(input.size()..input.size());
    let Some(model) = trained(&data, &mut input) else {
        return false;
    };
    predicts(&model, data.steps, &mut input)
}

fn any_dataset(input: &mut Bytes) -> Dataset {
    let [count, steps, features, width] = [(); 4].map(|()| input.size());
    let per_step = input.byte().is_multiple_of(2);
    let [kind, target] = [(); 2].map(|()| input.byte() % 3);
    let outputs = count.saturating_mul(if per_step { steps } else { 1 });
    // The number of values that is needed, or a few more or less.
    let mut length = |needed: usize| match input.byte() {
        off @ 248.. => needed
            .min(4096)
            .saturating_add_signed(isize::from(off.cast_signed()) + 4),
        _ => needed.min(4096),
    };
    let values = length(count.saturating_mul(steps).saturating_mul(features));
    let targets = length(outputs);
    let lengths = length(count);
    let inputs = match kind {
        0 => Inputs::Floats((0..values).map(|_| input.number()).collect()),
        1 => Inputs::Bytes {
            values: (0..values).map(|_| input.byte()).collect(),
            scale: input.number(),
        },
        _ => Inputs::Tokens {
            values: (0..values).map(|_| input.index()).collect(),
            vocabulary: input.size(),
        },
    };
    let targets = match target {
        0 => Targets::Values {
            values: (0..targets.saturating_mul(width).min(4096))
                .map(|_| input.number())
                .collect(),
            width,
            per_step,
        },
        _ => Targets::Classes {
            labels: (0..targets).map(|_| input.index()).collect(),
            classes: width,
            per_step,
        },
    };
    let is_ragged = input.byte().is_multiple_of(2);
    Dataset {
        count,
        steps,
        features,
        inputs,
        targets,
        lengths: is_ragged.then(|| (0..lengths).map(|_| input.index()).collect()),
        weights: None,
    }
}

/// Trains a network on a data set; `None` if the data set is refused.
fn trained(data: &Dataset, input: &mut Bytes) -> Option<Model> {
    let loss = match data.targets {
        Targets::Values { .. } => Loss::MeanSquaredError,
        Targets::Classes { .. } => Loss::CrossEntropy,
        _ => return None,
    };
    let reads = if data.targets.per_step() {
        Reads::Every
    } else {
        Reads::Last
    };
    let cell = Cell::ALL[usize::from(input.byte()) % Cell::ALL.len()];
    let mut layer = Layer::new(cell, 3);
    layer.bidirectional = input.byte().is_multiple_of(2);
    if cell == Cell::Gru {
        layer.bias = Bias::Double;
    }
    let head = HeadRecipe::new(reads, loss);
    let mut recipe = Recipe::new("fuzz", vec![layer], head, Optimizer::sgd(0.1));
    recipe.batch_size = 2;
    recipe.steps = Some(2);
    if matches!(data.inputs, Inputs::Tokens { .. }) {
        recipe.network.input = Input::OneHot;
    }
    let mut trainer = Trainer::new(&recipe, &data.clone().into(), &Device::Cpu).ok()?;
    let _ = trainer.run(&mut |_, _| Ok(std::ops::ControlFlow::Continue(())));
    let model = trainer.model().expect("the CPU can be read");
    let _ = train::evaluate(&model, data, 2, &Device::Cpu);
    Some(model)
}

/// Predicts sequences of any sizes, with lengths and states; returns whether any were valid.
fn predicts(model: &Model, steps: usize, input: &mut Bytes) -> bool {
    let [n, t, i] = [(); 3].map(|()| input.size().min(8));
    let values: Vec<f32> = (0..n * t * i).map(|_| input.number()).collect();
    let tokens: Vec<u32> = (0..n * t).map(|_| input.index()).collect();
    let lengths: Vec<usize> = (0..input.size().min(8)).map(|_| input.size()).collect();
    let Ok(mut predictor) = Predictor::new(model, steps, 2, &Device::Cpu) else {
        return false;
    };
    let values = ArrayView3::from_shape((n, t, i), &values).expect("the sizes agree");
    let tokens = ArrayView2::from_shape((n, t), &tokens).expect("the sizes agree");
    let mut is_valid = false;
    for sequences in [Sequences::Values(values), Sequences::Tokens(tokens)] {
        let Ok(first) = predictor.predict(sequences, None, None) else {
            continue;
        };
        first.classes();
        first.probabilities();
        let mut states = first.states;
        is_valid |= predictor
            .predict(sequences, Some(&lengths), Some(&states))
            .is_ok();
        states[0].h = Array2::zeros((n, input.size().min(8)));
        let _ = predictor.predict(sequences, None, Some(&states));
    }
    is_valid
}

fn is_small(network: &Network) -> bool {
    network.layers.len() <= 4 && network.table().1 <= SMALL
}

/// Takes bytes from the front; zeros once there are none left.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// Mostly small, sometimes any number.
    fn size(&mut self) -> usize {
        match self.byte() {
            255 => {
                let mut bytes = [0; 8];
                let taken = self.take(8);
                bytes[..taken.len()].copy_from_slice(taken);
                u64::from_le_bytes(bytes) as usize
            }
            byte => usize::from(byte % 6),
        }
    }

    /// A label, a token or a length.
    fn index(&mut self) -> u32 {
        match self.byte() {
            255 => IGNORE,
            254 => IGNORE - 1,
            byte => u32::from(byte % 6),
        }
    }

    /// Mostly near 0, sometimes extreme or not finite.
    fn number(&mut self) -> f32 {
        match self.byte() {
            255 => f32::NAN,
            254 => f32::INFINITY,
            253 => f32::MAX,
            252 => -f32::MAX,
            251 => f32::MIN_POSITIVE / 2.0,
            byte => (f32::from(byte) - 125.0) / 32.0,
        }
    }
}
