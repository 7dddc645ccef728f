//! How a case's layers are computed: their route, chunks of time, and tiles.

use crate::backend::tuning::{Route, Tuning};
use crate::kernels::Tile;
use crate::network::{Direction, Network};
use crate::numeric::precision::Precision;

/// How a case's layers are computed, where the device's own tuning does not decide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Scans or single steps; `None` for the device's own choice.
    pub route: Option<Route>,
    /// The largest number of time steps that one call of a scan takes.
    pub chunk_steps: usize,
    /// Time steps of the chunks of which only the states before them are kept.
    pub recompute: Option<usize>,
    pub rounding: Rounding,
    pub tiles: Tiles,
}

/// Where the precision of matmuls comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    /// The device's tuning.
    OfDevice,
    /// bf16 on a device that has it, and the tuning on others.
    Bf16WhereItIs,
    /// A recipe.
    OfRecipe(Precision),
}

impl Rounding {
    fn precision(self, tuning: Tuning) -> Precision {
        match self {
            Rounding::Bf16WhereItIs if tuning.bf16 => Precision::Bf16,
            Rounding::OfRecipe(precision) => precision,
            Rounding::OfDevice | Rounding::Bf16WhereItIs => tuning.precision,
        }
    }
}

/// The tiles of scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tiles {
    /// The device's own.
    OfDevice,
    /// This many groups of four sequences in a workgroup.
    Groups(usize),
    /// Tiles of this many groups that keep the first rows of the recurrent weights in this many KiB
    /// of workgroup memory.
    KeepWeights { groups: usize, kib: usize },
    /// The same with one group, and with lanes that share sums where the device has subgroups.
    ShareSums { kib: usize },
    /// Tiles of one or two sequences whose invocations keep this many recurrent weights in
    /// registers, and the rows after them in this many KiB of workgroup memory.
    Registers {
        sequences: usize,
        registers: usize,
        kib: usize,
        /// Whether those in registers are f16, on a device whose shaders have it.
        halves: bool,
    },
}

impl Plan {
    /// The device's own choices, in scans over all steps.
    pub(super) const OF_DEVICE: Plan = Plan {
        route: None,
        chunk_steps: usize::MAX,
        recompute: None,
        rounding: Rounding::OfDevice,
        tiles: Tiles::OfDevice,
    };

    /// Returns the device's tuning with the plan applied, for `batch` sequences.
    pub(super) fn tuning(&self, tuning: Tuning, network: &Network, batch: usize) -> Tuning {
        let tuning = self.tiles.applied_to(tuning, batch);
        // Other layers have more work, and so shorter chunks.
        let step_work = network.directions().iter().map(step_work).min();
        let chunk_work = step_work.unwrap_or(1).max(1) * batch;
        Tuning {
            route: self.route.or(tuning.route),
            scan_work: chunk_work
                .saturating_mul(self.chunk_steps)
                .min(tuning.scan_work),
            recompute: self.recompute,
            precision: self.rounding.precision(tuning),
            ..tuning
        }
    }
}

impl Tiles {
    fn applied_to(self, tuning: Tuning, batch: usize) -> Tuning {
        let tile = |groups, kib: usize| Tile {
            groups,
            lanes: 1,
            memory: (kib << 10).min(tuning.workgroup_memory as usize),
            ..tuning.tile
        };
        match self {
            Tiles::OfDevice => tuning,
            Tiles::Groups(groups) => Tuning {
                workgroups: 1,
                tile: tile(groups, 0),
                ..tuning
            },
            // Weights are kept while there are no more workgroups than the device computes at once,
            // in the memory of cores that compute one workgroup each.
            Tiles::KeepWeights { groups, kib } => Tuning {
                workgroups: batch.div_ceil(4 * groups),
                cores: batch,
                tile: tile(groups, kib),
                ..tuning
            },
            Tiles::Registers {
                sequences,
                registers,
                kib,
                halves,
            } => Tuning {
                workgroups: 4 * batch,
                cores: batch,
                tile: Tile {
                    sequences,
                    registers,
                    halves: halves && tuning.halves,
                    lanes: tuning.shared_lanes.min(4),
                    back_lanes: tuning.shared_lanes,
                    ..tile(1, kib)
                },
                ..tuning
            },
            Tiles::ShareSums { kib } => Tuning {
                workgroups: 4 * batch,
                cores: batch,
                tile: Tile {
                    lanes: tuning.shared_lanes.min(4),
                    ..tile(1, kib)
                },
                ..tuning
            },
        }
    }
}

/// The multiply-adds of one sequence and step, as [`Recurrence::work`] counts them.
///
/// [`Recurrence::work`]: crate::kernels::Recurrence::work
fn step_work(direction: &Direction) -> usize {
    let layer = &direction.layer;
    let spec = layer.cell.spec();
    let matrices = spec.recurrent_gates + usize::from(layer.projection_size.is_some());
    let weights = matrices * layer.hidden_size * layer.output_size();
    weights.max(spec.gates * layer.hidden_size)
}
