//! Training with operands of matmuls in bf16: `precision = "bf16"`.

mod common;

use gatescan::data::Inputs;
use gatescan::low_level::backend::cpu::Cpu;
use gatescan::low_level::backend::executor::Executor;
use gatescan::low_level::backend::interpreter::{InterpreterDevice, Profile};
use gatescan::low_level::backend::tuning::Tuning;
use gatescan::low_level::program::{Phase, Program};
use gatescan::low_level::record::{Gradients, RecordedNetwork};
use gatescan::low_level::rng::{Philox, Stream};
use gatescan::low_level::tensor::Element;
use gatescan::network::{Bias, Init};
use gatescan::recipe::Precision;
use gatescan::train::evaluate;
use gatescan::verify::{Effort, Report, sweep};
use gatescan::{
    Cell, Dataset, Device, Error, Head, HeadRecipe, Input, Layer, Loss, Network, OpenDevice,
    Optimizer, Reads, Recipe, Splits, Targets, Trainer,
};

/// Whether the processor multiplies in bf16. A test that cannot run says so. On Linux, it fails
/// where the system lists the instructions.
fn can_run(test: &str) -> bool {
    let has = Precision::Bf16.is_supported();
    if !has {
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        assert!(!flags.contains("avx512_bf16"), "{test}: not detected");
        eprintln!("{test}: not run, the processor lacks AVX512-BF16");
    }
    has
}

fn tuning(precision: Precision) -> Tuning {
    Tuning {
        precision,
        ..Tuning::cpu()
    }
}

/// An evaluation and a training step of two layers, with odd sizes and more than one tile of
/// sequences.
fn recorded(cell: Cell, precision: Precision) -> RecordedNetwork {
    let layer = |hidden_size| Layer {
        bias: Bias::largest(cell),
        ..Layer::new(cell, hidden_size)
    };
    let network = Network {
        input_size: 7,
        input: Input::Values,
        layers: vec![layer(19), layer(5)],
        head: Head {
            size: 3,
            reads: Reads::Last,
            loss: Loss::CrossEntropy,
            init: Init::Glorot,
        },
        heads: vec![],
        categories: vec![],
    };
    let gradients = Gradients::OfLoss;
    let mut model = RecordedNetwork::new(&network, 9, 21, gradients, tuning(precision))
        .expect("the network is valid");
    model.forward(Phase::Forward);
    model.loss(Phase::Forward);
    model.backward();
    model
}

/// Fills every buffer of `program`: values in ±0.5, lengths in 0..=9 and labels 0.
fn fill(model: &RecordedNetwork, executor: &mut dyn Executor) {
    let program = &model.program;
    let mut random = Philox::new(3, Stream::Images);
    for (index, buffer) in program.buffers().iter().enumerate() {
        let whole = program.whole(index);
        if buffer.element == Element::Real {
            let values: Vec<f32> = (0..buffer.len).map(|_| random.uniform() - 0.5).collect();
            executor.write(&whole, &values).expect("it fits");
        }
    }
    let lengths: Vec<u32> = (0..21).map(|b| b % 10).collect();
    executor
        .write_index(&model.lengths, &lengths)
        .expect("it fits");
}

/// The bits of all real buffers.
fn bits(program: &Program, executor: &mut dyn Executor) -> Vec<Vec<u32>> {
    let buffers = program.buffers().iter().enumerate();
    let real = buffers.filter(|(_, buffer)| buffer.element == Element::Real);
    let read = |(index, _)| executor.read(&program.whole(index)).expect("it reads");
    real.map(read)
        .map(|values| values.into_iter().map(f32::to_bits).collect())
        .collect()
}

const STEP: [Phase; 2] = [Phase::Forward, Phase::Backward];

#[test]
fn calls_that_are_fused_have_the_bits_of_single_ones() {
    if !can_run("fused calls") {
        return;
    }
    for cell in [Cell::Lstm, Cell::Gru, Cell::GruResetBefore, Cell::MinGru] {
        let model = recorded(cell, Precision::Bf16);
        let load = || {
            let mut cpu = Cpu::<f32>::new(model.program.clone()).expect("it fits");
            fill(&model, &mut cpu);
            cpu
        };
        let (mut fused, mut single) = (load(), load());
        fused.run(&STEP, 1).expect("it runs");
        for phase in STEP {
            for call in 0..model.program.calls(phase).len() {
                single.time_call(phase, call).expect("it runs");
            }
        }
        let [fused, single] = [&mut fused, &mut single].map(|cpu| bits(&model.program, cpu));
        assert_eq!(fused, single, "{}", cell.name());
        // The precision takes effect.
        let plain = recorded(cell, Precision::F32);
        let mut cpu = Cpu::<f32>::new(plain.program.clone()).expect("it fits");
        fill(&plain, &mut cpu);
        cpu.run(&STEP, 1).expect("it runs");
        assert_ne!(bits(&plain.program, &mut cpu), fused, "{}", cell.name());
    }
}

#[test]
fn the_reference_in_f64_does_not_round() {
    let [plain, rounded] = Precision::ALL.map(|precision| {
        let model = recorded(Cell::Lstm, precision);
        let mut cpu = Cpu::<f64>::new(model.program.clone()).expect("it fits");
        fill(&model, &mut cpu);
        cpu.run(&STEP, 1).expect("it runs");
        let gradients = model.gradients.expect("it has gradients");
        cpu.read_exact(&gradients)
    });
    assert_eq!(plain, rounded);
}

/// Checks that an error names the precision and what to use.
fn check_refusal(error: &Error, device: &str) {
    let message = error.to_string();
    assert_eq!(error.exit_code(), 2, "{message}");
    assert!(message.contains("precision is bf16"), "{message}");
    assert!(message.contains(device), "{message}");
    assert!(message.contains("use precision f32"), "{message}");
}

#[test]
fn other_devices_refuse_it_by_name() {
    let model = recorded(Cell::Lstm, Precision::Bf16);
    let refused = |device: &OpenDevice, name: &str| {
        check_refusal(&device.check(&model.program).expect_err("it is bf16"), name);
        check_refusal(
            &device.load(&model.program).err().expect("it is bf16"),
            name,
        );
    };
    let profile = Profile::named("amd").expect("it is one");
    let interpreter = InterpreterDevice::new(profile);
    let interpreter = OpenDevice::Interpreter(Box::new(interpreter));
    refused(&interpreter, "the interpreter");
    let error = interpreter.with_precision(Precision::Bf16).err();
    check_refusal(&error.expect("it is bf16"), "the interpreter");
    if !Precision::Bf16.is_supported() {
        let cpu = OpenDevice::open(&Device::Cpu).expect("it opens");
        refused(&cpu, "AVX512-BF16");
        let error = Trainer::new(&recipe(Precision::Bf16), &data(), &Device::Cpu).err();
        check_refusal(&error.expect("it is bf16"), "AVX512-BF16");
    }
    let Some(gpu) = common::gpu() else { return };
    let (name, index) = (gpu.summary.name.clone(), gpu.summary.index);
    refused(&OpenDevice::Gpu(Box::new(gpu)), &name);
    let error = Trainer::new(&recipe(Precision::Bf16), &data(), &Device::Gpu(index)).err();
    check_refusal(&error.expect("it is bf16"), &name);
}

/// Sequences that rise or fall, with noise.
fn slopes(count: usize, seed: u64) -> Dataset {
    let (steps, features) = (10, 3);
    let mut random = Philox::new(seed, Stream::Shuffle(0));
    let labels: Vec<u32> = (0..count as u32).map(|n| n % 2).collect();
    let mut values = vec![];
    for &label in &labels {
        for t in 0..steps {
            let level = 0.1 * t as f32 * if label == 0 { 1.0 } else { -1.0 };
            values.extend((0..features).map(|_| level + 2.0 * (random.uniform() - 0.5)));
        }
    }
    Dataset {
        count,
        steps,
        features,
        inputs: Inputs::Floats(values),
        targets: Targets::Classes {
            labels,
            classes: 2,
            per_step: false,
        },
        lengths: None,
        weights: None,
    }
}

fn data() -> Splits {
    Splits {
        test: Some(slopes(200, 2).into()),
        ..slopes(300, 1).into()
    }
}

fn recipe(precision: Precision) -> Recipe {
    let head = HeadRecipe::new(Reads::Last, Loss::CrossEntropy);
    let layers = vec![Layer::new(Cell::Lstm, 24)];
    Recipe {
        epochs: 5,
        precision,
        ..Recipe::new("rounded", layers, head, Optimizer::adam(0.01))
    }
}

/// Returns the trainer after its run on this number of threads, and the mean loss of an evaluation.
fn trained(recipe: &Recipe, threads: usize) -> (Vec<u32>, f64) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("threads start").install(|| {
        let mut trainer = Trainer::new(recipe, &data(), &Device::Cpu).expect("it loads");
        common::train_until(&mut trainer, usize::MAX);
        let model = trainer.model().expect("it is trained");
        // The model is one like any other, evaluated in f32.
        let test = data().test.expect("it has a test split");
        let evaluation = evaluate(&model, &test, 50, &Device::Cpu).expect("it evaluates");
        let values = model.parameters.iter().flat_map(|each| &each.values);
        let bits = values.map(|value| value.to_bits()).collect();
        (bits, evaluation.loss)
    })
}

#[test]
fn training_has_the_same_bits_on_any_number_of_threads_and_learns_as_in_f32() {
    if !can_run("training") {
        return;
    }
    let (bits, loss) = trained(&recipe(Precision::Bf16), 1);
    for threads in [2, 4] {
        assert_eq!(trained(&recipe(Precision::Bf16), threads).0, bits);
    }
    let (plain_bits, plain) = trained(&recipe(Precision::F32), 2);
    println!("loss {loss} in bf16, {plain} in f32");
    assert_ne!(bits, plain_bits);
    // ln 2 is the loss of chance.
    assert!(plain < 0.5 && (loss - plain).abs() < 0.02, "{loss} {plain}");
}

#[test]
fn a_run_resumes_with_its_own_precision_only() {
    let [plain, rounded] = Precision::ALL.map(recipe);
    rounded.continues(&rounded).expect("it is the same");
    for (new, old) in [(&plain, &rounded), (&rounded, &plain)] {
        let message = new.continues(old).expect_err("it differs").to_string();
        assert!(message.contains("the `precision` that"), "{message}");
    }
    let text = rounded.to_toml().expect("it is TOML");
    assert!(text.contains("precision = \"bf16\""), "{text}");
    assert_eq!(Recipe::parse(&text, "it").expect("it parses"), rounded);
    assert!(!plain.to_toml().expect("it is TOML").contains("precision"));
    let wrong = text.replace("bf16", "fp16");
    let message = Recipe::parse(&wrong, "it")
        .expect_err("it is unknown")
        .to_string();
    assert!(
        message.contains("fp16") && message.contains("bf16"),
        "{message}"
    );
}

#[test]
fn verify_checks_matmuls_in_bf16() {
    if !can_run("verify") {
        return;
    }
    let cpu = OpenDevice::open(&Device::Cpu).expect("it opens");
    let rounded = OpenDevice::open(&Device::Cpu).expect("it opens");
    let rounded = rounded.with_precision(Precision::Bf16);
    let rounded = rounded.expect("the processor has it");
    let (mut own, mut all) = (Report::default(), Report::default());
    for case in sweep(Effort::Quick) {
        if case.id.contains("-bf16-") {
            case.check(&cpu, &mut own, None).expect("it runs");
        }
        if case.id.starts_with("gemm-") || case.id.starts_with("lstm-33") {
            case.check(&rounded, &mut all, None).expect("it runs");
        }
    }
    assert!(
        own.cases >= 2 && all.cases > own.cases,
        "{} {}",
        own.cases,
        all.cases
    );
    for report in [own, all] {
        assert!(report.passed(), "{}", report.failures[0]);
    }
}
