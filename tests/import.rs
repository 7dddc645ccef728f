//! Weights and arrays that come from other programs: what does not determine a network is refused
//! or said, values that are not finite are refused, and labels of any kind become classes.

mod common;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use common::place::{Run, Workspace, assert_has};
use gatescan::formats::{ImportHints, Imported, keras, onnx, pytorch};
use gatescan::infer::predict::Sequences;
use gatescan::{Device, Model};
use ndarray::{Array, Array1, Array2, Array3};
use ndarray_npy::{WriteNpyExt, read_npy, write_npy};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A tensor of a `state_dict`.
struct Tensor {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// A tensor whose values have no pattern and depend on its name.
fn tensor(name: &str, shape: &[usize]) -> Tensor {
    let start: u32 = name.bytes().map(u32::from).sum();
    let count = shape.iter().product::<usize>();
    let value = |n: usize| (start as f32 + 1.7 * n as f32).sin() / 2.0;
    Tensor {
        name: name.into(),
        shape: shape.to_vec(),
        values: (0..count).map(value).collect(),
    }
}

/// The bytes of a `state_dict`, with entries of its metadata.
fn safetensors(tensors: &[Tensor], metadata: &[(&str, &str)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|tensor| tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|(tensor, bytes)| {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes);
        (tensor.name.clone(), view.expect("it is one"))
    });
    let metadata = metadata
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()));
    safetensors::serialize(views, Some(metadata.collect())).expect("it can be written")
}

/// The tensors of an `nn.LSTM` of one layer and direction.
fn lstm(name: &str, inputs: usize, hidden: usize) -> Vec<Tensor> {
    layer(name, "l0", 4, inputs, hidden)
}

/// The tensors of a layer with this many gates.
fn layer(name: &str, suffix: &str, gates: usize, inputs: usize, hidden: usize) -> Vec<Tensor> {
    let prefix = if name.is_empty() {
        String::new()
    } else {
        format!("{name}.")
    };
    let rows = gates * hidden;
    vec![
        tensor(&format!("{prefix}weight_ih_{suffix}"), &[rows, inputs]),
        tensor(&format!("{prefix}weight_hh_{suffix}"), &[rows, hidden]),
        tensor(&format!("{prefix}bias_ih_{suffix}"), &[rows]),
        tensor(&format!("{prefix}bias_hh_{suffix}"), &[rows]),
    ]
}

fn linear(name: &str, outputs: usize, inputs: usize) -> Vec<Tensor> {
    vec![
        tensor(&format!("{name}.weight"), &[outputs, inputs]),
        tensor(&format!("{name}.bias"), &[outputs]),
    ]
}

fn import(tensors: Vec<Vec<Tensor>>, order: &[&str]) -> gatescan::Result<Imported> {
    let tensors: Vec<Tensor> = tensors.into_iter().flatten().collect();
    let hints = ImportHints {
        order: order.iter().map(|name| name.to_string()).collect(),
        ..ImportHints::default()
    };
    pytorch::import(&safetensors(&tensors, &[]), "test", &hints)
}

/// The tensors of modules as those of one module `rnn` of several layers.
fn as_layers(modules: Vec<Vec<Tensor>>) -> Vec<Tensor> {
    let renamed = |(level, module): (usize, Vec<Tensor>)| {
        module.into_iter().map(move |tensor| {
            let (_, own) = tensor.name.rsplit_once('.').expect("it has a module");
            Tensor {
                name: format!("rnn.{}", own.replace("l0", &format!("l{level}"))),
                ..tensor
            }
        })
    };
    modules.into_iter().enumerate().flat_map(renamed).collect()
}

fn parameters(model: &Model) -> Vec<(String, Vec<f32>)> {
    let parameters = model.parameters.iter();
    let named = parameters.map(|each| (each.name.clone(), each.values.clone()));
    named.collect()
}

#[test]
fn modules_are_stacked_in_the_order_that_is_given_or_determined() {
    let encoder = || lstm("encoder", 4, 4);
    let decoder = || lstm("decoder", 4, 4);
    let head = || linear("out", 2, 4);
    for (order, below, above) in [
        (["encoder", "decoder"], encoder(), decoder()),
        (["decoder", "encoder"], decoder(), encoder()),
    ] {
        let given = import(vec![encoder(), decoder(), head()], &order).expect("it is given");
        let stacked = import(vec![as_layers(vec![below, above]), head()], &[]).expect("it is one");
        assert_eq!(
            parameters(&given.model),
            parameters(&stacked.model),
            "{order:?}"
        );
        let notes = given.notes.join("\n");
        assert_has(
            &notes,
            &[
                &format!("layer 0: lstm 4, bias Double, from `{}`", order[0]),
                &format!("layer 1: lstm 4, bias Double, from `{}`", order[1]),
                "from `out`",
                &format!("`{}`, `{}`, as `order` says", order[0], order[1]),
            ],
        );
    }
    // Neither names nor sizes determine it, and a wrong one is not taken.
    for (order, expected) in [
        (&[][..], "order is not set"),
        (&["encoder"], "order is encoder"),
        (&["encoder", "decodr"], "did you mean `decoder`?"),
    ] {
        let message = import(vec![encoder(), decoder(), head()], order)
            .expect_err(expected)
            .to_string();
        assert_has(&message, &[expected, "decoder", "encoder"]);
    }
    // Sizes determine it.
    let sized = import(vec![lstm("a", 5, 4), lstm("b", 3, 5), head()], &[]).expect("one fits");
    assert_has(
        &sized.notes.join("\n"),
        &["order, from the input up: `b`, `a`, because their sizes fit no other order"],
    );
    assert_eq!(sized.model.network.layers[0].hidden_size, 5);
    let message = import(vec![lstm("a", 5, 4), lstm("b", 3, 5), head()], &["a", "b"])
        .expect_err("it does not fit")
        .to_string();
    assert_has(&message, &["`b` reads 3 values", "`a` below it emits 4"]);
    // Numbers determine it.
    let numbered = |n: usize| lstm(&format!("layers.{n}"), 4, 4);
    let modules = (0..12).map(numbered).chain([head()]).collect();
    let many = import(modules, &[]).expect("they are numbered");
    let stacked = as_layers((0..12).map(numbered).collect());
    let one = import(vec![stacked, head()], &[]).expect("it is one");
    assert_eq!(parameters(&many.model), parameters(&one.model));
    assert_has(
        &many.notes.join("\n"),
        &["`layers.10`, `layers.11`, in the order of their numbers"],
    );
    // Modules side by side fit no order.
    for head in [linear("out", 2, 8), linear("out", 2, 4)] {
        let message = import(vec![lstm("a", 3, 4), lstm("b", 3, 4), head], &[])
            .expect_err("they are side by side")
            .to_string();
        assert_has(&message, &["side by side", "`a` reads 3 and emits 4"]);
    }
}

#[test]
fn tensors_that_belong_to_nothing_known_are_refused_by_name() {
    let network = || vec![lstm("rnn", 3, 4), linear("fc", 2, 4)];
    let with = |more: Vec<Tensor>| [network(), vec![more]].concat_tensors();
    for (more, expected) in [
        (linear("fc2", 2, 4), "`fc` and `fc2` are linear layers"),
        (linear("project", 3, 7), "`project` [3, 7] reads 7 values"),
        (
            vec![tensor("pre.weight", &[3, 3])],
            "`pre` [3, 3] may be an embedding",
        ),
        (
            vec![tensor("norm.weight", &[4])],
            "tensor norm.weight belongs to a normalisation",
        ),
        (vec![tensor("bn.running_mean", &[4])], "nn.BatchNorm"),
        (vec![tensor("conv.weight", &[3, 3, 5])], "a convolution"),
        (
            vec![tensor("a.in_proj_weight", &[12, 4])],
            "nn.MultiheadAttention",
        ),
        (vec![tensor("cell.weight_ih", &[16, 3])], "nn.LSTMCell"),
        (vec![tensor("positions", &[9, 3])], "positional weights"),
        (
            vec![tensor("fc3.bias", &[2])],
            "`fc3` has a bias and no weight",
        ),
        (
            layer("rnn", "l2", 4, 4, 4),
            "`rnn` has no tensor weight_ih_l1",
        ),
        (
            vec![tensor("rnn.weight_hh_l0_mask", &[16, 4])],
            "prune.remove",
        ),
    ] {
        let message = import(with(more), &[]).expect_err(expected).to_string();
        assert_has(&message, &[expected]);
    }
    let message = import(vec![lstm("rnn", 3, 4)], &[])
        .expect_err("no head")
        .to_string();
    assert_has(&message, &["there is no linear head"]);
    let message = import(vec![linear("fc", 2, 4)], &[])
        .expect_err("no layer")
        .to_string();
    assert_has(&message, &["there is no tensor weight_ih_l0"]);
    import(network(), &[]).expect("the network itself is valid");
}

/// Concatenates lists of modules.
trait ConcatTensors {
    fn concat_tensors(self) -> Vec<Vec<Tensor>>;
}

impl<const N: usize> ConcatTensors for [Vec<Vec<Tensor>>; N] {
    fn concat_tensors(self) -> Vec<Vec<Tensor>> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn embeddings_and_tied_heads_are_found() {
    let rnn = || lstm("rnn", 5, 5);
    let table = || vec![tensor("embed.weight", &[9, 5])];
    let embedded = import(vec![rnn(), table(), linear("fc", 2, 5)], &[]).expect("it is valid");
    assert_eq!(embedded.model.network.input_size, 9);
    assert_has(
        &embedded.notes.join("\n"),
        &["input: tokens below 9, from `embed`, an embedding of 5 values"],
    );
    // safetensors.torch.save_model writes tied weights once.
    let bias = || vec![tensor("fc.bias", &[9])];
    let tied = import(vec![rnn(), table(), bias()], &[]).expect("it is valid");
    assert!(tied.model.network.is_tied());
    let mut weight = table();
    weight[0].name = "fc.weight".into();
    let tensors: Vec<Tensor> = [rnn(), weight, bias()].into_iter().flatten().collect();
    let file = safetensors(&tensors, &[("embed.weight", "fc.weight"), ("format", "pt")]);
    let aliased = pytorch::import(&file, "test", &ImportHints::default()).expect("it is valid");
    assert!(aliased.model.network.is_tied());
    assert_eq!(parameters(&aliased.model), parameters(&tied.model));
    // An unknown name that may be either.
    let table = vec![tensor("table.weight", &[9, 5])];
    let message = import(vec![rnn(), table, linear("fc", 2, 5)], &[]);
    assert_has(
        &message.expect_err("it is open").to_string(),
        &["`fc` and `table` are linear layers"],
    );
}

#[test]
fn notes_say_what_a_state_dict_does_not() {
    let both = |gates| {
        let mut tensors = layer("rnn", "l0", gates, 3, 4);
        tensors.extend(layer("rnn", "l0_reverse", gates, 3, 4));
        vec![tensors, linear("fc", 1, 8)]
    };
    let notes = import(both(4), &[]).expect("it is valid").notes.join("\n");
    assert_has(
        &notes,
        &[
            "the head reads the last state of both directions (h_n), not out[:, -1]",
            "layer 0: lstm 4, bidirectional, bias Double, from `rnn`",
            "the initial states are zeros",
            "no activation",
        ],
    );
    let notes = import(both(1), &[]).expect("it is valid").notes.join("\n");
    assert_has(&notes, &["nn.RNN has tanh"]);
    let notes = import(vec![lstm("rnn", 3, 4), linear("fc", 3, 4)], &[]);
    let notes = notes.expect("it is valid").notes.join("\n");
    assert_has(&notes, &["h_n, or out[:, -1]", "logits of classes"]);
    assert!(!notes.contains("both directions"), "{notes}");
}

#[test]
fn weights_that_are_not_finite_are_refused_with_their_index() {
    let mut tensors: Vec<Tensor> = lstm("rnn", 3, 4)
        .into_iter()
        .chain(linear("fc", 2, 4))
        .collect();
    let file = safetensors(&tensors, &[]);
    let hints = ImportHints::default();
    let model = pytorch::import(&file, "test", &hints)
        .expect("it is valid")
        .model;
    tensors[1].values[3 * 4 + 1] = f32::INFINITY;
    let message = pytorch::import(&safetensors(&tensors, &[]), "test", &hints);
    let message = message.expect_err("it is not finite").to_string();
    assert_has(&message, &["rnn.weight_hh_l0 is inf at [3, 1]"]);
    let mut broken = model.clone();
    let bias = broken
        .parameters
        .iter_mut()
        .find(|each| each.name == "head.bias");
    bias.expect("there is one").values[1] = f32::NAN;
    let exported = [
        onnx::export(&broken, false).map(|_| ()),
        pytorch::export(&broken, "w").map(|_| ()),
        keras::export(&broken, "w").map(|_| ()),
    ];
    for refused in exported {
        let message = refused.expect_err("it is not finite").to_string();
        assert_has(&message, &["head.bias is NaN at [1]"]);
    }
    // A file that another program changed.
    let place = Workspace::new();
    model
        .save(&place.path("model.safetensors"))
        .expect("it can be written");
    let mut bytes = fs::read(place.path("model.safetensors")).expect("it is there");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(place.path("model.safetensors"), bytes).expect("it can be written");
    write_npy(place.path("x.npy"), &Array3::<f32>::zeros((2, 5, 3))).expect("it can be written");
    for arguments in [
        &["predict", "model.safetensors", "x.npy", "--device", "cpu"][..],
        &["export", "model.safetensors", "--to", "onnx"],
    ] {
        let message = place.run(arguments).fails(1);
        assert_has(
            &message,
            &["model.safetensors: ", "is NaN at [", "must be finite"],
        );
    }
}

#[test]
fn arrays_of_keras_that_are_not_finite_are_refused_with_their_index() {
    let place = Workspace::new();
    let matrix = |rows, columns| array_bytes(&Array2::<f32>::ones((rows, columns)));
    for (name, bias, code) in [("good", 0.0, Some(0)), ("broken", f32::NAN, Some(1))] {
        let file = format!("{name}.npz");
        let members = [
            ("lstm/cell/kernel", matrix(3, 16)),
            ("lstm/cell/recurrent_kernel", matrix(4, 16)),
            ("lstm/cell/bias", array_bytes(&Array1::<f32>::zeros(16))),
            ("dense/kernel", matrix(4, 2)),
            ("dense/bias", array_bytes(&Array1::from(vec![0.0, bias]))),
        ];
        write_npz(&place, &file, &members);
        let run = place.run(&["import", &file, "-o", name]);
        assert_eq!(run.code, code, "{}", run.stderr);
        if bias.is_nan() {
            assert_has(&run.stderr, &["broken.npz: dense/bias is NaN at [1]"]);
        }
    }
}

/// Writes a `state_dict`.
fn write(place: &Workspace, name: &str, tensors: Vec<Vec<Tensor>>) {
    let tensors: Vec<Tensor> = tensors.into_iter().flatten().collect();
    fs::write(place.path(name), safetensors(&tensors, &[])).expect("it can be written");
}

#[test]
fn the_command_offers_the_order() {
    let place = Workspace::new();
    let modules = vec![
        lstm("encoder", 4, 4),
        lstm("decoder", 4, 4),
        linear("out", 1, 4),
    ];
    write(&place, "m.safetensors", modules);
    let message = place.run(&["import", "m.safetensors", "-o", "m"]).fails(2);
    assert_has(
        &message,
        &[
            "m.safetensors: --order is not set",
            "`decoder,encoder` or `encoder,decoder`",
        ],
    );
    assert!(!place.path("m").exists());
    let order = ["import", "m.safetensors", "-o", "m", "--order"];
    let message = place.run(&[&order[..], &["encoder,x"]].concat()).fails(2);
    assert_has(&message, &["--order is encoder,x", "`decoder`, `encoder`"]);
    let run = place.run(&[&order[..], &["encoder,decoder"]].concat());
    assert_has(
        &run.stderr,
        &[
            "layer 0: lstm 4, bias Double, from `encoder`",
            "assumed:",
            "wrote m/model.safetensors",
        ],
    );
    assert_eq!(run.ok(), "");
    let message = place
        .run(&["import", "m.npz", "-o", "n", "--order", "a"])
        .fails(2);
    assert_has(&message, &["--order is for the modules of a .safetensors"]);
}

/// A state that grows a thousandfold with each step.
fn exploding(reads: &str, place: &Workspace) {
    let mut tensors = layer("rnn", "l0", 1, 3, 2);
    tensors.extend(linear("fc", 2, 2));
    for tensor in &mut tensors {
        let is_weight = tensor.name.contains("weight");
        tensor.values.fill(if is_weight { 1000.0 } else { 0.0 });
    }
    write(place, "e.safetensors", vec![tensors]);
    let import = ["import", "e.safetensors", "-o", reads, "--cell", "rnn-relu"];
    place.run(&[&import[..], &["--reads", reads]].concat()).ok();
}

#[test]
fn outputs_that_are_not_finite_are_no_class() {
    let place = Workspace::new();
    let mut inputs = Array3::<f32>::zeros((5, 20, 3));
    inputs.slice_mut(ndarray::s![3, .., ..]).fill(1.0);
    write_npy(place.path("x.npy"), &inputs).expect("it can be written");
    for reads in ["last", "every"] {
        exploding(reads, &place);
        let predict = [
            "predict",
            reads,
            "x.npy",
            "--device",
            "cpu",
            "--batch-size",
            "2",
        ];
        for more in [&[][..], &["--json"], &["-o", "p.npy"]] {
            let message = place.run(&[&predict[..], more].concat()).fails(1);
            assert_has(&message, &["the outputs of sequence 3 are not finite"]);
            assert!(!place.path("p.npy").exists());
        }
    }
    // Line by line.
    let mut command = place.command(&["predict", "last", "-", "--device", "cpu"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // The program may end before it has read all lines.
    let _ = stdin.write_all("1,1,1\n".repeat(20).as_bytes());
    drop(stdin);
    let run = Run::from(child.wait_with_output().expect("it ends"));
    assert_eq!(run.code, Some(1));
    assert_has(&run.stderr, &["standard input: line ", "are not finite"]);
}

/// The bytes of an array of texts, as NumPy's type `U`.
fn text_array(texts: &[&str]) -> Vec<u8> {
    let longest = texts
        .iter()
        .map(|text| text.chars().count())
        .max()
        .unwrap_or(0);
    let header = format!(
        "{{'descr': '<U{longest}', 'fortran_order': False, 'shape': ({},), }}",
        texts.len()
    );
    let header = format!("{header:<117}\n");
    let padded = |text: &&str| {
        let codes = text.chars().map(u32::from).chain(std::iter::repeat(0));
        codes.take(longest).collect::<Vec<u32>>()
    };
    let elements: Vec<u8> = texts
        .iter()
        .flat_map(padded)
        .flat_map(u32::to_le_bytes)
        .collect();
    let length = (header.len() as u16).to_le_bytes();
    [
        b"\x93NUMPY\x01\x00",
        &length[..],
        header.as_bytes(),
        &elements,
    ]
    .concat()
}

fn array_bytes(array: &impl WriteNpyExt) -> Vec<u8> {
    let mut bytes = vec![];
    array.write_npy(&mut bytes).expect("it can be written");
    bytes
}

/// Writes an .npz file.
fn write_npz(place: &Workspace, name: &str, members: &[(&str, Vec<u8>)]) {
    let file = fs::File::create(place.path(name)).expect("it can be made");
    let mut writer = zip::ZipWriter::new(file);
    for (member, bytes) in members {
        let options = zip::write::SimpleFileOptions::default();
        writer
            .start_file(format!("{member}.npy"), options)
            .expect("it can be written");
        writer.write_all(bytes).expect("it can be written");
    }
    writer.finish().expect("it can be written");
}

/// Sequences that rise, stay or fall, and the kind of each: 0, 1 or 2.
fn slopes(count: usize, steps: usize) -> (Array3<f64>, Vec<usize>) {
    let kinds: Vec<usize> = (0..count).map(|n| n * 7 % 3).collect();
    let inputs = Array::from_shape_fn((count, steps, 1), |(n, t, _)| {
        let slope = kinds[n] as f64 - 1.0;
        1.7e9 + slope * t as f64 + (n % 5) as f64 * 0.1
    });
    (inputs, kinds)
}

/// Trains a recipe of an array and returns the predicted classes.
fn trained_classes(place: &Workspace, data: &str, run: &str) -> Vec<String> {
    let recipe = format!("{run}.toml");
    place.run(&["init", data, "-o", &recipe]).ok();
    let train = [
        "train", &recipe, "--device", "cpu", "--epochs", "25", "--out", run, "--quiet",
    ];
    place.run(&train).ok();
    let answers = place.run(&["predict", run, data, "--device", "cpu"]).ok();
    let class = |line: &str| {
        line.split(',')
            .nth(1)
            .expect("there is a class")
            .to_string()
    };
    answers.lines().skip(1).map(class).collect()
}

#[test]
fn labels_of_any_kind_become_classes_by_their_names() {
    let place = Workspace::new();
    let (inputs, kinds) = slopes(90, 8);
    let texts: Vec<&str> = kinds
        .iter()
        .map(|&kind| ["fall", "flat", "rise, up"][kind])
        .collect();
    let from_one = Array1::from_iter(kinds.iter().map(|&kind| kind as i64 + 1));
    let wholes = Array1::from_iter(kinds.iter().map(|&kind| [-1.0, 10.0, 2.0][kind]));
    let hot = Array2::from_shape_fn((90, 3), |(n, k)| f32::from(u8::from(kinds[n] == k)));
    for (name, labels, said, names) in [
        (
            "text",
            text_array(&texts),
            "fall, flat, rise",
            ["fall", "flat", "\"rise"],
        ),
        (
            "one",
            array_bytes(&from_one),
            "3 classes: 1, 2, 3",
            ["1", "2", "3"],
        ),
        (
            "float",
            array_bytes(&wholes),
            "3 classes: -1, 2, 10",
            ["-1", "10", "2"],
        ),
        ("hot", array_bytes(&hot), "one-hot", ["0", "1", "2"]),
    ] {
        let data = format!("{name}.npz");
        write_npz(&place, &data, &[("x", array_bytes(&inputs)), ("y", labels)]);
        let said_by_init = place.run(&["init", &data, "-o", "said.toml"]).ok();
        fs::remove_file(place.path("said.toml")).expect("it was written");
        assert_has(&said_by_init, &[said]);
        let classes = trained_classes(&place, &data, name);
        let right = kinds
            .iter()
            .zip(&classes)
            .filter(|(kind, class)| names[**kind] == **class);
        let right = right.count();
        assert!(right > 80, "{name}: {right} of 90 are right");
    }
}

#[test]
fn splits_may_have_different_lengths() {
    let place = Workspace::new();
    let (x_train, train_kinds) = slopes(60, 6);
    let (x_test, test_kinds) = slopes(12, 11);
    let labels = |kinds: Vec<usize>| Array1::from_iter(kinds.into_iter().map(|kind| kind as u8));
    let members = [
        ("x_train", array_bytes(&x_train)),
        ("y_train", array_bytes(&labels(train_kinds))),
        ("x_test", array_bytes(&x_test)),
        ("y_test", array_bytes(&labels(test_kinds))),
    ];
    write_npz(&place, "ragged.npz", &members);
    place.run(&["init", "ragged.npz"]).ok();
    let train = [
        "train",
        "ragged.toml",
        "--device",
        "cpu",
        "--epochs",
        "2",
        "--out",
        "run",
    ];
    place.run(&train).ok();
    place.run(&["eval", "run", "--device", "cpu"]).ok();
}

/// `Model::predict` takes and gives what `gatescan predict` does.
#[test]
fn the_library_predicts_in_the_units_of_the_data() {
    let place = Workspace::new();
    let (inputs, _) = slopes(60, 8);
    let last = Array1::from_shape_fn(60, |n| 2.0 * inputs[[n, 7, 0]]);
    fs::create_dir(place.path("arrays")).expect("it can be made");
    write_npy(place.path("arrays/x.npy"), &inputs).expect("it can be written");
    write_npy(place.path("arrays/targets.npy"), &last).expect("it can be written");
    place.run(&["init", "arrays", "-o", "r.toml"]).ok();
    let train = [
        "train", "r.toml", "--device", "cpu", "--epochs", "2", "--out", "run",
    ];
    place.run(&train).ok();
    place
        .run(&["predict", "run", "arrays", "--device", "cpu", "-o", "p.npy"])
        .ok();
    let printed: Array2<f64> = read_npy(place.path("p.npy")).expect("it is there");
    let model = Model::load(&place.path("run/model.safetensors")).expect("it is there");
    let predicted = model
        .predict(Sequences::Doubles(inputs.view()), &Device::Cpu)
        .expect("it predicts");
    for (value, printed) in predicted.values().iter().zip(&printed) {
        assert!((value - printed).abs() <= 256.0, "{value} {printed}");
        assert!((value - 3.4e9).abs() < 1e3, "{value}");
    }
}
