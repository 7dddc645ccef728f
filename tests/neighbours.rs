//! Lanes of scans share sums only on devices whose subgroups hold consecutive invocations.

mod common;

use gatescan::low_level::backend::gpu::{GpuDevice, ShaderEdit};

/// Opens the tested GPU as if its subgroups had another layout.
fn opened_as(to: &'static str) -> Option<GpuDevice> {
    let index = common::gpu()?.summary.index;
    let edit = ShaderEdit {
        kernel: "neighbours",
        from: "subgroupShuffleXor(lane, distance)",
        to,
    };
    Some(GpuDevice::open_with(index, Some(edit)).expect("it opens"))
}

#[test]
fn subgroups_of_another_layout_are_not_used() {
    let Some(device) = common::gpu() else {
        return;
    };
    let lanes = device.summary.shared_lanes();
    // No software driver that the tests use has another layout.
    assert_eq!(device.tuning.shared_lanes, lanes);
    if lanes < 4 {
        return;
    }
    for (layout, expected) in [
        // Reversed invocations are neighbours too.
        (
            "WIDTH - 1u - subgroupShuffleXor(WIDTH - 1u - lane, distance)",
            lanes,
        ),
        // Strided: neighbours are WIDTH / 4 apart.
        ("subgroupShuffleXor(lane, distance) ^ (WIDTH / 4u)", 1),
        // Subgroups that hold pairs of neighbours only.
        (
            "select(lane ^ 1u, lane ^ (8u * distance), distance > 1u)",
            2,
        ),
        // The last invocations are in a subgroup of their own.
        ("select(lane ^ distance, lane, lane == WIDTH - 1u)", 1),
    ] {
        let mut device = opened_as(layout).expect("the GPU is there");
        assert_eq!(device.tuning.shared_lanes, expected, "{layout}");
        assert!(device.tuning.tile.lanes <= expected);
        let refused = device.tuning.set(&format!("scan_lanes={}", 2 * expected));
        assert_eq!(refused.is_err(), 2 * expected > device.tuning.shared_lanes);
    }
}
