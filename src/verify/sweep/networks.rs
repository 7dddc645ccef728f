//! The network cases of a sweep: each cell on each route, with each option and at many sizes.

use super::optimizers::optimizers;
use super::options::options;
use super::scene::NetworkCase;
use super::{Effort, ValueKind, hash};
use crate::backend::tuning::Route;
use crate::cells::Cell;
use crate::network::{Bias, Head, Init, Input, Layer, Loss, Network, Reads};
use crate::recipe::optimizer::{Clip, Optimizer};
use crate::record::Gradients;
use crate::verify::CompareAfter;

const ROUTES: [Route; 2] = [Route::Scan, Route::Step];

/// Returns the cases of all cells.
pub(super) fn cases(effort: Effort) -> Vec<NetworkCase> {
    let mut cases = vec![];
    for cell in Cell::ALL {
        let compared_call_by_call = [
            value_kinds(cell),
            options_on_routes(cell, effort),
            sizes(cell, effort),
            projections(cell, effort),
            long_sequences(cell, effort),
        ];
        let each_call = compared_call_by_call.into_iter().flatten();
        cases.extend(each_call.map(with_optimizer_by_name));
        cases.extend(training_steps(cell));
    }
    cases
}

/// A network of two layers of `cell`, with 3 inputs and 5 classes.
pub(super) fn two_layers(
    cell: Cell,
    hidden_size: usize,
    steps: usize,
    batch: usize,
) -> NetworkCase {
    let layer = Layer {
        bias: Bias::largest(cell),
        ..Layer::new(cell, hidden_size)
    };
    NetworkCase {
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
        chunk_steps: usize::MAX,
        values: ValueKind::Ordinary,
        compare_after: CompareAfter::EachCall,
        name: format!("{} {hidden_size}", cell.name()),
    }
}

/// The first of [`two_layers`] alone.
fn one_layer(cell: Cell, hidden_size: usize, steps: usize, batch: usize) -> NetworkCase {
    let mut case = two_layers(cell, hidden_size, steps, batch);
    case.network.layers.truncate(1);
    case
}

/// Chooses optimizer and clip by the case's name, so that a case is the same in every sweep.
fn with_optimizer_by_name(case: NetworkCase) -> NetworkCase {
    let all = optimizers();
    let index = hash(&case.id()) % all.len() as u64;
    let (optimizer, clip) = all[index as usize].clone();
    NetworkCase {
        optimizer,
        clip,
        ..case
    }
}

/// Every kind of values, on both routes.
fn value_kinds(cell: Cell) -> Vec<NetworkCase> {
    let mut cases = vec![];
    for route in ROUTES {
        for values in ValueKind::ALL {
            cases.push(NetworkCase {
                route: Some(route),
                values,
                ..two_layers(cell, 5, 3, 3)
            });
        }
    }
    cases
}

/// Every option on both routes; in a full sweep with every kind of values.
fn options_on_routes(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    let value_kinds = if effort.is_full() {
        &ValueKind::ALL[..]
    } else {
        &[ValueKind::Ordinary]
    };
    let mut cases = vec![];
    for case in options(cell) {
        for route in ROUTES {
            for &values in value_kinds {
                cases.push(NetworkCase {
                    route: Some(route),
                    values,
                    ..case.clone()
                });
            }
        }
    }
    cases
}

/// H, T and B around the edges of workgroups, of the sequences that a scan computes together, and
/// of the chunks of a scan.
fn sizes(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    let quick = [(1, 1, 1), (33, 5, 4), (65, 2, 9), (257, 2, 2)];
    let more = [
        (31, 3, 4),
        (32, 9, 5),
        (63, 4, 31),
        (64, 3, 33),
        (128, 3, 128),
        (255, 2, 3),
        (256, 3, 5),
        (341, 2, 2),
        (342, 2, 2),
        (513, 2, 1),
    ];
    let more = more.iter().filter(|_| effort.is_full());
    let mut cases = vec![];
    for &(hidden_size, steps, batch) in quick.iter().chain(more) {
        for route in [None, Some(Route::Step)] {
            if route.is_some() && !effort.is_full() && hidden_size != 65 {
                continue;
            }
            cases.push(NetworkCase {
                route,
                chunk_steps: 2,
                ..one_layer(cell, hidden_size, steps, batch)
            });
        }
    }
    cases
}

/// Projections smaller and larger than the hidden size, of cells that can project h.
fn projections(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    let sizes: &[[usize; 2]] = match effort {
        _ if !cell.spec().options.projection => &[],
        Effort::Quick => &[[65, 40]],
        Effort::Full => &[[65, 40], [33, 70], [200, 224]],
    };
    let mut cases = vec![];
    for &[hidden_size, outputs] in sizes {
        for route in [None, Some(Route::Step)] {
            let mut case = one_layer(cell, hidden_size, 3, 6);
            case.name += &format!(" projection {outputs}");
            case.network.layers[0].projection_size = Some(outputs);
            case.route = route;
            case.chunk_steps = 2;
            cases.push(case);
        }
    }
    cases
}

/// Long sequences: in chunks, which keep the bounds tight, and in one scan.
fn long_sequences(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    let lengths: &[usize] = match effort {
        Effort::Quick => &[33],
        Effort::Full => &[31, 32, 63, 64, 65, 257],
    };
    let routes = [
        (Route::Scan, 8, " cut"),
        (Route::Scan, usize::MAX, ""),
        (Route::Step, 1, ""),
    ];
    let mut cases = vec![];
    for &steps in lengths {
        for (route, chunk_steps, name) in routes {
            let mut case = one_layer(cell, 9, steps, 6);
            case.network.head.reads = Reads::Every;
            case.name += name;
            case.route = Some(route);
            case.chunk_steps = chunk_steps;
            cases.push(case);
        }
    }
    cases
}

/// Whole training steps with each optimizer, on both routes.
fn training_steps(cell: Cell) -> Vec<NetworkCase> {
    let mut cases = vec![];
    for route in ROUTES {
        for (number, (optimizer, clip)) in optimizers().into_iter().enumerate() {
            // A mean square minus the squared mean can be all rounding error.
            if matches!(optimizer, Optimizer::Rmsprop { centered: true, .. }) {
                continue;
            }
            let case = two_layers(cell, 6, 3, 5);
            cases.push(NetworkCase {
                route: Some(route),
                compare_after: CompareAfter::TrainingSteps(3),
                name: format!("{} training {number}", case.name),
                optimizer,
                clip,
                ..case
            });
        }
    }
    cases
}
