//! The assignment of invocations to the lanes of subgroups, which WGSL leaves to the device.

/// The order in which the invocations of a workgroup become lanes of subgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LaneOrder {
    /// Consecutive invocations are consecutive lanes.
    Linear,
    /// As linear, with the lanes of each subgroup in descending order.
    Reversed,
    /// Consecutive invocations are in consecutive subgroups.
    Strided,
}

impl LaneOrder {
    /// Every order.
    pub const ALL: [LaneOrder; 3] = [LaneOrder::Linear, LaneOrder::Reversed, LaneOrder::Strided];

    /// The order in one word.
    pub fn name(self) -> &'static str {
        match self {
            LaneOrder::Linear => "linear",
            LaneOrder::Reversed => "reversed",
            LaneOrder::Strided => "strided",
        }
    }
}

/// The subgroups of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subgroups {
    /// Lanes of a subgroup: a power of two, at most 128.
    pub size: usize,
    pub order: LaneOrder,
}

impl Subgroups {
    /// The sizes that devices have.
    pub const SIZES: [usize; 7] = [1, 4, 8, 16, 32, 64, 128];

    /// Returns the subgroup and the lane of an invocation of a workgroup of `count`.
    pub(super) fn lane_of(self, invocation: usize, count: usize) -> (usize, usize) {
        let (group, lane) = (invocation / self.size, invocation % self.size);
        match self.order {
            LaneOrder::Linear => (group, lane),
            LaneOrder::Reversed => (group, self.size - 1 - lane),
            LaneOrder::Strided => {
                let groups = count.div_ceil(self.size);
                (invocation % groups, invocation / groups)
            }
        }
    }

    /// Whether `lanes` consecutive invocations are neighbours in a subgroup: the lanes of
    /// invocations i and i xor d differ by xor d, for every d below `lanes`. `lanes` is a power of
    /// two.
    pub(super) fn keeps_neighbours(self, lanes: usize) -> bool {
        let count = 4 * self.size.max(lanes);
        (0..count).all(|invocation| {
            let (group, lane) = self.lane_of(invocation, count);
            (1..lanes).all(|distance| {
                let other = self.lane_of(invocation ^ distance, count);
                other == (group, lane ^ distance)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_stay_together_except_in_strided_subgroups() {
        for size in Subgroups::SIZES {
            for order in LaneOrder::ALL {
                let subgroups = Subgroups { size, order };
                let expected = order != LaneOrder::Strided && size >= 4;
                assert_eq!(subgroups.keeps_neighbours(4), expected, "{subgroups:?}");
                assert!(subgroups.keeps_neighbours(1));
            }
        }
    }

    #[test]
    fn every_lane_has_one_invocation() {
        for size in Subgroups::SIZES {
            for order in LaneOrder::ALL {
                let subgroups = Subgroups { size, order };
                let lanes = (0..256).map(|invocation| subgroups.lane_of(invocation, 256));
                let lanes: std::collections::BTreeSet<_> = lanes.collect();
                assert_eq!(lanes.len(), 256);
                assert!(
                    lanes
                        .iter()
                        .all(|&(group, lane)| lane < size && group < 256 / size)
                );
            }
        }
    }
}
