//! Programs that together use every kernel, recorded as training records them.

use gatescan::low_level::backend::tuning::Tuning;
use gatescan::low_level::kernels::{
    ErrorSums, Gather, GatherKind, Record, Tally, control, history,
};
use gatescan::low_level::program::{Phase, Program};
use gatescan::low_level::record::{Gradients, RecordedNetwork, TrainingLoss};
use gatescan::low_level::tensor::{Element, Kind};
use gatescan::recipe::optimizer::{Clip, Form};
use gatescan::{Loss, Network, Optimizer};

/// The sizes of a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchSizes {
    /// T.
    pub steps: usize,
    /// B.
    pub batch: usize,
}

/// Records every phase of a training run, with an update by each of the optimizers.
pub fn recorded(
    network: &Network,
    sizes: BatchSizes,
    gradients: Gradients,
    optimizers: &[Optimizer],
    tuning: Tuning,
) -> Program {
    let BatchSizes { steps, batch } = sizes;
    let mut model = RecordedNetwork::new(network, steps, batch, gradients, tuning)
        .expect("the network is valid");
    let program = &mut model.program;
    let words = program.buffer("control", Kind::Control, Element::Index, [control::WORDS]);
    model.add_lists(2).expect("they are small");
    model.carry_states(Phase::Forward, words);
    model.draw_masks(0, words);
    model.forward(Phase::Forward);
    model.loss(Phase::Forward);
    let heads = model.each_head().len();
    for head in 0..heads {
        model.add_weights(head);
    }
    let smoothed = TrainingLoss {
        label_smoothing: 0.1,
    };
    model.training_loss(&vec![smoothed; heads]);
    let program = &mut model.program;
    let weights = program.buffer("update_weights", Kind::Control, Element::Real, [2]);
    model.share_of_update(&vec![weights; heads], words);
    let program = &mut model.program;
    if let Some(targets) = model.head.targets {
        let errors = ErrorSums {
            outputs: model.head.outputs,
            targets: targets.part(0, [model.head.labels.len()]),
            labels: model.head.labels,
            lengths: model.lengths,
            sums: program.buffer("errors", Kind::Control, Element::Real, [3]),
        };
        program.push(Phase::Evaluate, errors);
    }
    if network.head.loss == Loss::CrossEntropy {
        let classes = network.head.size;
        let mut counts =
            || program.buffer("counts", Kind::Control, Element::Index, [classes, classes]);
        let tally = Tally {
            outputs: model.head.outputs,
            labels: model.head.labels,
            confusion: counts(),
            ranks: counts(),
            classes,
        };
        program.push(Phase::Evaluate, tally);
    }
    if gradients == Gradients::None {
        return model.program;
    }
    model.backward();
    // The update uses the last of both sums.
    model.sum_in_tree(words, 4, Phase::Update);
    model.accumulate_gradients(words);
    let program = &mut model.program;
    let rows = program.buffer("history", Kind::Control, Element::Real, [2, history::WORDS]);
    for optimizer in optimizers {
        let clip = Clip::Value(1.0);
        let mut update = model.record_update(optimizer, clip, words, 2);
        model.record_average(&mut update, 0.9);
        let norm = update.norm;
        for norm in [None, Some(norm)] {
            let (scores, weight, batch) = (model.head.scores, model.head.label_weight, model.batch);
            let record = Record {
                chunks: 1,
                scores,
                labels: model.head.labels,
                lengths: model.lengths,
                weight,
                norm,
                control: words,
                history: rows,
                batch,
            };
            model.program.push(Phase::Update, record);
        }
    }
    model.program
}

/// Returns one optimizer per update rule.
pub fn optimizers() -> [Optimizer; 3] {
    let (lr, momentum, weight_decay) = (1e-3, 0.9, 0.1);
    [
        Optimizer::Sgd {
            lr,
            momentum,
            dampening: 0.0,
            nesterov: true,
            weight_decay,
        },
        Optimizer::AdamW {
            lr,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay,
            amsgrad: true,
        },
        Optimizer::Rmsprop {
            lr,
            form: Form::Tensorflow,
            rho: None,
            epsilon: None,
            momentum,
            centered: true,
            weight_decay,
        },
    ]
}

/// Returns a program that gathers batches of each kind of data.
pub fn loading() -> Program {
    let mut program = Program::new();
    let kinds = [
        (GatherKind::Reals, Element::Real, Element::Real),
        (
            GatherKind::Bytes { scale: 0.5 },
            Element::Index,
            Element::Real,
        ),
        (
            GatherKind::Indices { absent: 0 },
            Element::Index,
            Element::Index,
        ),
        (GatherKind::Lengths, Element::Index, Element::Index),
    ];
    for (kind, from, to) in kinds {
        let mut buffer = |element| program.buffer("data", Kind::Data, element, [24]);
        let (source, out) = (buffer(from), buffer(to));
        let (order, control) = (buffer(Element::Index), buffer(Element::Index));
        let (steps, batch, width) = (2, 3, 4);
        program.push(
            Phase::Forward,
            Gather {
                kind,
                source,
                order,
                control,
                out,
                steps,
                batch,
                width,
                source_steps: 2,
                chunk_steps: 2,
            },
        );
    }
    program
}
