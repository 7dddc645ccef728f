//! The shapes whose shaders are compiled: the built-in recipes, and layers of every cell.

use gatescan::low_level::backend::tuning::{Route, Tuning};
use gatescan::low_level::kernels::{RowsEach, Tile};
use gatescan::low_level::program::Program;
use gatescan::low_level::record::Gradients;
use gatescan::network::{Bias, Init};
use gatescan::recipe::BUILTINS;
use gatescan::{Cell, HeadRecipe, Input, Layer, Loss, Network, Optimizer, Reads, Recipe};

use crate::hardware::Profile;
use crate::recorded::{BatchSizes, loading, optimizers, recorded};

/// T of shapes that are no recipe.
const STEPS: usize = 28;

/// Invocations of scans for which a core of a class that is not known has registers.
const CORE_INVOCATIONS: usize = 1024;

/// A network with the sizes of its batches and its optimizers.
struct Shape {
    network: Network,
    sizes: BatchSizes,
    optimizers: Vec<Optimizer>,
    route: Option<Route>,
}

impl Shape {
    fn recorded(&self, tuning: Tuning) -> Program {
        let (network, gradients) = (&self.network, Gradients::OfLoss);
        recorded(network, self.sizes, gradients, &self.optimizers, tuning)
    }
}

/// Records the programs of all shapes with the tuning of a profile; the scans that keep its numbers
/// of recurrent weights in registers; and those of its other numbers of cores.
pub fn programs(profile: &Profile) -> Vec<Program> {
    let tuning = profile.tuning();
    let mut programs = vec![loading()];
    for shape in recipes().chain(layers()) {
        let tuning = Tuning {
            route: shape.route,
            ..tuning
        };
        programs.push(shape.recorded(tuning));
    }
    let recurrent = Cell::ALL.into_iter();
    let recurrent = recurrent.filter(|cell| cell.spec().recurrent_gates > 0);
    let single = profile
        .registers
        .iter()
        .map(|&registers| (registers, false));
    let halves = profile.halves.iter().map(|&registers| (registers, true));
    for (registers, halves) in single.chain(halves) {
        let tuning = Tuning {
            cores: usize::MAX,
            tile: Tile {
                sequences: 1,
                registers,
                halves,
                ..tuning.tile
            },
            ..tuning
        };
        programs.extend(recipes().map(|shape| shape.recorded(tuning)));
        let layers = recurrent.clone().map(|cell| layer(cell, 128, 128));
        programs.extend(layers.map(|shape| shape.recorded(tuning)));
    }
    for &cores in profile.cores {
        let few = Tuning {
            cores,
            core_invocations: tuning.core_invocations.min(CORE_INVOCATIONS),
            ..tuning
        };
        programs.extend(recipes().map(|shape| shape.recorded(few)));
        let layers = recurrent.clone().map(|cell| layer(cell, 128, 128));
        programs.extend(layers.map(|shape| shape.recorded(few)));
    }
    // The sizes of a GEMM's blocks among which a device's is chosen.
    for gemm_rows in RowsEach::ALL {
        let tuning = Tuning {
            gemm_rows,
            ..tuning
        };
        programs.extend(recipes().map(|shape| shape.recorded(tuning)));
    }
    programs
}

/// Returns the built-in recipes. Their data are not loaded, so the sizes of those stand here.
fn recipes() -> impl Iterator<Item = Shape> {
    BUILTINS.iter().map(|builtin| {
        let recipe = Recipe::load(builtin.name).expect("built-in recipes are valid");
        let (input_size, steps, outputs) = match builtin.name {
            "series" => (1, 20, 1),
            "text" => (65, 50, 65),
            _ => (28, 28, 10),
        };
        let network = recipe.network(input_size, outputs);
        Shape {
            network: network.expect("built-in recipes are valid"),
            sizes: BatchSizes {
                steps,
                batch: recipe.batch_size,
            },
            optimizers: vec![recipe.optimizer.clone()],
            route: None,
        }
    })
}

/// Returns a layer of a cell.
fn layer(cell: Cell, hidden_size: usize, batch: usize) -> Shape {
    let head = HeadRecipe::new(Reads::Last, Loss::CrossEntropy);
    let layers = vec![Layer {
        bias: Bias::largest(cell),
        ..Layer::new(cell, hidden_size)
    }];
    let recipe = Recipe::new("shape", layers, head, Optimizer::adam(1e-3));
    Shape {
        network: recipe.network(28, 10).expect("the sizes are valid"),
        sizes: BatchSizes {
            steps: STEPS,
            batch,
        },
        optimizers: vec![recipe.optimizer.clone()],
        route: None,
    }
}

/// Returns layers of every cell, with B and H as in most recipes; batches that fill every core;
/// both routes; wide layers; and the options of a layer that change a shader.
fn layers() -> impl Iterator<Item = Shape> {
    let cells = Cell::ALL.into_iter();
    let scans = cells.clone().map(move |cell| layer(cell, 128, 128));
    let steps = cells.clone().map(move |cell| Shape {
        route: Some(Route::Step),
        ..layer(cell, 128, 128)
    });
    let busy = cells.map(move |cell| layer(cell, 128, 1024));
    let wide = [Cell::Lstm, Cell::Gru].map(move |cell| layer(cell, 512, 64));
    let mut projected = layer(Cell::Lstm, 128, 128);
    projected.network.layers[0].projection_size = Some(64);
    let mut embedded = layer(Cell::Lstm, 128, 128);
    embedded.network.input = Input::Embedding {
        size: 64,
        padding_idx: None,
        init: Init::Torch,
        tied: false,
    };
    embedded.network.head.reads = Reads::Every;
    let mut dropping = layer(Cell::Lstm, 128, 128);
    dropping.network.layers[0].dropout.state_keep_prob = 0.5;
    let mut updated = layer(Cell::RnnTanh, 32, 32);
    updated.optimizers = optimizers().to_vec();
    let normalised = [Cell::Lstm, Cell::Gru].map(move |cell| {
        let mut shape = layer(cell, 128, 128);
        shape.network.layers[0].layer_norm = true;
        shape
    });
    let options = [projected, embedded, dropping, updated];
    let options = options.into_iter().chain(normalised);
    scans.chain(steps).chain(busy).chain(wide).chain(options)
}
