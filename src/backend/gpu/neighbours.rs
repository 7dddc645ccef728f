//! A test of the layout of subgroups, with which the lanes of a scan share sums.
//!
//! Lanes assume that consecutive invocations are neighbours in a subgroup. All known drivers do it
//! so, but no API promises it, and wgpu cannot ask for full subgroups (it allows subgroups of
//! varying size). A device that does it otherwise gets scans without lanes.

use super::GpuDevice;
use super::pipelines::ShaderEdit;
use super::probe::Probe;
use crate::error::Result;

/// Workgroups that are tested.
const WORKGROUPS: usize = 4;

impl GpuDevice {
    /// Returns the number of consecutive invocations that are neighbours in a subgroup, at most
    /// `most`, a power of two: in workgroups of the sizes that scans use. `edit` puts a mistake
    /// into the kernel.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn measure_neighbours(
        &self,
        most: usize,
        edit: Option<ShaderEdit>,
    ) -> Result<usize> {
        let mut source = include_str!("../../../shaders/device/neighbours.wgsl").to_string();
        if let Some(edit) = edit.filter(|edit| edit.kernel == "neighbours") {
            source = source.replacen(edit.from, edit.to, 1);
        }
        let mut lanes = most;
        // One that is no multiple of larger subgroups, WebGPU's largest, and this device's largest.
        let mut widths = vec![96, 256, self.tuning.tile.invocations];
        widths.dedup();
        for width in widths {
            if lanes == 1 {
                break;
            }
            let distances = lanes.ilog2() as usize;
            let probe = Probe {
                name: "neighbours",
                source: &source,
                constants: &[("WIDTH", width as f64), ("MOST", lanes as f64)],
                workgroups: WORKGROUPS as u32,
            };
            let found = self.probe(&probe, &vec![u32::MAX; WORKGROUPS * distances * width])?;
            lanes = lanes.min(neighbours(&found, width, distances));
        }
        Ok(lanes)
    }
}

/// Returns the number of neighbours that `found` `[workgroups, distances, width]` shows.
fn neighbours(found: &[u32], width: usize, distances: usize) -> usize {
    let is_right = |distance: usize| {
        found.chunks(width * distances).all(|workgroup| {
            let row = &workgroup[distance * width..(distance + 1) * width];
            (0..)
                .zip(row)
                .all(|(lane, &other)| other == lane ^ (1 << distance))
        })
    };
    1 << (0..distances)
        .take_while(|&distance| is_right(distance))
        .count()
}

#[cfg(test)]
mod tests {
    use super::neighbours;

    #[test]
    fn neighbours_are_those_of_all_workgroups_and_shorter_distances() {
        let row = |distance: u32| (0..8).map(move |lane: u32| lane ^ distance);
        let found: Vec<u32> = [1, 2, 4, 1, 2, 4].into_iter().flat_map(row).collect();
        assert_eq!(neighbours(&found, 8, 3), 8);
        for (wrong, expected) in [(47, 4), (23, 4), (16 + 24, 4), (12, 2), (31, 1), (0, 1)] {
            let mut found = found.clone();
            found[wrong] ^= 8;
            assert_eq!(neighbours(&found, 8, 3), expected, "{wrong}");
        }
    }
}
