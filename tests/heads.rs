//! Several heads of one network from the command line and the library: training, evaluation,
//! predictions, exports, resuming, and what is refused.

mod common;
#[path = "heads/kinds.rs"]
mod kinds;

use std::fmt::Write;
use std::fs;

use common::place::{Workspace, assert_has};
use gatescan::network::Init;
use gatescan::recipe::NamedHeadRecipe;
use gatescan::train::{self, evaluate, evaluate_on};
use gatescan::{
    Cell, Dataset, Device, HeadRecipe, Layer, Loss, Model, OpenDevice, Optimizer, Reads, Recipe,
    Splits, Targets, Trainer,
};
use ndarray::{Array1, Array2, Array3};
use serde_json::Value;

/// A recipe for a table of two signals, with a head for a value, one for a class and one for two
/// labels.
const RECIPE: &str = r#"
name = "plant"
seed = 3
epochs = 4
batch_size = 16

[data]
kind = "csv"
path = "plant.csv"
inputs = ["a", "b"]
steps = 6
validation_fraction = 0.2

[[network.layer]]
cell = "gru"
hidden_size = 8
bias = "double"

[[network.heads]]
name = "load"
targets = ["load"]
loss = { quantile = { levels = [0.1, 0.5, 0.9] } }
weight = 0.5

[[network.heads]]
name = "state"
targets = ["state"]
loss = "cross-entropy"

[[network.heads]]
name = "alarms"
targets = ["hot", "loud"]
loss = "binary-cross-entropy"
weight = 2.0

[optimizer]
kind = "adam"
lr = 0.02
"#;

/// Rows whose targets follow from the inputs; the load of every seventh row and the state of every
/// ninth are missing.
fn table(rows: usize) -> String {
    let mut text = String::from("a,b,load,state,hot,loud\n");
    for row in 0..rows {
        let (a, b) = ((row as f64 * 0.7).sin(), (row as f64 * 1.3).cos());
        let load = if row % 7 == 3 {
            String::new()
        } else {
            format!("{:.4}", 200.0 + 30.0 * a - 10.0 * b)
        };
        let state = match row % 9 {
            4 => "",
            _ if a > 0.4 => "high",
            _ if a < -0.4 => "low",
            _ => "middle",
        };
        let labels = [u8::from(a > 0.0), u8::from(b > 0.3)];
        let [hot, loud] = labels;
        writeln!(text, "{a:.5},{b:.5},{load},{state},{hot},{loud}").unwrap();
    }
    text
}

fn place() -> Workspace {
    let place = Workspace::new();
    fs::write(place.path("plant.csv"), table(400)).unwrap();
    fs::write(place.path("plant.toml"), RECIPE).unwrap();
    place
}

fn train_plant(place: &Workspace, more: &[&str]) -> String {
    let train = ["train", "plant.toml", "--device", "cpu", "--out", "run"];
    place.run(&[&train[..], more].concat()).ok()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn metrics(place: &Workspace) -> Vec<Value> {
    let text = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    text.lines().map(json).collect()
}

#[test]
fn a_table_trains_heads_whose_losses_add_up() {
    let place = place();
    let printed = train_plant(&place, &[]);
    assert_has(&printed, &["(load loss", "state loss", "alarms loss"]);
    // Each head is compared with its own baselines.
    assert_has(
        &printed,
        &[
            "head load",
            "head state\nthe most frequent class alone has accuracy",
        ],
    );
    let lines = metrics(&place);
    let (weights, last) = ([0.5, 1.0, 2.0], &lines[3]);
    for split in ["train", "validation"] {
        let key = format!("{split}_loss");
        let heads = last["heads"].as_array().unwrap();
        let losses = heads.iter().map(|head| head[&key].as_f64().unwrap());
        let sum: f64 = losses
            .zip(weights)
            .map(|(loss, weight)| loss * weight)
            .sum();
        let total = last[&key].as_f64().unwrap();
        assert!((sum - total).abs() < 1e-6 * total, "{last}");
    }
    let heads = &last["heads"];
    assert_eq!(heads[1]["name"], "state");
    assert!(heads[1]["train_accuracy"].as_f64().unwrap() > 0.6, "{last}");
    assert!(heads[0]["train_accuracy"].is_null());
    // The test split is scored once, at the end, with the same sum.
    let tested = lines.last().unwrap();
    assert_eq!(tested["split"], "test");
    let evaluation = json(
        &place
            .run(&["eval", "run", "--device", "cpu", "--json"])
            .ok(),
    );
    let mut sum = 0.0;
    for (n, (name, weight)) in ["load", "state", "alarms"]
        .into_iter()
        .zip(weights)
        .enumerate()
    {
        let head = &evaluation["heads"][name];
        let loss = head["test_loss"].as_f64().unwrap();
        sum += weight * loss;
        let recorded = tested["heads"][n]["test_loss"].as_f64().unwrap();
        assert!((loss - recorded).abs() < 1e-4 * recorded, "{head} {tested}");
    }
    assert!((sum - evaluation["test_loss"].as_f64().unwrap()).abs() < 1e-9);
    let state = &evaluation["heads"]["state"];
    assert!(state["metrics"]["f1"]["macro"].is_number(), "{state}");
    let load = &evaluation["heads"]["load"];
    assert!(
        load["metrics"]["targets"][0]["all"]["mae"].is_number(),
        "{load}"
    );
    assert!(load["test_coverage"].is_array(), "{load}");
    let printed = place
        .run(&["eval", "run", "--device", "cpu", "--confusion"])
        .ok();
    assert_has(
        &printed,
        &[
            "the weighted sum of the heads",
            "head load, weight 0.5",
            "head alarms",
        ],
    );
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert_has(
        &page,
        &[
            "Head load",
            "Head state",
            "Head alarms",
            "test loss, head load",
            "loss of the head load",
            "accuracy of the head state",
            "head state: the most frequent class alone",
        ],
    );
}

#[test]
fn a_head_has_class_weights_smoothing_and_weights_of_sequences() {
    let place = place();
    // The row's number is its weight.
    let rows = table(400);
    let mut lines = rows.lines();
    let mut weighed = format!("{},weight\n", lines.next().unwrap());
    for (row, line) in lines.enumerate() {
        writeln!(weighed, "{line},{row}").unwrap();
    }
    fs::write(place.path("plant.csv"), weighed).unwrap();
    let losses = |changes: &[&str]| {
        let _ = fs::remove_dir_all(place.path("run"));
        let mut more = vec!["--quiet"];
        changes
            .iter()
            .for_each(|change| more.extend(["--set", change]));
        train_plant(&place, &more);
        let first = metrics(&place).remove(0);
        let loss = |head: usize| first["heads"][head]["train_loss"].as_f64().unwrap();
        [0, 1, 2].map(loss)
    };
    // The first weights, so that only the losses differ.
    let still = ["epochs=1", "optimizer.lr=1e-12"];
    let losses_of = |change: &str| losses(&[&still[..], &[change]].concat());
    let plain = losses(&still);
    for change in [
        "network.heads.1.label_smoothing=0.3",
        "network.heads.1.class_weights=balanced",
        "network.heads.1.class_weights={ high = 7.0 }",
    ] {
        let own = losses_of(change);
        assert!(
            (own[1] - plain[1]).abs() > 1e-4,
            "{change}: {own:?} {plain:?}"
        );
        assert_eq!([own[0], own[2]], [plain[0], plain[2]], "{change}");
    }
    let own = losses_of("data.weights=weight");
    for head in 0..3 {
        assert!((own[head] - plain[head]).abs() > 1e-4, "{own:?} {plain:?}");
    }
    // A head that one class alone counts for learns to predict it everywhere.
    losses(&[
        "epochs=8",
        "network.heads.1.class_weights={ low = 0.0, middle = 0.0 }",
    ]);
    let text = place
        .run(&["predict", "run", "plant.csv", "--device", "cpu"])
        .ok();
    let mut lines = text.lines();
    let headings: Vec<&str> = lines.next().unwrap().split(',').collect();
    let class = headings.iter().position(|&name| name == "state.class");
    let class = class.unwrap();
    let classes: Vec<&str> = lines
        .map(|line| line.split(',').nth(class).unwrap())
        .collect();
    let high = classes.iter().filter(|&&name| name == "high").count();
    assert!(4 * high > 3 * classes.len(), "{high} of {}", classes.len());
}

#[test]
fn predictions_and_exports_have_every_head() {
    let place = place();
    train_plant(&place, &["--quiet"]);
    let text = place
        .run(&["predict", "run", "plant.csv", "--device", "cpu"])
        .ok();
    let headings = text.lines().next().unwrap();
    let expected = "row,load.load_q0.1,load.load_q0.5,load.load_q0.9,state.class,state.p_high,\
                    state.p_low,state.p_middle,alarms.p_hot,alarms.p_loud";
    assert_eq!(headings, expected);
    let object = ["predict", "run", "plant.csv", "--device", "cpu", "--json"];
    let first = place.run(&object).ok();
    let first = json(first.lines().next().unwrap());
    let row: Vec<&str> = text.lines().nth(1).unwrap().split(',').collect();
    let load = first["heads"]["load"]["values"]["load_q0.5"]
        .as_f64()
        .unwrap();
    assert_eq!(load, row[2].parse::<f64>().unwrap());
    assert!((150.0..250.0).contains(&load), "{load}");
    assert_eq!(first["heads"]["state"]["class"], row[4]);
    // One head alone has the same values and the plain columns.
    let alone = [
        "predict",
        "run",
        "plant.csv",
        "--device",
        "cpu",
        "--head",
        "state",
    ];
    let alone = place.run(&alone).ok();
    assert!(
        alone.starts_with("row,class,p_high,p_low,p_middle\n"),
        "{alone}"
    );
    assert_eq!(
        alone.lines().nth(1).unwrap().split(',').nth(1),
        Some(row[4])
    );
    let refused = [
        "predict",
        "run",
        "plant.csv",
        "-o",
        "x.npy",
        "--device",
        "cpu",
    ];
    assert_has(
        &place.run(&refused).fails(2),
        &["load, state, alarms", "--head"],
    );
    assert_has(
        &place.run(&alone_of("nothing")).fails(2),
        &["no head `nothing`", "`load`, `state`"],
    );
    for form in ["onnx", "pytorch", "keras"] {
        place.run(&["export", "run", "--to", form]).ok();
    }
    let program = fs::read_to_string(place.path("run/model_pytorch.py")).unwrap();
    assert_has(
        &program,
        &["\"load\": self.heads[0](x)", "\"alarms\": self.heads[2](x)"],
    );
    // The order in which Keras stores the weights: the load is scaled.
    let program = fs::read_to_string(place.path("run/model_keras.py")).unwrap();
    let names = ["head_load", "head_alarms", "head_state"];
    let places = names.map(|name| program.find(name).expect(name));
    assert!(places.is_sorted(), "{program}");
    assert_has(
        &place.run(&["generate", "run", "--device", "cpu"]).fails(2),
        &["several heads (load, state, alarms)", "--head"],
    );
}

fn alone_of(name: &str) -> [&str; 7] {
    [
        "predict",
        "run",
        "plant.csv",
        "--device",
        "cpu",
        "--head",
        name,
    ]
}

#[test]
fn a_run_of_several_heads_is_resumed_bit_for_bit() {
    let whole = place();
    train_plant(&whole, &["--quiet"]);
    let resumed = place();
    train_plant(&resumed, &["--quiet", "--epochs", "2"]);
    let resume = [
        "train", "--resume", "run", "--epochs", "4", "--device", "cpu", "--quiet",
    ];
    resumed.run(&resume).ok();
    let model = |place: &Workspace| Model::load(&place.path("run/model.safetensors")).unwrap();
    let bits = |model: Model| -> Vec<Vec<u32>> {
        let each = model.parameters.iter();
        each.map(|parameter| parameter.values.iter().map(|v| v.to_bits()).collect())
            .collect()
    };
    assert_eq!(bits(model(&whole)), bits(model(&resumed)));
}

#[test]
fn what_is_not_defined_for_several_heads_is_refused_by_name() {
    let place = place();
    let set = |change: &str| {
        let train = [
            "train",
            "plant.toml",
            "--device",
            "cpu",
            "--out",
            "run",
            "--set",
            change,
        ];
        place.run(&train).fails(2)
    };
    for (change, parts) in [
        (
            "network.head.loss=cross-entropy",
            ["network.head.loss is set", "leave out"],
        ),
        (
            "network.head.label_smoothing=0.1",
            ["label_smoothing is set", "[[network.heads]]"],
        ),
        (
            "data.targets=[\"load\"]",
            ["data.targets is set", "leave out"],
        ),
        (
            "network.heads.2.class_weights=balanced",
            ["network.heads.2.class_weights is set", "cross-entropy"],
        ),
        (
            "network.heads.1.label_smoothing=1",
            ["network.heads.1.label_smoothing", "below 1"],
        ),
        (
            "data.residual_on_last=true",
            [
                "head `load`: data.residual_on_last is set",
                "not in data.inputs",
            ],
        ),
        (
            "network.heads.0.weight=0",
            ["network.heads.0.weight", "above 0"],
        ),
        (
            "network.heads.0.name=state",
            ["have the name `state`", "its own"],
        ),
        (
            "network.heads.0.name=a b",
            ["network.heads.0.name", "letters"],
        ),
        (
            "network.heads.0.targets=[]",
            ["network.heads.0.targets", "at least one column"],
        ),
        ("network.heads.0.loss=heads", ["head `load`", "loss"]),
        (
            "network.heads.1.targets=[\"state\",\"hot\"]",
            ["head `state`", "2 columns"],
        ),
        (
            "network.head.reads=every",
            ["head `load`", "reads = \"every\""],
        ),
    ] {
        assert_has(&set(change), &parts);
    }
    let no_loss = "name = \"x\"\nseed = 1\nepochs = 1\nbatch_size = 1\n[data]\nkind = \"csv\"\n\
                   path = \"plant.csv\"\ninputs = [\"a\"]\ntargets = [\"load\"]\n\
                   [[network.layer]]\ncell = \"gru\"\nhidden_size = 2\n[optimizer]\n\
                   kind = \"adam\"\nlr = 0.1\n";
    fs::write(place.path("none.toml"), no_loss).unwrap();
    let refused = place
        .run(&["train", "none.toml", "--device", "cpu"])
        .fails(2);
    assert_has(&refused, &["network.head has no loss", "network.head.loss"]);
}

/// Sequences whose sum and sign are two targets.
fn splits() -> Splits {
    let inputs = Array3::from_shape_fn((60, 5, 2), |(n, t, i)| {
        (1.0 + 3.1 * n as f32 + 1.7 * t as f32 + 0.9 * i as f32).sin()
    });
    let sums: Vec<f32> = inputs.outer_iter().map(|sequence| sequence.sum()).collect();
    let values = Array2::from_shape_fn((60, 1), |(n, _)| sums[n]);
    let labels = Array1::from_shape_fn(60, |n| u32::from(sums[n] > 0.0));
    let targets = Targets::Heads(vec![
        Targets::values(values.view()),
        Targets::classes(labels.view(), 2),
    ]);
    Dataset::new(inputs.view(), targets).unwrap().into()
}

fn recipe() -> Recipe {
    let layers = vec![Layer::new(Cell::Lstm, 12)];
    let head = HeadRecipe {
        reads: Reads::Mean,
        init: Init::Torch,
        ..HeadRecipe::default()
    };
    let mut recipe = Recipe::new("two", layers, head, Optimizer::adam(0.02));
    recipe.epochs = 40;
    recipe.network.heads = vec![
        NamedHeadRecipe::new("sum", &[], Loss::MeanSquaredError),
        NamedHeadRecipe::new("sign", &[], Loss::CrossEntropy),
    ];
    recipe
}

#[test]
fn the_library_trains_and_evaluates_heads_of_arrays() {
    let (recipe, data) = (recipe(), splits());
    let model = train::train(&recipe, &data, &Device::Cpu).unwrap();
    let evaluation = evaluate(&model, &data.train, 16, &Device::Cpu).unwrap();
    let [sum, sign] = &evaluation.heads[..] else {
        panic!("there are two heads")
    };
    assert!(sign.evaluation.accuracy.unwrap() > 0.9, "{sign:?}");
    let total = sum.evaluation.loss + sign.evaluation.loss;
    assert!((evaluation.loss - total).abs() < 1e-12);
    // A head alone predicts as a model of its own.
    let index = model.head_named("sign").unwrap();
    let alone = model.of_head(index);
    assert_eq!(alone.network.head.loss, Loss::CrossEntropy);
    let again = evaluate(&alone, &data.train.of_head(index), 16, &Device::Cpu).unwrap();
    assert_eq!(again.loss, sign.evaluation.loss);
    let restored = Model::from_bytes(&model.to_bytes().unwrap()).unwrap();
    assert_eq!(restored.network, model.network);
    // Both executors train the same up to rounding; the data of one head do not fit.
    let plain = Dataset {
        targets: data.train.targets.each_head()[0].clone(),
        ..Dataset::clone(&data.train)
    };
    let refused = train::train(&recipe, &plain.into(), &Device::Cpu).unwrap_err();
    assert_has(
        &refused.to_string(),
        &["the data have one target", "2 heads"],
    );
}

#[test]
fn a_gpu_trains_the_same_heads() {
    let Some(gpu) = common::gpu() else {
        return;
    };
    let (mut recipe, data) = (recipe(), splits());
    recipe.epochs = 2;
    let cpu = OpenDevice::open(&Device::Cpu).unwrap();
    let losses = [cpu, OpenDevice::Gpu(Box::new(gpu))].map(|device| {
        let mut trainer = Trainer::load(&recipe, &data, &device).unwrap();
        common::train_until(&mut trainer, usize::MAX);
        let model = trainer.model().unwrap();
        evaluate_on(&model, &data.train, 16, &device).unwrap().loss
    });
    assert!(
        (losses[0] - losses[1]).abs() < 1e-4 * losses[0],
        "{losses:?}"
    );
}
