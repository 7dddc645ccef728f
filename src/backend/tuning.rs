//! The sizes and choices with which a program is recorded for a device.

use super::adapter::{AdapterKind, AdapterSummary};
use super::gpu_class;
use crate::error::{Error, Result};
use crate::kernels::{Gemm, Kernel, Recurrence, RowsEach, Tile, TimeDirection};
use crate::messages::{did_you_mean, listed};
use crate::numeric::precision::Precision;

/// The inner dimension of a matmul that is worth a slice.
const SLICE: usize = 128;

/// Invocations of a workgroup for which a GPU has enough registers in any case.
const USUAL_INVOCATIONS: usize = 512;

/// The part of the cached weights that is nearly all of them: a first cache makes up for the rest.
const NEARLY: f64 = 15.0 / 16.0;

/// The dispatches of a layer's time loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// All steps in one dispatch, with the state in workgroup memory.
    Scan,
    /// One dispatch per step.
    Step,
}

/// The sizes and choices with which a program is recorded for a device.
///
/// | | tile | workgroups |
/// |---|---|---|
/// | CPU | | |
/// | a GPU | 1 group, 1 element | 128 |
/// | a driver that computes on the CPU | up to 4 groups, 4 elements | one per thread |
///
/// On a GPU many invocations hide the latency of memory. On the CPU memory has little latency, each
/// load costs many multiply-adds, and few threads share the workgroups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// Bytes of memory of a workgroup.
    pub workgroup_memory: u32,
    /// The largest H and P of a layer that is scanned.
    pub largest_scan: usize,
    /// Multiply-adds after which a scan is cut into chunks of time, so that no dispatch runs into a
    /// watchdog.
    pub scan_work: usize,
    /// The route of every layer; `None` chooses it by the layer's size.
    pub route: Option<Route>,
    /// The largest tiles of a scan.
    pub tile: Tile,
    /// Invocations along each side of a GEMM's largest tiles: 8 or 16.
    pub gemm_side: usize,
    /// Rows that an invocation of a GEMM computes, by 8 columns.
    pub gemm_rows: RowsEach,
    /// Workgroups that keep the device busy: with fewer, tiles do not grow and long sums are cut.
    pub workgroups: usize,
    /// Cores of the device (compute units, streaming multiprocessors), each with its own workgroup
    /// memory. Workgroups beyond them share a core's memory.
    pub cores: usize,
    /// Invocations of scans for which a core has registers. Workgroups beyond them wait, so they do
    /// not share its memory.
    pub core_invocations: usize,
    /// Bytes of workgroup memory that a scan takes for each invocation at most: the first of these,
    /// or a later one with which it caches nearly as many weights. Without any, there is no limit.
    pub invocation_memory: &'static [usize],
    /// Loop iterations after which some drivers that compute on the CPU stop an invocation.
    pub iterations: usize,
    /// Neighbouring lanes of a subgroup that can share sums, a power of two; 1 on a device without
    /// subgroups, or whose subgroups have another layout.
    pub shared_lanes: usize,
    /// Whether shaders of the device can have f16.
    pub halves: bool,
    /// Whether recurrent weights are copied to packed buffers, which GPU kernels read.
    pub packs_weights: bool,
    /// Whether shaders check bounds at run time that the host has proved.
    pub checks: bool,
    /// Bytes for data on the device; larger data are streamed. `None`: as many as the device has.
    pub data_memory: Option<u64>,
    /// Steps of the chunks of time of which only the states before them are kept for the backward
    /// pass, which computes the rest again. `None`: everything is kept.
    pub recompute: Option<usize>,
    /// To what the operands of matmuls are rounded. A recipe decides it for its training.
    pub precision: Precision,
    /// Whether the device is a CPU whose processor multiplies in bf16.
    pub bf16: bool,
}

impl Default for Tuning {
    /// The limits that WebGPU guarantees.
    fn default() -> Self {
        Tuning {
            workgroup_memory: 16 << 10,
            largest_scan: 512,
            // Where a usize has 32 bits, the largest power of two.
            scan_work: 1 << if usize::BITS > 32 { 32 } else { 31 },
            route: None,
            tile: Tile::SMALLEST,
            gemm_side: Gemm::SIDE,
            gemm_rows: RowsEach::default(),
            workgroups: 128,
            cores: 8,
            core_invocations: usize::MAX,
            invocation_memory: &[],
            iterations: usize::MAX,
            shared_lanes: 1,
            halves: false,
            packs_weights: true,
            checks: false,
            data_memory: None,
            recompute: None,
            precision: Precision::F32,
            bf16: false,
        }
    }
}

/// A setting of [`Tuning`] that a user can change by name.
struct Setting {
    name: &'static str,
    /// The allowed values, as a noun phrase.
    allowed: &'static str,
    /// Sets the value; `None` where it is not allowed.
    set: fn(&mut Tuning, &str) -> Option<()>,
    /// Returns the value as `set` reads it; `None` where it is not set.
    get: fn(&Tuning) -> Option<String>,
}

/// Every setting.
const SETTINGS: [Setting; 17] = [
    Setting {
        name: "route",
        allowed: "scan, steps or auto",
        set: |tuning, value| {
            tuning.route = match value {
                "scan" => Some(Route::Scan),
                "steps" => Some(Route::Step),
                "auto" => None,
                _ => return None,
            };
            Some(())
        },
        get: |tuning| {
            let route = match tuning.route {
                Some(Route::Scan) => "scan",
                Some(Route::Step) => "steps",
                None => "auto",
            };
            Some(route.into())
        },
    },
    Setting {
        name: "scan_tile",
        allowed: "1, 2 or 4 groups of sequences",
        set: |tuning, value| assign(&mut tuning.tile.groups, one_of(value, &[1, 2, 4])),
        get: |tuning| Some(tuning.tile.groups.to_string()),
    },
    Setting {
        name: "scan_each",
        allowed: "1, 2 or 4 elements of the state",
        set: |tuning, value| assign(&mut tuning.tile.each, one_of(value, &[1, 2, 4])),
        get: |tuning| Some(tuning.tile.each.to_string()),
    },
    Setting {
        name: "scan_lanes",
        allowed: "1, 2, 4, 8 or 16 lanes of a subgroup, at most those of `gatescan devices`",
        set: |tuning, value| {
            let lanes = one_of(value, &[1, 2, 4, 8, 16]);
            let lanes = lanes.filter(|&lanes| lanes <= tuning.shared_lanes);
            assign(&mut tuning.tile.lanes, lanes)
        },
        get: |tuning| Some(tuning.tile.lanes.to_string()),
    },
    Setting {
        name: "scan_back_lanes",
        allowed: "1, 2, 4, 8 or 16 lanes in the backward pass, at most those of `gatescan devices`",
        set: |tuning, value| {
            let lanes = one_of(value, &[1, 2, 4, 8, 16]);
            let lanes = lanes.filter(|&lanes| lanes <= tuning.shared_lanes);
            assign(&mut tuning.tile.back_lanes, lanes)
        },
        get: |tuning| Some(tuning.tile.back_lanes.to_string()),
    },
    Setting {
        name: "scan_memory",
        allowed: "KiB of workgroup memory for state and cached weights, at most what the device has",
        set: |tuning, value| {
            let bytes = value
                .parse()
                .ok()
                .and_then(|kib: usize| kib.checked_mul(1 << 10));
            let bytes = bytes.filter(|&bytes| bytes <= tuning.workgroup_memory as usize);
            assign(&mut tuning.tile.memory, bytes)
        },
        get: |tuning| Some((tuning.tile.memory >> 10).to_string()),
    },
    Setting {
        name: "scan_registers",
        allowed: "0 to 256 recurrent weights that an invocation keeps in registers",
        set: |tuning, value| {
            let registers = value.parse().ok().filter(|&registers| registers <= 256);
            assign(&mut tuning.tile.registers, registers)
        },
        get: |tuning| Some(tuning.tile.registers.to_string()),
    },
    Setting {
        name: "scan_halves",
        allowed: "off, or on for weights in registers as f16, on a device whose shaders have f16",
        set: |tuning, value| {
            tuning.tile.halves = match value {
                "on" if tuning.halves => true,
                "off" => false,
                _ => return None,
            };
            Some(())
        },
        get: |tuning| Some(if tuning.tile.halves { "on" } else { "off" }.into()),
    },
    Setting {
        name: "scan_sequences",
        allowed: "1, 2 or 4 sequences of a group at least, fewer than 4 while cores are idle",
        set: |tuning, value| assign(&mut tuning.tile.sequences, one_of(value, &[1, 2, 4])),
        get: |tuning| Some(tuning.tile.sequences.to_string()),
    },
    Setting {
        name: "gemm_side",
        allowed: "8 or 16 invocations",
        set: |tuning, value| assign(&mut tuning.gemm_side, one_of(value, &[8, 16])),
        get: |tuning| Some(tuning.gemm_side.to_string()),
    },
    Setting {
        name: "gemm_rows",
        allowed: "4 or 8 rows of an invocation",
        set: |tuning, value| {
            let count = one_of(value, &RowsEach::ALL.map(RowsEach::count));
            let rows = RowsEach::ALL
                .into_iter()
                .find(|rows| Some(rows.count()) == count);
            assign(&mut tuning.gemm_rows, rows)
        },
        get: |tuning| Some(tuning.gemm_rows.count().to_string()),
    },
    Setting {
        name: "workgroups",
        allowed: "a number of workgroups, at least 1",
        set: |tuning, value| assign(&mut tuning.workgroups, at_least_one(value)),
        get: |tuning| Some(tuning.workgroups.to_string()),
    },
    Setting {
        name: "cores",
        allowed: "a number of cores of the device, at least 1, whose memory workgroups share",
        set: |tuning, value| assign(&mut tuning.cores, at_least_one(value)),
        get: |tuning| Some(tuning.cores.to_string()),
    },
    Setting {
        name: "largest_scan",
        allowed: "a number of hidden units, at least 1",
        set: |tuning, value| assign(&mut tuning.largest_scan, at_least_one(value)),
        get: |tuning| Some(tuning.largest_scan.to_string()),
    },
    Setting {
        name: "scan_work",
        allowed: "a number of multiply-adds, at least 1",
        set: |tuning, value| assign(&mut tuning.scan_work, at_least_one(value)),
        get: |tuning| Some(tuning.scan_work.to_string()),
    },
    Setting {
        name: "checks",
        allowed: "on or off, for bounds checks in shaders that the host has proved",
        set: |tuning, value| {
            tuning.checks = match value {
                "on" => true,
                "off" => false,
                _ => return None,
            };
            Some(())
        },
        get: |tuning| Some(if tuning.checks { "on" } else { "off" }.into()),
    },
    Setting {
        name: "data_memory",
        allowed: "a number of MiB for data, at least 1; larger data are streamed",
        set: |tuning, value| {
            let bytes = at_least_one(value).map(|mib| (mib as u64).saturating_mul(1 << 20));
            assign(&mut tuning.data_memory, bytes.map(Some))
        },
        get: |tuning| Some((tuning.data_memory? >> 20).to_string()),
    },
];

fn assign<T>(field: &mut T, value: Option<T>) -> Option<()> {
    *field = value?;
    Some(())
}

fn at_least_one(value: &str) -> Option<usize> {
    value.parse().ok().filter(|&number| number > 0)
}

fn one_of(value: &str, allowed: &[usize]) -> Option<usize> {
    value.parse().ok().filter(|number| allowed.contains(number))
}

/// Returns the rows for an invocation of a GEMM, by what the vendors' compilers make of them
/// (docs/src/development/compilers.md): 8 rows spill on Intel's and NVIDIA's GPUs, and leave room
/// for one subgroup on GCN. RDNA, whose subgroups have 32 or 64 lanes, has the registers, and the
/// fewest cycles for an element with them. A CPU has no subgroups to make room for.
fn gemm_rows(adapter: &AdapterSummary) -> RowsEach {
    if adapter.is_software() || adapter.limits.subgroup_sizes == (32, 64) {
        RowsEach::Eight
    } else {
        RowsEach::Four
    }
}

impl Tuning {
    /// Returns the settings of [`Tuning::set`] and their allowed values, for a help text.
    pub fn settings_help() -> String {
        let setting = |setting: &Setting| format!("{} ({})", setting.name, setting.allowed);
        SETTINGS.iter().map(setting).collect::<Vec<_>>().join(", ")
    }

    /// Returns every setting as [`Tuning::set`] reads it, except for those that are not set.
    pub fn settings(&self) -> Vec<String> {
        let setting =
            |setting: &Setting| Some(format!("{}={}", setting.name, (setting.get)(self)?));
        SETTINGS.iter().filter_map(setting).collect()
    }

    /// For the CPU, whose scans have no limits.
    pub fn cpu() -> Self {
        Tuning {
            workgroup_memory: u32::MAX,
            largest_scan: usize::MAX,
            scan_work: usize::MAX,
            workgroups: 1,
            packs_weights: false,
            bf16: Precision::Bf16.is_supported(),
            ..Tuning::default()
        }
    }

    /// For a driver that computes on the CPU.
    pub fn software(self) -> Self {
        Tuning {
            tile: Tile {
                groups: 4,
                each: 4,
                // One thread runs all lanes in turn, and all memory is equally fast.
                lanes: 1,
                back_lanes: 1,
                memory: 0,
                ..self.tile
            },
            workgroups: std::thread::available_parallelism().map_or(1, usize::from),
            ..self
        }
    }

    /// For this adapter: its limits, and the choices for its kind.
    pub fn of_adapter(adapter: &AdapterSummary) -> Self {
        let shared_lanes = adapter.shared_lanes();
        let class = gpu_class::class_of(adapter);
        let tuning = Tuning {
            workgroup_memory: adapter.limits.workgroup_memory_bytes,
            shared_lanes,
            halves: adapter.features.f16,
            cores: gpu_class::cores(adapter),
            core_invocations: class.map_or(usize::MAX, |class| class.scan_invocations),
            invocation_memory: class.map_or(&[], |class| class.invocation_memory),
            tile: Tile {
                each: if shared_lanes > 1 { 4 } else { 1 },
                lanes: shared_lanes.min(4),
                back_lanes: shared_lanes,
                memory: adapter.limits.workgroup_memory_bytes as usize,
                ..Tile::SMALLEST
            },
            gemm_rows: gemm_rows(adapter),
            ..Tuning::default()
        };
        let tuning = match adapter.kind {
            AdapterKind::Discrete | AdapterKind::Virtual => {
                // More invocations would leave each too few registers for a scan. Metal lowers the
                // limit of a kernel that needs many registers; WebGPU's 256 are guaranteed.
                let most = if adapter.backend == "metal" {
                    256
                } else {
                    USUAL_INVOCATIONS as u32
                };
                Tuning {
                    tile: Tile {
                        invocations: adapter.limits.max_workgroup_invocations.min(most) as usize,
                        ..tuning.tile
                    },
                    gemm_side: 16,
                    ..tuning
                }
            }
            // No submission can cut the one dispatch of a scan: at 20 GFLOP/s this takes 50 ms.
            AdapterKind::Integrated | AdapterKind::Other => Tuning {
                scan_work: 1 << 29,
                ..tuning
            },
            AdapterKind::Software => tuning.software(),
        };
        if class.is_some_and(|class| class.fills_core) && adapter.backend != "metal" {
            tuning.filling_cores(adapter.limits.max_workgroup_invocations as usize)
        } else {
            tuning
        }
    }

    /// Returns the tuning whose scans take all of a core with each workgroup, of at most `most`
    /// invocations.
    fn filling_cores(self, most: usize) -> Self {
        Tuning {
            tile: Tile {
                lanes: self.shared_lanes,
                invocations: self.core_invocations.min(most),
                ..self.tile
            },
            ..self
        }
    }

    /// Returns the tuning of a device of which a test has found that only so many neighbouring
    /// lanes can share sums.
    #[cfg(feature = "gpu")]
    pub(crate) fn with_shared_lanes(self, lanes: usize) -> Self {
        let loses_all = lanes == 1 && self.tile.back_lanes > 1;
        Tuning {
            shared_lanes: lanes,
            tile: Tile {
                // An invocation on its own would be the only busy one of four.
                each: if loses_all { 1 } else { self.tile.each },
                lanes: self.tile.lanes.min(lanes),
                back_lanes: self.tile.back_lanes.min(lanes),
                ..self.tile
            },
            ..self
        }
    }

    /// Changes a setting, given as NAME=VALUE: `scan_tile=4`, `route=steps`, `checks=on`.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown name or a value that is not allowed; the message begins with
    /// the setting.
    pub fn set(&mut self, setting: &str) -> Result<()> {
        let refused = |problem: String| Err(Error::usage(format!("{setting}: {problem}")));
        let names = SETTINGS.map(|setting| setting.name);
        let Some((name, value)) = setting.split_once('=') else {
            return refused(format!("it must be NAME=VALUE, with {}", listed(&names)));
        };
        let Some(known) = SETTINGS.iter().find(|known| known.name == name) else {
            let similar = did_you_mean(name, &names);
            let names = listed(&names);
            return refused(format!(
                "no setting is named `{name}`{similar}; use {names}"
            ));
        };
        match (known.set)(self, value) {
            Some(()) => Ok(()),
            None => refused(format!("`{name}` takes {}", known.allowed)),
        }
    }

    /// Returns the GEMM with the largest tiles that leave enough workgroups: the larger the tiles,
    /// the fewer times its matrices are read.
    pub(crate) fn tiled(&self, gemm: Gemm) -> Gemm {
        let gemm = Gemm {
            rows_each: self.gemm_rows,
            ..gemm
        };
        let largest = Gemm {
            side: self.gemm_side,
            ..gemm.clone()
        };
        let [columns, rows, slices] = largest.grid().map(|workgroups| workgroups as usize);
        if columns * rows * slices >= self.workgroups {
            largest
        } else {
            gemm
        }
    }

    /// Returns the number of slices for a GEMM's sums over the steps of `batch` sequences: enough
    /// to keep the device busy, while a slice is long enough, and enough that no slice exceeds the
    /// loop iterations of an invocation.
    pub(crate) fn slices(&self, gemm: &Gemm, batch: usize) -> usize {
        let [columns, rows, _] = gemm.grid().map(|workgroups| workgroups as usize);
        let busy = (self.workgroups / (columns * rows)).min(gemm.inner() / SLICE);
        let complete = gemm.iterations().div_ceil(self.iterations);
        busy.max(complete).clamp(1, batch)
    }

    /// Returns the tile of a layer's scans: the largest that fits and leaves enough workgroups and
    /// invocations. Lanes share sums while those are few; free memory caches weights. With
    /// registers for weights, as many lanes share sums as an invocation can have, so that they hold
    /// the most.
    pub(crate) fn tile(&self, layer: &Recurrence) -> Tile {
        if layer.options.layer_norm.is_some() {
            // Its scans have one tile.
            return Tile::SMALLEST;
        }
        let fits = |groups: &usize| {
            layer.scan_memory() * *groups as u128 <= u128::from(self.workgroup_memory)
                && layer.batch.div_ceil(4 * groups) >= self.workgroups
                && layer.batch.div_ceil(4) >= *groups
        };
        let fills = |each: &usize| layer.output_size >= 8 * each;
        let sizes = |largest: usize| {
            let all = [16, 8, 4, 2, 1].into_iter();
            all.filter(move |&size| size <= largest)
        };
        let groups = sizes(self.tile.groups).find(fits).unwrap_or(1);
        let sequences = self.sequences(layer, groups);
        let workgroups = layer.batch.div_ceil(sequences * groups);
        let needs_lanes = self.tile.registers > 0 || sequences < 4;
        // The fewer the workgroups, the more invocations each must have, up to its largest number.
        let most = self.largest_workgroup();
        let enough = self.workgroups * most.div_ceil(USUAL_INVOCATIONS);
        let pays = |lanes: &usize| {
            (needs_lanes || workgroups * lanes <= enough) && layer.hidden_size * lanes <= most
        };
        let lanes = sizes(self.tile.lanes).find(pays).unwrap_or(1);
        // In the backward pass each element adds lanes, so that the invocations stay the same.
        let shares = self.tile.back_lanes > 1;
        let reaches = |each: &usize| !shares || lanes * each <= self.tile.back_lanes;
        let each = sizes(self.tile.each).find(|each| fills(each) && reaches(each));
        let each = each.unwrap_or(1);
        let tile = Tile {
            groups,
            sequences,
            each,
            lanes,
            back_lanes: (lanes * each).min(self.tile.back_lanes),
            invocations: most,
            ..self.tile
        };
        Tile {
            memory: self.scan_memory(layer, tile),
            ..tile
        }
    }

    /// Returns the invocations of a scan's largest workgroup. With registers for weights, more than
    /// the usual number would leave each invocation too few.
    fn largest_workgroup(&self) -> usize {
        if self.tile.registers > 0 {
            self.tile.invocations.min(USUAL_INVOCATIONS)
        } else {
            self.tile.invocations
        }
    }

    /// Returns the bytes of workgroup memory of a scan with a tile.
    fn scan_memory(&self, layer: &Recurrence, tile: Tile) -> usize {
        // The workgroups that a core runs at once share its memory.
        let invocations = (layer.hidden_size * tile.lanes).min(tile.invocations);
        let workgroups = layer.batch.div_ceil(tile.sequences * tile.groups);
        let fitting = (self.core_invocations / invocations).max(1);
        let residents = workgroups.div_ceil(self.cores).clamp(1, fitting);
        let free = tile.memory / residents;
        if tile.registers > 0 {
            return free;
        }
        let with = |memory| Recurrence {
            tile: Tile { memory, ..tile },
            ..layer.clone()
        };
        let loses_little = |most: usize, less: usize| {
            let directions = [TimeDirection::Forward, TimeDirection::Backward];
            directions.into_iter().all(|direction| {
                let [most, less] =
                    [most, less].map(|memory| with(memory).scan_work(direction).cached_bytes);
                less >= NEARLY * most
            })
        };
        let sizes = self.invocation_memory.iter();
        let sizes = sizes.map(|size| free.min(size * invocations));
        sizes
            .reduce(|most, less| if loses_little(most, less) { less } else { most })
            .unwrap_or(free)
    }

    /// Returns the sequences of a group: the fewest allowed with which each workgroup has a core of
    /// its own, or four.
    fn sequences(&self, layer: &Recurrence, groups: usize) -> usize {
        let is_alone = |sequences: &usize| layer.batch.div_ceil(*sequences) <= self.cores;
        let fewest = self.tile.sequences;
        let mut few = [1, 2]
            .into_iter()
            .filter(|&few| few >= fewest && groups == 1);
        few.find(is_alone).unwrap_or(4)
    }

    /// Returns the route of a layer.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] where the scan is requested and the layer's state does not fit in a
    /// workgroup's memory.
    pub(crate) fn route(&self, layer: &Recurrence) -> Result<Route> {
        let needed = layer.scan_memory();
        let widest = layer.hidden_size.max(layer.output_size);
        let fits = needed <= u128::from(self.workgroup_memory);
        if layer.options.layer_norm.is_some() {
            return self.route_of_norm(layer, needed);
        }
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

    /// The route of a layer with layer normalisation, whose steps depend on all units.
    fn route_of_norm(&self, layer: &Recurrence, needed: u128) -> Result<Route> {
        if self.route == Some(Route::Step) {
            return Err(Error::usage(
                "a layer with layer_norm has no route `steps`; use the route `scan` or `auto`",
            ));
        }
        if needed > u128::from(self.workgroup_memory) {
            return Err(Error::LimitExceeded {
                what: format!(
                    "a scan over {} hidden units with layer_norm",
                    layer.hidden_size
                ),
                needed: format!("{needed} bytes of workgroup memory"),
                device: "the device".into(),
                limit: self.workgroup_memory.to_string(),
                remedy: "reduce hidden_size, or use the device `cpu`".into(),
            });
        }
        Ok(Route::Scan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_change_their_fields() {
        let mut tuning = Tuning {
            shared_lanes: 4,
            halves: true,
            ..Tuning::default()
        };
        for setting in [
            "route=steps",
            "scan_tile=4",
            "scan_each=2",
            "scan_lanes=4",
            "scan_back_lanes=2",
            "scan_memory=12",
            "scan_registers=64",
            "scan_halves=on",
            "scan_sequences=1",
            "gemm_side=16",
            "gemm_rows=4",
            "workgroups=3",
            "cores=5",
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
                sequences: 1,
                registers: 64,
                halves: true,
                each: 2,
                lanes: 4,
                back_lanes: 2,
                memory: 12 << 10,
                ..Tile::SMALLEST
            },
            gemm_side: 16,
            gemm_rows: RowsEach::Four,
            workgroups: 3,
            cores: 5,
            checks: true,
            ..tuning
        };
        assert_eq!(tuning, expected);
        // Its settings make the same tuning of another one.
        let settings = tuning.settings();
        assert_eq!(settings.len(), SETTINGS.len() - 1, "data_memory is not set");
        let mut other = Tuning {
            shared_lanes: 4,
            halves: true,
            ..Tuning::default()
        };
        for setting in &settings {
            other.set(setting).unwrap();
        }
        assert_eq!(other, tuning);
        tuning.set("data_memory=5").unwrap();
        assert!(tuning.settings().contains(&"data_memory=5".to_string()));
        tuning.set("route=auto").unwrap();
        assert_eq!(tuning.route, None);
    }

    #[test]
    fn rows_of_a_gemm_follow_from_the_kind_of_gpu() {
        let rows = |kind, subgroup_sizes| {
            let mut adapter = AdapterSummary::example(0, kind, "GPU");
            adapter.limits.subgroup_sizes = subgroup_sizes;
            Tuning::of_adapter(&adapter).gemm_rows
        };
        for (subgroups, expected) in [
            ((8, 32), RowsEach::Four),
            ((32, 32), RowsEach::Four),
            ((64, 64), RowsEach::Four),
            ((4, 64), RowsEach::Four),
            ((0, 0), RowsEach::Four),
            ((32, 64), RowsEach::Eight),
        ] {
            for kind in [AdapterKind::Discrete, AdapterKind::Integrated] {
                assert_eq!(rows(kind, subgroups), expected, "{subgroups:?}");
            }
            assert_eq!(rows(AdapterKind::Software, subgroups), RowsEach::Eight);
        }
    }

    #[test]
    fn scans_of_gcn_fill_a_core() {
        let tile = |backend: &str, subgroup_sizes, kind| {
            let mut adapter = AdapterSummary::example(0, kind, "AMD Radeon Graphics");
            adapter.backend = backend.into();
            adapter.limits.subgroup_sizes = subgroup_sizes;
            Tuning::of_adapter(&adapter).tile
        };
        let sizes = |tile: Tile| (tile.invocations, tile.lanes, tile.back_lanes);
        for kind in [AdapterKind::Discrete, AdapterKind::Integrated] {
            assert_eq!(sizes(tile("vulkan", (64, 64), kind)), (1024, 16, 16));
        }
        let discrete = AdapterKind::Discrete;
        assert_eq!(sizes(tile("vulkan", (32, 64), discrete)), (512, 4, 16));
        // Metal guarantees 256 invocations to a kernel with many registers.
        assert_eq!(sizes(tile("metal", (64, 64), discrete)), (256, 4, 16));
    }

    #[test]
    fn unknown_settings_and_values_are_refused() {
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
            "scan_registers=257",
            "scan_halves=on",
            "scan_sequences=3",
            "workgroups=-1",
            "scan_work=",
            "largest_scan=x",
            "checks=1",
        ] {
            assert!(problem(setting).contains(" takes "), "{setting}");
        }
        // Every setting in the list refuses an invalid value.
        for Setting { name, .. } in SETTINGS {
            assert!(problem(&format!("{name}=?")).contains(&format!("`{name}` takes ")));
        }
    }
}
