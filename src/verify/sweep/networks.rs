//! The network cases of a sweep: each cell on each route, with each option and at many sizes.

use super::optimizers::optimizers;
use super::options::{normalise, options};
use super::plan::{Plan, Rounding, Tiles};
use super::scene::{Lengths, NetworkCase};
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
            normalised(cell, effort),
            long_sequences(cell, effort),
            full_tiles(cell, effort),
            empty_batches(cell),
            kept_weights(cell, effort),
            weights_in_registers(cell, effort),
            rounded_operands(cell, effort),
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
            heads: vec![],
            categories: vec![],
        },
        steps,
        batch,
        gradients: Gradients::OfLoss,
        optimizer: Optimizer::sgd(0.01),
        clip: Clip::None,
        plan: Plan::OF_DEVICE,
        values: ValueKind::Ordinary,
        lengths: Lengths::Mixed,
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
                plan: on_route(route),
                values,
                ..two_layers(cell, 5, 3, 3)
            });
        }
    }
    cases
}

/// Every option on both routes; in a full sweep with every kind of values. States that are dropped
/// also in scans over chunks of time.
fn options_on_routes(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    let value_kinds = if effort.is_full() {
        &ValueKind::ALL[..]
    } else {
        &[ValueKind::Ordinary]
    };
    let mut cases = vec![];
    for case in options(cell, effort) {
        let is_normalised = case.network.layers[0].layer_norm;
        for route in ROUTES {
            // Steps of a normalised layer depend on all units.
            if is_normalised && route == Route::Step {
                continue;
            }
            for &values in value_kinds {
                cases.push(NetworkCase {
                    plan: Plan {
                        route: Some(route),
                        ..case.plan
                    },
                    values,
                    ..case.clone()
                });
            }
        }
        let first = &case.network.layers[0];
        let is_masked = first.recurrent_dropout > 0.0 || first.zoneout > 0.0;
        let is_whole = case.plan.recompute.is_none();
        if is_whole && (first.drops_state() || is_masked && effort.is_full()) {
            let longer = NetworkCase {
                steps: 7,
                batch: 8,
                ..case
            };
            cases.push(cut(longer.clone(), 1));
            let lengths = Lengths::Full;
            cases.push(cut(NetworkCase { lengths, ..longer }, 3));
        }
    }
    cases
}

/// The plan of scans or steps, with the device's own tiles.
fn on_route(route: Route) -> Plan {
    Plan {
        route: Some(route),
        ..Plan::OF_DEVICE
    }
}

/// Returns the case in scans over chunks of `chunk_steps` time steps.
fn cut(case: NetworkCase, chunk_steps: usize) -> NetworkCase {
    NetworkCase {
        plan: Plan {
            chunk_steps,
            ..on_route(Route::Scan)
        },
        name: format!("{} cut {chunk_steps}", case.name),
        ..case
    }
}

/// Cells of which a quick sweep plays the smallest and a large H: each differs from the others in
/// its number of gates, states or stages. Every specialisation of a shader takes time to compile.
const VARIED_CELLS: [Cell; 4] = [
    Cell::RnnTanh,
    Cell::Lstm,
    Cell::GruResetBefore,
    Cell::MinGru,
];

/// H, T and B around the edges of workgroups, of the sequences that a scan computes together, and
/// of the chunks of a scan.
fn sizes(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    let every_cell = [(33, 5, 4), (65, 2, 9)];
    let varied_cells = [(1, 1, 1), (257, 2, 2)];
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
    let varied = effort.is_full() || VARIED_CELLS.contains(&cell);
    let varied_cells = varied_cells.iter().filter(|_| varied);
    let more = more.iter().filter(|_| effort.is_full());
    let mut cases = vec![];
    for &(hidden_size, steps, batch) in every_cell.iter().chain(varied_cells).chain(more) {
        for route in [None, Some(Route::Step)] {
            if route.is_some() && !effort.is_full() && hidden_size != 65 {
                continue;
            }
            cases.push(NetworkCase {
                plan: Plan {
                    route,
                    chunk_steps: 2,
                    ..Plan::OF_DEVICE
                },
                ..one_layer(cell, hidden_size, steps, batch)
            });
        }
    }
    cases
}

/// Batches that fill the tiles of scans, steps and matmuls exactly, with one to four groups of four
/// sequences in a workgroup. In some, all sequences of a tile are empty; in others no step is
/// padding.
fn full_tiles(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    let batches = [
        (8, 1, Lengths::EmptyTiles),
        (16, 1, Lengths::Full),
        (16, 2, Lengths::EmptyTiles),
        (32, 2, Lengths::Full),
        (32, 4, Lengths::EmptyTiles),
        (64, 4, Lengths::EmptyTiles),
        (128, 4, Lengths::Full),
    ];
    let mut cases = vec![];
    for (batch, groups, lengths) in batches {
        let case = NetworkCase {
            lengths,
            ..one_layer(cell, 5, 3, batch)
        };
        if groups == 1 || batch == 128 {
            cases.push(NetworkCase {
                plan: on_route(Route::Step),
                ..case.clone()
            });
        }
        if groups == 1 || effort.is_full() || VARIED_CELLS.contains(&cell) {
            let mut case = cut(case, 2);
            case.name += &format!(" groups {groups}");
            case.plan.tiles = Tiles::Groups(groups);
            cases.push(case);
        }
    }
    cases
}

/// Batches of empty sequences only.
fn empty_batches(cell: Cell) -> Vec<NetworkCase> {
    let case = |route| {
        let mut case = two_layers(cell, 5, 3, 5);
        case.name += " empty";
        NetworkCase {
            plan: on_route(route),
            lengths: Lengths::Empty,
            ..case
        }
    };
    ROUTES.map(case).into()
}

/// Scans that keep some or all of the recurrent weights in workgroup memory, and whose lanes share
/// sums, whatever the device would choose.
fn kept_weights(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    // With H 33, 8 KiB have room for some rows of R and 16 KiB for most or all.
    let some = ("keeps some", Tiles::KeepWeights { groups: 1, kib: 8 });
    let most = ("keeps most", Tiles::KeepWeights { groups: 2, kib: 16 });
    let shared = ("shares sums", Tiles::ShareSums { kib: 8 });
    let tiles = match (effort, cell) {
        (Effort::Full, _) => vec![some, most, shared],
        (_, Cell::Gru) => vec![some, shared],
        (_, Cell::GruResetBefore) => vec![some],
        (_, Cell::RnnTanh) => vec![most],
        _ => vec![],
    };
    let mut cases = vec![];
    for (name, tiles) in tiles {
        let mut case = cut(one_layer(cell, 33, 3, 16), 2);
        case.name += &format!(" {name}");
        case.lengths = Lengths::EmptyTiles;
        case.plan.tiles = tiles;
        cases.push(case);
    }
    cases
}

/// Scans of one or two sequences for a workgroup, whose invocations keep some or all of the
/// recurrent weights in registers, whatever the device would choose.
fn weights_in_registers(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    // With H 45 and 4 lanes, an invocation of an LSTM has 48 weights of the forward pass.
    let variant = |name, sequences, registers, kib| {
        let tiles = Tiles::Registers {
            sequences,
            registers,
            kib,
            halves: name == "registers halves",
        };
        (name, tiles)
    };
    let some = variant("registers some", 1, 36, 8);
    let pairs = variant("registers pairs", 2, 36, 0);
    let all = variant("registers all", 1, 256, 0);
    let halves = variant("registers halves", 1, 36, 8);
    let variants = match (effort, cell) {
        (_, cell) if cell.spec().recurrent_gates == 0 => vec![],
        (Effort::Full, _) => vec![some, pairs, all, halves],
        (_, Cell::Lstm) => vec![some, halves],
        (_, Cell::GruResetBefore) => vec![pairs],
        (_, Cell::RnnTanh) => vec![all],
        _ => vec![],
    };
    let mut cases = vec![];
    for (name, tiles) in variants {
        for (batch, lengths) in [(9, Lengths::Mixed), (16, Lengths::EmptyTiles)] {
            if batch == 16 && !effort.is_full() {
                continue;
            }
            let mut case = cut(one_layer(cell, 45, 3, batch), 2);
            case.name += &format!(" {name}");
            case.lengths = lengths;
            case.plan.tiles = tiles;
            cases.push(case);
        }
    }
    cases
}

/// Matmuls of operands that are rounded to bf16, where the device has it: with odd inner
/// dimensions, also of more than a block, and a batch of a full tile and another.
fn rounded_operands(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    let sizes: &[_] = match (effort, cell) {
        (Effort::Full, _) => &[(33, 5, 4), (65, 2, 9), (7, 3, 33), (513, 2, 1)],
        (_, Cell::Lstm | Cell::GruResetBefore) => &[(33, 5, 4)],
        _ => &[],
    };
    let case = |&(hidden_size, steps, batch): &(usize, usize, usize)| {
        let mut case = one_layer(cell, hidden_size, steps, batch);
        case.name += " bf16";
        case.plan.chunk_steps = 2;
        case.plan.rounding = Rounding::Bf16WhereItIs;
        case
    };
    sizes.iter().map(case).collect()
}

/// Projections smaller and larger than the hidden size, of cells that can project h.
fn projections(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    let sizes: &[[usize; 2]] = match effort {
        _ if !cell.spec().options.projection => &[],
        Effort::Quick if !VARIED_CELLS.contains(&cell) => &[],
        Effort::Quick => &[[65, 40], [33, 70]],
        Effort::Full => &[[65, 40], [33, 70], [200, 224]],
    };
    let mut cases = vec![];
    for &[hidden_size, outputs] in sizes {
        for route in [None, Some(Route::Step)] {
            let mut case = one_layer(cell, hidden_size, 3, 6);
            case.name += &format!(" projection {outputs}");
            case.network.layers[0].projection_size = Some(outputs);
            case.plan.route = route;
            case.plan.chunk_steps = 2;
            cases.push(case);
        }
    }
    cases
}

/// Scans of layers with layer normalisation, whose invocations compute one or several units, over
/// chunks of time.
fn normalised(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    let sizes: &[(usize, usize)] = match effort {
        _ if cell.spec().options.layer_norm.is_none() => &[],
        Effort::Quick => &[(65, 6)],
        Effort::Full => &[(65, 6), (2, 1), (33, 9), (64, 4), (128, 5), (200, 3)],
    };
    let case = |&(hidden_size, batch): &(usize, usize)| {
        let mut case = one_layer(cell, hidden_size, 3, batch);
        normalise(&mut case);
        case.name += " layer-norm";
        cut(case, 2)
    };
    sizes.iter().map(case).collect()
}

/// Long sequences: in chunks, which keep the bounds tight, and in one scan.
fn long_sequences(cell: Cell, effort: Effort) -> Vec<NetworkCase> {
    let lengths: &[usize] = match effort {
        Effort::Quick => &[33],
        Effort::Full => &[31, 32, 63, 64, 65, 257],
    };
    let mut cases = vec![];
    for &steps in lengths {
        let mut case = one_layer(cell, 33, steps, 6);
        case.network.head.reads = Reads::Every;
        cases.extend(ROUTES.map(|route| NetworkCase {
            plan: on_route(route),
            ..case.clone()
        }));
        cases.push(cut(case, 8));
    }
    cases
}

/// Whole training steps with each optimizer, then an evaluation, on both routes.
fn training_steps(cell: Cell) -> Vec<NetworkCase> {
    let mut cases = vec![];
    for route in ROUTES {
        for (number, (optimizer, clip)) in optimizers().into_iter().enumerate() {
            // A mean square minus the squared mean can be all rounding error.
            if matches!(optimizer, Optimizer::Rmsprop { centered: true, .. }) {
                continue;
            }
            let case = two_layers(cell, 5, 3, 5);
            cases.push(NetworkCase {
                plan: on_route(route),
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
