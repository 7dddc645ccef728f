/// The part of the batch that a workgroup of a scan takes through time on a GPU, and how its
/// invocations share the work. Small tiles give many workgroups, which hide memory latency; large
/// tiles load fewer weights for each multiply-add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Groups of four sequences in a workgroup: 1, 2 or 4.
    pub groups: usize,
    /// Elements of the state gradient that an invocation computes at a time: 1, 2 or 4.
    pub each: usize,
    /// Neighbouring lanes of a subgroup that share the inner dimension of a matmul: 1, 2 or 4; 1 on
    /// a device without subgroups.
    pub lanes: usize,
    /// Largest number of invocations of a workgroup, a multiple of 32.
    pub invocations: usize,
    /// Bytes of workgroup memory that a scan may use. What remains beside its vectors caches the
    /// first rows of the weights.
    pub memory: usize,
}

impl Tile {
    /// The smallest tile, with the number of invocations that WebGPU guarantees.
    pub const SMALLEST: Tile = Tile {
        groups: 1,
        each: 1,
        lanes: 1,
        invocations: 256,
        memory: 0,
    };

    /// Returns the tile's WGSL: its array sizes, as constants since WGSL allows no `override` as
    /// the size of a function's array, and the sum over lanes.
    pub(super) fn parts(self) -> [String; 2] {
        let sizes = format!(
            "const GROUPS = {}u;\nconst EACH = {}u;\n",
            self.groups, self.each
        );
        let lanes = if self.lanes == 1 {
            include_str!("../../../shaders/common/one_lane.wgsl")
        } else {
            include_str!("../../../shaders/common/lanes.wgsl")
        };
        [sizes, lanes.into()]
    }
}
