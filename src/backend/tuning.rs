//! What a recording has to know of the device that will play it, and how it is to be played there.

use super::adapter::{AdapterKind, AdapterSummary};
use crate::error::{Error, Result};
use crate::kernels::{Gemm, Kernel, Recurrence, Tile};
use crate::messages::{did_you_mean, listed};

/// Terms of a sum that are worth a slice of their own.
const SLICE: usize = 128;

/// How a layer goes through time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// All steps in one dispatch, the state in workgroup memory.
    Scan,
    /// One dispatch a step.
    Step,
}

/// What a recording has to know of the device that will play it, and how it is to be played there.
///
/// | | tile | workgroups |
/// |---|---|---|
/// | CPU | | |
/// | a GPU | 1 group, 1 element | 1 |
/// | a driver that computes on the CPU | up to 4 groups, 4 elements | one for each thread |
///
/// On a GPU many invocations hide what memory takes; where the CPU computes, there is no memory to wait for, each load costs many
/// multiply-adds, and few threads share the workgroups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// Bytes of memory that a workgroup may have.
    pub workgroup_memory: u32,
    /// The widest layer for which a scan pays.
    pub largest_scan: usize,
    /// Multiply-adds after which a scan is cut along time, so that no dispatch runs into a watchdog.
    pub scan_work: usize,
    /// Takes this route, whatever the sizes are.
    pub route: Option<Route>,
    /// The largest tiles of a scan.
    pub tile: Tile,
    /// Invocations along each side of a product's largest tiles: 8 or 16.
    pub gemm_side: usize,
    /// Workgroups that it takes to keep the device busy: below it tiles do not grow, and long sums are cut.
    pub workgroups: usize,
    /// Iterations of its loops after which an invocation of a kernel is cut short, as by some drivers that compute on the CPU.
    pub iterations: usize,
    /// Whether the device has subgroups, whose lanes can share sums.
    pub subgroups: bool,
    /// Whether the recurrent weights are laid out in buffers of their own, as kernels of a GPU read them.
    pub packs_weights: bool,
    /// Whether shaders check at run time what the host has proved, too.
    pub checks: bool,
    /// Bytes that data may take on the device; what is more is streamed through a window. `None`: as many as it holds.
    pub data_memory: Option<u64>,
}

impl Default for Tuning {
    /// What WebGPU promises everywhere.
    fn default() -> Self {
        Tuning {
            workgroup_memory: 16 << 10,
            largest_scan: 512,
            scan_work: 1 << 32,
            route: None,
            tile: Tile::SMALLEST,
            gemm_side: Gemm::SIDE,
            workgroups: 128,
            iterations: usize::MAX,
            subgroups: false,
            packs_weights: true,
            checks: false,
            data_memory: None,
        }
    }
}

/// What [`Tuning::set`] takes: a name, and the values that it has.
const SETTINGS: [(&str, &str); 11] = [
    ("route", "scan, steps or auto"),
    ("scan_tile", "1, 2 or 4 groups of four sequences"),
    ("scan_each", "1, 2 or 4 elements of the state"),
    (
        "scan_lanes",
        "1, 2 or 4 lanes of a subgroup, and 1 on a device without them",
    ),
    (
        "scan_memory",
        "a number of KiB of workgroup memory, of those that the device has",
    ),
    ("gemm_side", "8 or 16 invocations"),
    ("workgroups", "a number from 1"),
    ("largest_scan", "a number of hidden units from 1"),
    ("scan_work", "a number of multiply-adds from 1"),
    ("checks", "on or off"),
    ("data_memory", "a number of MiB from 1"),
];

impl Tuning {
    /// For the CPU, whose scan has no such limits.
    pub fn cpu() -> Self {
        Tuning {
            workgroup_memory: u32::MAX,
            largest_scan: usize::MAX,
            scan_work: usize::MAX,
            workgroups: 1,
            packs_weights: false,
            ..Tuning::default()
        }
    }

    /// For a driver that computes on the CPU.
    pub fn software(self) -> Self {
        Tuning {
            tile: Tile {
                groups: 4,
                each: 4,
                // One thread takes all of them, one after the other; and all its memory is alike.
                lanes: 1,
                memory: 0,
                ..self.tile
            },
            workgroups: std::thread::available_parallelism().map_or(1, usize::from),
            ..self
        }
    }

    /// A product in tiles as large as leave enough workgroups: the larger, the fewer times its matrices are read.
    pub(crate) fn tiled(&self, product: Gemm) -> Gemm {
        let largest = Gemm {
            side: self.gemm_side,
            ..product.clone()
        };
        let [columns, rows, slices] = largest.grid().map(|workgroups| workgroups as usize);
        match columns * rows * slices >= self.workgroups {
            true => largest,
            false => product,
        }
    }

    /// Parts to cut a product's sums over the steps of `batch` sequences into: as many as keep the device busy, while a part is
    /// long enough to pay; and as many as it takes for each to be computed whole.
    pub(crate) fn slices(&self, product: &Gemm, batch: usize) -> usize {
        let [columns, rows, _] = product.grid().map(|workgroups| workgroups as usize);
        let busy = (self.workgroups / (columns * rows)).min(product.inner() / SLICE);
        let whole = product.iterations().div_ceil(self.iterations);
        busy.max(whole).clamp(1, batch)
    }

    /// For this adapter: what its limits are, and what pays on one of its kind.
    pub fn of_adapter(adapter: &AdapterSummary) -> Self {
        let subgroups = adapter.features.subgroups && adapter.limits.subgroup_sizes.0 >= 4;
        let tuning = Tuning {
            workgroup_memory: adapter.limits.workgroup_memory_bytes,
            subgroups,
            tile: Tile {
                lanes: if subgroups { 4 } else { 1 },
                memory: adapter.limits.workgroup_memory_bytes as usize,
                ..Tile::SMALLEST
            },
            ..Tuning::default()
        };
        match adapter.kind {
            AdapterKind::Discrete | AdapterKind::Virtual => {
                // With more an invocation would have fewer registers than a scan takes; and Metal decides by its registers how many
                // a kernel may have, of which only those that WebGPU promises are sure.
                let most = if adapter.backend == "metal" { 256 } else { 512 };
                Tuning {
                    tile: Tile {
                        invocations: adapter.limits.max_workgroup_invocations.min(most) as usize,
                        ..tuning.tile
                    },
                    gemm_side: 16,
                    ..tuning
                }
            }
            // A scan is one dispatch, which no submission can cut: at 20 GFLOP/s this is 50 ms.
            AdapterKind::Integrated | AdapterKind::Other => Tuning {
                scan_work: 1 << 29,
                ..tuning
            },
            AdapterKind::Software => tuning.software(),
        }
    }

    /// Makes a change that a user asks for, as in `scan_tile=4`, `route=steps` or `checks=on`.
    ///
    /// # Errors
    /// [`Error::Usage`] for what is no such setting, or a value that it does not have.
    pub fn set(&mut self, setting: &str) -> Result<()> {
        let refused = |problem: String| Err(Error::usage(format!("--tune {setting}: {problem}")));
        let names = SETTINGS.map(|(name, _)| name);
        let Some((name, value)) = setting.split_once('=') else {
            return refused(format!("it must be NAME=VALUE, with {}", listed(&names)));
        };
        let number = value.parse().ok().filter(|&number: &usize| number > 0);
        let side = number.filter(|number| [1, 2, 4].contains(number));
        let route = match value {
            "scan" => Some(Some(Route::Scan)),
            "steps" => Some(Some(Route::Step)),
            "auto" => Some(None),
            _ => None,
        };
        let switch = match value {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        };
        let done = match name {
            "route" => route.map(|route| self.route = route),
            "scan_tile" => side.map(|groups| self.tile.groups = groups),
            "scan_each" => side.map(|each| self.tile.each = each),
            "scan_lanes" => {
                let can = |lanes: &usize| *lanes == 1 || self.subgroups;
                side.filter(can).map(|lanes| self.tile.lanes = lanes)
            }
            "scan_memory" => {
                let bytes = value
                    .parse()
                    .ok()
                    .and_then(|kib: usize| kib.checked_mul(1 << 10));
                bytes
                    .filter(|&bytes| bytes <= self.workgroup_memory as usize)
                    .map(|bytes| self.tile.memory = bytes)
            }
            "gemm_side" => number
                .filter(|number| [8, 16].contains(number))
                .map(|side| self.gemm_side = side),
            "workgroups" => number.map(|number| self.workgroups = number),
            "largest_scan" => number.map(|number| self.largest_scan = number),
            "scan_work" => number.map(|number| self.scan_work = number),
            "data_memory" => number
                .map(|number| self.data_memory = Some((number as u64).saturating_mul(1 << 20))),
            "checks" => switch.map(|checks| self.checks = checks),
            _ => {
                let similar = did_you_mean(name, &names);
                return refused(format!(
                    "there is no `{name}`{similar}; there is {}",
                    listed(&names)
                ));
            }
        };
        let values = SETTINGS.iter().find(|(known, _)| *known == name);
        let values = values.map_or("", |(_, values)| values);
        done.map_or_else(|| refused(format!("`{name}` takes {values}")), Ok)
    }

    /// The tile of a layer's scans: the largest that fits and leaves enough workgroups and invocations; lanes where those are few, and weights kept.
    pub(crate) fn tile(&self, layer: &Recurrence) -> Tile {
        let fits = |groups: &usize| {
            layer.scan_memory() * *groups as u128 <= u128::from(self.workgroup_memory)
                && layer.batch.div_ceil(4 * groups) >= self.workgroups
                && layer.batch.div_ceil(4) >= *groups
        };
        let fills = |each: &usize| layer.output_size >= 8 * each;
        let sizes = |largest: usize| [4, 2].into_iter().filter(move |&size| size <= largest);
        let groups = sizes(self.tile.groups).find(fits).unwrap_or(1);
        let workgroups = layer.batch.div_ceil(4 * groups);
        // The fewer workgroups there are, the more each has to have at work.
        let pays = |lanes: &usize| {
            workgroups * lanes <= self.workgroups
                && layer.hidden_size * lanes <= self.tile.invocations
        };
        // Where there are many, several share the memory of a core.
        let is_alone = workgroups <= self.workgroups;
        Tile {
            groups,
            each: sizes(self.tile.each).find(fills).unwrap_or(1),
            lanes: sizes(self.tile.lanes).find(pays).unwrap_or(1),
            memory: if is_alone { self.tile.memory } else { 0 },
            ..self.tile
        }
    }

    /// The route for a layer.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] where the scan is asked for and the layer's state does not fit in a workgroup's memory.
    pub(crate) fn route(&self, layer: &Recurrence) -> Result<Route> {
        let needed = layer.scan_memory();
        let widest = layer.hidden_size.max(layer.output_size);
        let fits = needed <= u128::from(self.workgroup_memory);
        match self.route {
            Some(Route::Scan) if !fits => Err(Error::LimitExceeded {
                what: format!("a scan over {} hidden units", layer.hidden_size),
                needed: format!("{needed} bytes of workgroup memory"),
                device: "the device".into(),
                limit: self.workgroup_memory.to_string(),
                remedy: "use the route `steps`".into(),
            }),
            Some(route) => Ok(route),
            None if fits && widest <= self.largest_scan => Ok(Route::Scan),
            None => Ok(Route::Step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_change_what_they_name() {
        let mut tuning = Tuning {
            subgroups: true,
            ..Tuning::default()
        };
        for setting in [
            "route=steps",
            "scan_tile=4",
            "scan_each=2",
            "scan_lanes=4",
            "scan_memory=12",
            "gemm_side=16",
            "workgroups=3",
            "largest_scan=7",
            "scan_work=9",
            "checks=on",
        ] {
            tuning.set(setting).unwrap();
        }
        let expected = Tuning {
            largest_scan: 7,
            scan_work: 9,
            route: Some(Route::Step),
            tile: Tile {
                groups: 4,
                each: 2,
                lanes: 4,
                memory: 12 << 10,
                ..Tile::SMALLEST
            },
            gemm_side: 16,
            workgroups: 3,
            checks: true,
            ..tuning
        };
        assert_eq!(tuning, expected);
        tuning.set("route=auto").unwrap();
        assert_eq!(tuning.route, None);
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        let problem = |setting: &str| {
            let error = Tuning::default().set(setting).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert!(problem("scan_tiles=4").contains("did you mean `scan_tile`?"));
        assert!(problem("route").contains("NAME=VALUE"));
        assert!(problem("route=step").contains("`route` takes scan, steps or auto"));
        for setting in [
            "scan_tile=3",
            "scan_each=0",
            "scan_memory=17",
            "workgroups=-1",
            "scan_work=",
            "largest_scan=x",
            "checks=1",
        ] {
            assert!(problem(setting).contains(" takes "), "{setting}");
        }
        // Every name in the list is one that is set.
        for (name, _) in SETTINGS {
            assert!(problem(&format!("{name}=?")).contains(&format!("`{name}` takes ")));
        }
    }
}
