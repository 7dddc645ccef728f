use std::borrow::Cow;

use super::TimeDirection;
use crate::kernels::words::wgsl_constants;

/// The part of the batch that a workgroup of a scan takes through time on a GPU, and how its
/// invocations share the work. Small tiles give many workgroups, which hide memory latency; large
/// tiles load fewer weights for each multiply-add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Groups of sequences in a workgroup: 1, 2 or 4.
    pub groups: usize,
    /// Sequences of a group: 1, 2 or 4.
    pub sequences: usize,
    /// Elements of the state gradient that an invocation, or the lanes of a worker, compute at a
    /// time: 1, 2 or 4.
    pub each: usize,
    /// Neighbouring lanes of a subgroup that share the inner dimension of a matmul in the forward
    /// pass: 1, 2, 4, 8 or 16; 1 on a device without subgroups.
    pub lanes: usize,
    /// The same in the backward pass. With `each` times the lanes of the forward pass, an
    /// invocation loads a quarter of the values for each multiply-add that it loads with one
    /// element.
    pub back_lanes: usize,
    /// Largest number of invocations of a workgroup, a multiple of 32.
    pub invocations: usize,
    /// Bytes of workgroup memory that a scan may use. What remains beside its vectors caches the
    /// first rows of the weights.
    pub memory: usize,
    /// Values of the recurrent weights that an invocation keeps in registers for all time steps, at
    /// most. 0 keeps none.
    pub registers: usize,
    /// Whether these are rounded to f16, so that a register holds two. Sums stay f32.
    pub halves: bool,
}

impl Tile {
    /// The smallest tile, with the number of invocations that WebGPU guarantees.
    pub const SMALLEST: Tile = Tile {
        groups: 1,
        sequences: 4,
        each: 1,
        lanes: 1,
        back_lanes: 1,
        invocations: 256,
        memory: 0,
        registers: 0,
        halves: false,
    };

    /// Returns the lanes that share a sum.
    pub(super) fn lanes_of(self, direction: TimeDirection) -> usize {
        match direction {
            TimeDirection::Forward => self.lanes,
            TimeDirection::Backward => self.back_lanes,
        }
    }

    /// Returns the number of sequences of a workgroup.
    pub(super) fn all_sequences(self) -> usize {
        self.sequences * self.groups
    }

    /// Whether an invocation finishes four sequences at once; else one.
    pub(super) fn finishes_four(self, direction: TimeDirection) -> bool {
        self.sequences == 4 && self.lanes_of(direction) == 1
    }

    /// Returns the names that stand for types in the WGSL of the tile.
    pub(super) fn types(self, direction: TimeDirection) -> Vec<(&'static str, &'static str)> {
        let mut types = vec![];
        if !self.finishes_four(direction) {
            types.push(("Rows", "f32"));
        }
        match self.sequences {
            1 => types.push(("Quad", "f32")),
            2 => types.push(("Quad", "vec2<f32>")),
            _ => {}
        }
        types
    }

    /// Returns the tile's WGSL: its array sizes, as constants since WGSL allows no `override` as
    /// the size of a function's array; the sums over lanes; and the sequences that an invocation
    /// finishes at once, four or one.
    pub(super) fn parts(self, direction: TimeDirection) -> [Cow<'static, str>; 4] {
        let lanes = self.lanes_of(direction);
        let sizes = wgsl_constants(&[
            ("SEQUENCES", self.sequences),
            ("GROUPS", self.groups),
            ("EACH", self.each),
            ("LANES", lanes),
        ]);
        let sums = match (self.sequences, lanes) {
            (2, 1) => include_str!("../../../shaders/common/one_lane_two_sequences.wgsl"),
            (_, 1) => include_str!("../../../shaders/common/one_lane.wgsl"),
            (1, _) => include_str!("../../../shaders/common/lanes_one_sequence.wgsl"),
            (2, _) => include_str!("../../../shaders/common/lanes_two_sequences.wgsl"),
            _ => include_str!("../../../shaders/common/lanes.wgsl"),
        };
        let [rows, loads] = if self.finishes_four(direction) {
            [
                include_str!("../../../shaders/common/four.wgsl"),
                include_str!("../../../shaders/common/load_four.wgsl"),
            ]
        } else {
            [
                include_str!("../../../shaders/common/one.wgsl"),
                include_str!("../../../shaders/common/load_one.wgsl"),
            ]
        };
        [sizes.into(), sums.into(), rows.into(), loads.into()]
    }
}
