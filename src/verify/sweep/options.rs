//! Every option of a network and its cell.

use super::Effort;
use super::networks::two_layers;
use super::scene::NetworkCase;
use crate::cells::Cell;
use crate::network::{
    Activation, Bias, CategoryTable, Dropout, Init, Input, Loss, MaskSharing, NamedHead, Padding,
    Reads, RecurrentActivation,
};
use crate::record::Gradients;

/// A change of options: the text that it adds to a case's name, and the change.
type Change = (&'static str, fn(&mut NetworkCase));

/// Options of every cell.
const ALL_CELLS: [Change; 8] = [
    ("no-bias every", no_bias),
    ("both-ways repeat", bidirectional),
    ("dropout residual", dropout_residual),
    ("dropout both-ways", dropout_bidirectional),
    ("one-hot both-ways", one_hot),
    ("embedding", embedding),
    ("tied every", tied_embedding),
    ("upstream", upstream_gradient),
];

/// Options of cells that can clip c and project h.
const CLIP_AND_PROJECTION: [Change; 3] = [
    ("clip", cell_clip),
    ("projection", projection),
    ("projection clip dropout", projection_clip_dropout),
];

/// Layer normalisation, which has scans of its own.
const LAYER_NORM: [Change; 2] = [
    ("layer-norm both-ways", layer_norm),
    ("layer-norm dropout", layer_norm_dropout),
];

/// Learnt initial states, whose kernels are the same for every cell.
const LEARNT_STATES: Change = ("learnt-states both-ways", learnt_states);

/// What the head reads of all steps, and several heads, which are the same for every cell.
const HEADS: [Change; 5] = [
    ("mean residual dropout", pooled_mean),
    ("max both-ways", pooled_max),
    ("attention both-ways", pooled_by_attention),
    ("heads every", several_heads),
    ("heads dropout both-ways", several_heads_of_states),
];

/// Heads of lists of labels, which read every step, beside heads that read the last states or a
/// reduction over time.
const LISTS_BESIDE: [Change; 2] = [
    ("lists dropout both-ways", lists_beside_states),
    ("lists mean residual dropout", lists_beside_mean),
];

/// Options of cells whose functions can be replaced.
const ACTIVATIONS: [Change; 3] = [
    ("softsign both-ways", softsign),
    ("sigmoid keras2", sigmoid_keras2),
    ("relu hard-sigmoid", relu_hard_sigmoid),
];

/// Embedded categories, whose kernels are the same for every cell.
const CATEGORIES: Change = ("categories both-ways", categories);

/// Networks that keep the states before chunks of time.
const RECOMPUTE: [Change; 2] = [
    ("recompute dropout", recompute_dropout),
    ("recompute embedding every", recompute_embedding),
];

/// Options that change states at random; the first needs recurrent gates.
const STATE_NOISE: [Change; 2] = [
    ("recurrent-dropout both-ways", recurrent_dropout),
    ("zoneout", zoneout),
];

/// Returns `cell` with each of its options in turn, at small sizes. The batch has one sequence more
/// than the four that a scan computes together. A quick sweep has functions and noise in one case
/// of each cell whose functions can be replaced, since every pipeline takes time to compile.
pub(super) fn options(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    let supported = cell.spec().options;
    let clips_and_projects = supported.cell_clip && supported.projection;
    let more = CLIP_AND_PROJECTION.iter().filter(|_| clips_and_projects);
    let changed = |changes: &[Change]| {
        let mut case = two_layers(cell, 5, 4, 5);
        for (name, change) in changes {
            case.name += &format!(" {name}");
            change(&mut case);
        }
        case
    };
    let number = Cell::ALL.iter().take_while(|other| **other != cell).count();
    let both = [
        ACTIVATIONS[number % ACTIVATIONS.len()],
        STATE_NOISE[number % STATE_NOISE.len()],
    ];
    let functions = ACTIVATIONS.iter().filter(|_| supported.activations);
    let has_recurrent = cell.spec().recurrent_gates > 0;
    let noise = STATE_NOISE.iter().skip(usize::from(!has_recurrent));
    let heads = HEADS.iter().filter(|_| cell == Cell::Gru);
    let is_sampled = effort.is_full() || cell == Cell::Lstm;
    let learnt = [LEARNT_STATES, CATEGORIES]
        .into_iter()
        .filter(|_| is_sampled);
    let recompute = RECOMPUTE.iter().filter(|_| is_sampled);
    let norms = LAYER_NORM.iter().filter(|_| supported.layer_norm.is_some());
    let alone = ALL_CELLS
        .iter()
        .chain(more)
        .chain(heads)
        .chain(norms)
        .chain(recompute);
    let mut cases: Vec<NetworkCase> = alone.map(|change| changed(&[*change])).collect();
    cases.extend(learnt.map(|change| changed(&[change])));
    if effort.is_full() {
        let lists = LISTS_BESIDE.iter().filter(|_| cell == Cell::Gru);
        cases.extend(lists.map(|change| changed(&[*change])));
        cases.extend(functions.chain(noise).map(|change| changed(&[*change])));
    } else if supported.activations {
        cases.push(changed(&both));
    }
    cases
}

fn recompute_dropout(case: &mut NetworkCase) {
    dropout_residual(case);
    case.steps = 5;
    case.plan.recompute = Some(2);
}

fn recompute_embedding(case: &mut NetworkCase) {
    embedding(case);
    case.network.head.reads = Reads::Every;
    case.steps = 5;
    case.plan.recompute = Some(2);
}

fn several_heads(case: &mut NetworkCase) {
    let head = |name: &str, size, loss, weight| NamedHead {
        name: name.into(),
        size,
        loss,
        weight,
    };
    case.network.heads = vec![
        head("class", 5, Loss::CrossEntropy, 0.5),
        head("value", 2, Loss::GaussianNll, 2.0),
        head("labels", 3, Loss::BinaryCrossEntropy, 1.0),
    ];
    case.network.head.size = 10;
    case.network.head.loss = Loss::Heads;
    case.network.head.reads = Reads::Every;
}

fn several_heads_of_states(case: &mut NetworkCase) {
    dropout_bidirectional(case);
    several_heads(case);
    case.network.head.reads = Reads::Last;
}

fn lists_beside_states(case: &mut NetworkCase) {
    several_heads_of_states(case);
    case.network.heads[0].loss = Loss::CTC;
}

fn lists_beside_mean(case: &mut NetworkCase) {
    pooled_mean(case);
    several_heads(case);
    case.network.head.reads = Reads::Mean;
    case.network.heads[1] = NamedHead {
        loss: Loss::CTC,
        ..case.network.heads[1].clone()
    };
}

fn pooled_mean(case: &mut NetworkCase) {
    let layer = &mut case.network.layers[1];
    layer.residual = true;
    layer.dropout.output_keep_prob = 0.7;
    case.network.head.reads = Reads::Mean;
}

fn pooled_max(case: &mut NetworkCase) {
    case.network.layers[1].bidirectional = true;
    case.network.layers[1].padding = Padding::Repeat;
    case.network.head.reads = Reads::Max;
    case.network.head.loss = Loss::MeanSquaredError;
}

fn pooled_by_attention(case: &mut NetworkCase) {
    case.network.layers[1].bidirectional = true;
    case.network.head.reads = Reads::Attention;
}

fn no_bias(case: &mut NetworkCase) {
    for layer in &mut case.network.layers {
        layer.bias = Bias::None;
    }
    case.network.head.reads = Reads::Every;
}

fn bidirectional(case: &mut NetworkCase) {
    for layer in &mut case.network.layers {
        layer.bidirectional = true;
        // An H that other cases have too.
        layer.backward_hidden_size = Some(33);
        layer.padding = Padding::Repeat;
    }
    case.network.head.reads = Reads::Every;
    case.network.head.loss = Loss::MeanSquaredError;
}

fn dropout_residual(case: &mut NetworkCase) {
    case.network.input_size = 5;
    for (l, layer) in case.network.layers.iter_mut().enumerate() {
        // A head that reads the last state does not see the last layer's residual.
        layer.residual = l == 0;
        layer.dropout = Dropout {
            input_keep_prob: 0.6,
            output_keep_prob: 0.7,
            state_keep_prob: 0.8,
            mask: [MaskSharing::EachStep, MaskSharing::EachSequence][l],
        };
    }
}

fn dropout_bidirectional(case: &mut NetworkCase) {
    let layer = &mut case.network.layers[1];
    layer.bidirectional = true;
    layer.dropout = Dropout {
        output_keep_prob: 0.5,
        mask: MaskSharing::EachBatch,
        ..Dropout::default()
    };
    case.network.head.reads = Reads::Every;
    case.network.head.loss = Loss::CTC;
}

fn one_hot(case: &mut NetworkCase) {
    case.network.input = Input::OneHot;
    case.network.layers[0].bidirectional = true;
}

fn embedding(case: &mut NetworkCase) {
    case.network.input = Input::Embedding {
        size: 4,
        padding_idx: Some(1),
        init: Init::Torch,
        tied: false,
    };
    case.network.head.loss = Loss::GaussianNll;
    case.network.head.size = 4;
}

fn tied_embedding(case: &mut NetworkCase) {
    case.network.input = Input::Embedding {
        size: case.network.head_inputs(),
        padding_idx: None,
        init: Init::Torch,
        tied: true,
    };
    case.network.input_size = case.network.head.size;
    case.network.head.reads = Reads::Every;
}

fn categories(case: &mut NetworkCase) {
    case.network.input_size = 8;
    case.network.categories = [("store", 1, 3, 2), ("day", 4, 2, 3)]
        .map(|(name, first, count, size)| CategoryTable {
            name: name.into(),
            first,
            count,
            size,
        })
        .into();
    case.network.layers[0].bidirectional = true;
    case.network.layers[0].dropout.input_keep_prob = 0.7;
}

fn upstream_gradient(case: &mut NetworkCase) {
    case.gradients = Gradients::OfUpstream;
}

fn cell_clip(case: &mut NetworkCase) {
    for layer in &mut case.network.layers {
        layer.cell_clip = Some(0.05);
    }
}

fn relu_hard_sigmoid(case: &mut NetworkCase) {
    for layer in &mut case.network.layers {
        layer.activation = Activation::Relu;
        layer.recurrent_activation = RecurrentActivation::HardSigmoid;
    }
}

fn softsign(case: &mut NetworkCase) {
    for layer in &mut case.network.layers {
        layer.activation = Activation::Softsign;
        layer.bidirectional = true;
    }
    case.network.head.reads = Reads::Every;
}

fn sigmoid_keras2(case: &mut NetworkCase) {
    for layer in &mut case.network.layers {
        layer.activation = Activation::Sigmoid;
        layer.recurrent_activation = RecurrentActivation::HardSigmoidKeras2;
    }
}

fn recurrent_dropout(case: &mut NetworkCase) {
    for layer in &mut case.network.layers {
        layer.recurrent_dropout = 0.4;
    }
    case.network.layers[1].bidirectional = true;
}

fn zoneout(case: &mut NetworkCase) {
    for layer in &mut case.network.layers {
        let spec = layer.cell.spec();
        layer.zoneout = 0.3;
        if spec.states > 1 && spec.peepholes.is_empty() {
            layer.zoneout_cell = 0.2;
        }
    }
}

/// The smallest variance that keeps the bounds of errors tight.
const EPSILON: f64 = 1e-2;

fn layer_norm(case: &mut NetworkCase) {
    normalise(case);
    for layer in &mut case.network.layers {
        layer.bidirectional = true;
    }
    case.network.head.reads = Reads::Every;
}

fn layer_norm_dropout(case: &mut NetworkCase) {
    normalise(case);
    for layer in &mut case.network.layers {
        layer.activation = Activation::Softsign;
        layer.bias = Bias::None;
        layer.dropout.state_keep_prob = 0.7;
    }
}

/// Normalises every layer.
pub(super) fn normalise(case: &mut NetworkCase) {
    for layer in &mut case.network.layers {
        layer.layer_norm = true;
        layer.layer_norm_epsilon = Some(EPSILON);
    }
}

fn learnt_states(case: &mut NetworkCase) {
    for layer in &mut case.network.layers {
        layer.learn_initial_state = true;
        layer.bidirectional = true;
    }
}

fn projection(case: &mut NetworkCase) {
    for (layer, size) in case.network.layers.iter_mut().zip([3, 7]) {
        layer.projection_size = Some(size);
    }
}

fn projection_clip_dropout(case: &mut NetworkCase) {
    for layer in &mut case.network.layers {
        layer.projection_size = Some(7);
        layer.projection_clip = Some(0.02);
        layer.cell_clip = Some(0.05);
        layer.dropout.state_keep_prob = 0.6;
    }
    case.network.head.reads = Reads::Every;
}
