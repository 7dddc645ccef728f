//! Sizes of dispatches, workgroup memory, loop iterations and costs.

use std::ops::Range;

use super::{Recurrence, TimeDirection};
use crate::kernels::Cost;

/// The work of a workgroup of a scan in a time step, for the cost model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScanWork {
    /// Workgroups of the dispatch.
    pub workgroups: usize,
    pub multiply_adds: f64,
    /// Bytes of the vectors that invocations load from workgroup memory.
    pub vector_bytes: f64,
    /// Bytes of weights that they load from workgroup memory.
    pub cached_bytes: f64,
    /// Bytes of weights that they load from storage.
    pub loaded_bytes: f64,
    /// Bytes of gates and states in storage.
    pub state_bytes: f64,
    pub barriers: usize,
}

impl Recurrence {
    /// Returns the work of a workgroup in a time step.
    pub fn scan_work(&self, direction: TimeDirection) -> ScanWork {
        let (h, p) = (self.hidden_size, self.output_size);
        let weights = 4.0 * self.weights_len() as f64;
        let cached = (16 * self.cached_weights(direction)) as f64;
        let held = (16 * self.held_weights(direction).vec4s()) as f64;
        let gates = self.cell.spec().recurrent_gates;
        let projection = if self.projects() { h * p } else { 0 };
        // Values of four sequences that are loaded for the gates of a unit at once, or for the
        // elements of a worker.
        let vectors = match direction {
            TimeDirection::Forward => h * p * usize::from(gates > 0) + projection,
            TimeDirection::Backward => gates * h * p / self.tile.each + projection,
        };
        let sequences = self.tile.all_sequences();
        let per_sequence = match direction {
            TimeDirection::Forward => 2 * self.row_size() + 2 * (h + p),
            TimeDirection::Backward => 2 * self.row_size() + 5 * (h + p),
        };
        let backward = usize::from(direction == TimeDirection::Backward);
        ScanWork {
            workgroups: self.batch.div_ceil(sequences),
            multiply_adds: (sequences * self.weights_len()) as f64,
            vector_bytes: (4 * sequences * vectors) as f64,
            cached_bytes: cached,
            loaded_bytes: weights - cached - held,
            state_bytes: (4 * sequences * per_sequence) as f64,
            barriers: self.stages() + backward * usize::from(gates > 0),
        }
    }

    /// Returns the multiply-adds of one sequence and step. A cell without recurrent weights counts
    /// one for each gate of a unit.
    pub fn work(&self) -> usize {
        self.weights_len()
            .max(self.cell.spec().gates * self.hidden_size)
    }

    /// Returns the bytes of workgroup memory that the scans need for a group of four sequences.
    pub fn scan_memory(&self) -> u128 {
        if self.options.layer_norm.is_some() {
            // h or a gate's gradients, and sums of 64 invocations and of blocks of 8.
            return 16 * (self.hidden_size as u128 + 4 * (64 + 8));
        }
        16 * self.vectors().into_iter().fold(0, u128::max)
    }

    /// Returns the number of vec4s, one element of four sequences each, that a scan keeps in
    /// workgroup memory: in the forward pass two vectors, and h times the mask of each gate where
    /// gates have masks; in the backward pass the gradients of the
    /// recurrent gates and of the projection (at least one vec4, since WGSL has no empty arrays).
    fn vectors(&self) -> [u128; 2] {
        let (h, p) = (self.hidden_size as u128, self.output_size as u128);
        let projected = if self.projects() { p } else { 0 };
        let gates = self.cell.spec().recurrent_gates as u128;
        let masked = if self.options.drops_recurrent {
            self.first_gates() as u128 * p
        } else {
            0
        };
        [h + p + masked, (gates * h + projected).max(1)]
    }

    /// Returns the number of vec4s of recurrent weights that a scan caches in workgroup memory
    /// (whole rows only): the first that invocations do not keep in registers.
    pub(super) fn cached_weights(&self, direction: TimeDirection) -> usize {
        let (gates, h) = (self.cell.spec().recurrent_gates, self.hidden_size);
        let [forward, backward] = self.vectors();
        let (vectors, rows, columns) = match direction {
            TimeDirection::Forward => (forward, self.output_size / 4, gates * h),
            TimeDirection::Backward => (backward, gates * h.div_ceil(4), self.output_size),
        };
        let used = (vectors * self.tile.all_sequences() as u128).div_ceil(4);
        let free = (self.tile.memory as u128 / 16).saturating_sub(used) as usize;
        let rows = rows - self.held_weights(direction).rows();
        free.checked_div(columns).unwrap_or(0).min(rows) * columns
    }

    /// Returns what a time step adds to a scan's
    /// [`Kernel::iterations`](crate::kernels::Kernel::iterations), in either direction: the loops
    /// over the inner dimensions of its matmuls, and over the sequences that it loads and stores.
    pub fn scan_iterations(&self) -> usize {
        if self.options.layer_norm.is_some() {
            let units = self.hidden_size.div_ceil(64);
            return units * (4 * self.hidden_size + 256) + 256;
        }
        let iterations = |direction| {
            let lanes = self.tile.lanes_of(direction);
            let widest = self.hidden_size.max(self.output_size);
            // An upper bound: the shader takes whole vec4s in one iteration.
            let inner = self.cell.spec().recurrent_gates * self.hidden_size + self.output_size;
            widest.div_ceil(self.invocations(direction) / lanes)
                * (inner.div_ceil(lanes) + 64 * self.tile.groups)
        };
        iterations(TimeDirection::Forward).max(iterations(TimeDirection::Backward))
    }

    /// Returns the [`Kernel::iterations`](crate::kernels::Kernel::iterations) of a scan over
    /// `steps`.
    pub(in crate::kernels) fn chunk_iterations(&self, steps: Range<usize>) -> usize {
        steps.len().saturating_mul(self.scan_iterations())
    }

    /// Returns the [`Kernel::iterations`](crate::kernels::Kernel::iterations) of a step.
    pub(in crate::kernels) fn step_iterations(&self) -> usize {
        self.work() / self.hidden_size.min(self.output_size) + 64
    }

    /// Returns the invocations of a scan's workgroup: one for each unit and lane, up to the limit
    /// of the tile. In the backward pass the lanes of a worker compute several elements.
    pub(super) fn invocations(&self, direction: TimeDirection) -> usize {
        let lanes = match direction {
            TimeDirection::Forward => self.tile.lanes,
            TimeDirection::Backward => (self.tile.back_lanes / self.tile.each).max(1),
        };
        (self.hidden_size * lanes)
            .next_multiple_of(32)
            .min(self.tile.invocations)
    }

    /// Returns the workgroups of a scan.
    pub(in crate::kernels) fn scan_grid(&self) -> [u32; 3] {
        [self.batch.div_ceil(self.tile.all_sequences()) as u32, 1, 1]
    }

    /// Returns the workgroups of a step: units or outputs, and sequences.
    pub(in crate::kernels) fn step_grid(&self) -> [u32; 3] {
        let units = self.hidden_size.max(self.output_size);
        [units.div_ceil(64) as u32, self.batch.div_ceil(4) as u32, 1]
    }

    /// Returns the cost of `steps` time steps, in either direction: the matmuls, and about 10
    /// operations for the activation of each gate.
    pub(in crate::kernels) fn cost(&self, steps: usize) -> Cost {
        let (t, b, h) = (steps as f64, self.batch as f64, self.hidden_size as f64);
        let (gates, weights) = (self.cell.spec().gates as f64, self.weights_len() as f64);
        let states = self.state_sizes().iter().sum::<usize>() as f64;
        Cost {
            flops: t * b * (2.0 * weights + 10.0 * gates * h),
            bytes: 4.0 * (weights + t * (b * 2.0 * self.row_size() as f64 + states)),
        }
    }
}
