//! The choices that a recording makes for an adapter.

use super::*;
use crate::backend::adapter::{AdapterKind, AdapterSummary};
use crate::cells::Cell;
use crate::kernels::{Gemm, Kernel, RowsEach, ScanForward};
use crate::network::{Head, Init, Layer, Loss};
use crate::tensor::{Element, Kind};

/// Returns the forward scan of an LSTM layer as recorded for an adapter.
fn scan_on(
    backend: &str,
    kind: AdapterKind,
    subgroups: bool,
    hidden_size: usize,
    batch: usize,
) -> ScanForward {
    let mut adapter = AdapterSummary::example(0, kind, "");
    adapter.backend = backend.to_string();
    adapter.features.subgroups = subgroups;
    scan_with(Tuning::of_adapter(&adapter), hidden_size, batch)
}

/// Returns the forward scan of an LSTM layer as recorded with a tuning.
fn scan_with(tuning: Tuning, hidden_size: usize, batch: usize) -> ScanForward {
    let network = Network {
        input_size: 8,
        input: Input::Values,
        layers: vec![Layer::new(Cell::Lstm, hidden_size)],
        head: Head {
            size: 4,
            reads: Reads::Last,
            loss: Loss::CrossEntropy,
            init: Init::Glorot,
        },
        heads: vec![],
        categories: vec![],
    };
    let mut recorded = RecordedNetwork::new(&network, 3, batch, Gradients::OfLoss, tuning).unwrap();
    recorded.forward(Phase::Forward);
    let mut scans = recorded.program.calls(Phase::Forward).iter();
    let scan = scans.find_map(|call| match call {
        Call::ScanForward(scan) => Some(scan.clone()),
        _ => None,
    });
    scan.unwrap()
}

/// Lanes share sums on hardware with subgroups, while workgroups are few and have free invocations.
#[test]
fn lanes_share_sums_while_workgroups_are_few() {
    let lanes_on = |backend, kind, subgroups, hidden_size, batch| {
        let scan = scan_on(backend, kind, subgroups, hidden_size, batch);
        scan.layer.tile.lanes
    };
    use AdapterKind::{Discrete, Integrated, Software};
    let lanes = |kind, subgroups, hidden_size, batch| {
        lanes_on("vulkan", kind, subgroups, hidden_size, batch)
    };
    assert_eq!(lanes_on("metal", Discrete, true, 128, 128), 2);
    assert_eq!(lanes(Discrete, true, 128, 128), 4);
    assert_eq!(lanes(Discrete, true, 256, 128), 2);
    assert_eq!(lanes(Discrete, true, 128, 200), 2);
    assert_eq!(lanes(Discrete, true, 128, 512), 1);
    assert_eq!(lanes(Discrete, false, 128, 128), 1);
    assert_eq!(lanes(Integrated, true, 128, 128), 2);
    assert_eq!(lanes(Software, true, 128, 128), 1);
}

/// Hardware caches recurrent weights in the workgroup memory that its vectors leave free, while
/// workgroups are few.
#[test]
fn weights_are_cached_in_free_workgroup_memory() {
    let cached = |kind, hidden_size, batch| {
        let shader = scan_on("vulkan", kind, true, hidden_size, batch).shader();
        let mut constants = shader.constants.into_iter();
        constants.find_map(|(name, value)| (name == "CACHED").then_some(value))
    };
    use AdapterKind::{Discrete, Software};
    // 48 KiB are 3072 vec4s; a row of R has 512 of them, and the state needs 256.
    assert_eq!(cached(Discrete, 128, 128), Some(5.0 * 512.0));
    // The whole matrix: 4 rows of 64.
    assert_eq!(cached(Discrete, 16, 128), Some(4.0 * 64.0));
    assert_eq!(cached(Discrete, 128, 1024), None);
    assert_eq!(cached(Software, 128, 128), None);
}

/// A discrete GPU of a known model.
fn tuning_of(model: &str) -> Tuning {
    let adapter = AdapterSummary::example(0, AdapterKind::Discrete, model);
    Tuning::of_adapter(&adapter)
}

#[test]
fn workgroups_take_few_sequences_while_each_has_a_core() {
    let mut tuning = tuning_of("NVIDIA H100");
    let tile = |tuning: Tuning, batch| scan_with(tuning, 128, batch).layer.tile;
    assert_eq!(tile(tuning, 128).sequences, 4);
    tuning.tile.sequences = 1;
    let sequences = |batch| {
        let scan = scan_with(tuning, 128, batch);
        (scan.layer.tile.sequences, scan.grid()[0])
    };
    // It has 132 cores.
    assert_eq!(sequences(128), (1, 128));
    assert_eq!(sequences(200), (2, 100));
    assert_eq!(sequences(300), (4, 75));
    tuning.tile.sequences = 2;
    assert_eq!(tile(tuning, 128).sequences, 2);
    // Each has as many lanes as fit into its workgroup.
    assert_eq!(tile(tuning, 128).lanes, 4);
}

#[test]
fn registers_hold_the_first_weights_and_workgroup_memory_the_next() {
    let mut tuning = tuning_of("NVIDIA H100");
    tuning.tile.sequences = 1;
    tuning.tile.registers = 64;
    let held = |tuning, hidden_size| {
        let source = scan_with(tuning, hidden_size, 128).shader().source();
        source.matches("var<private> held_").count()
    };
    // A vec4 for each gate of 4 of the 8 rows that a lane has.
    assert_eq!(held(tuning, 128), 16);
    // Two lanes share a unit.
    assert_eq!(held(tuning, 129), 16);
    // Some workers have two units.
    let mut narrow = tuning;
    narrow.tile.invocations = 256;
    assert_eq!(held(narrow, 257), 0);
    let shader = scan_with(tuning, 128, 128).shader();
    assert!(shader.source().contains("const HELD = 8192u;"));
    let cached = shader.constants.iter().find(|(name, _)| *name == "CACHED");
    assert_eq!(cached, Some(&("CACHED", 5.0 * 512.0)));
}

#[test]
fn workgroups_that_a_core_cannot_run_at_once_do_not_share_its_memory() {
    let memory = |model, batch| scan_with(tuning_of(model), 128, batch).layer.tile.memory >> 10;
    // 32 workgroups of as many invocations as the registers of a core allow.
    assert_eq!(memory("AMD Radeon Vega 8", 128), 48);
    assert_eq!(memory("NVIDIA GeForce GTX 1660", 128), 48);
    assert_eq!(memory("Unknown", 200), 24);
}

#[test]
fn gemm_tiles_grow_while_workgroups_suffice() {
    let mut program = Program::new();
    let mut gemm = |side: usize| {
        let buffer = program.buffer("matrix", Kind::Activations, Element::Real, [side, side]);
        let matrix = Matrix::new(buffer, side, side);
        Gemm::new(matrix, matrix, matrix)
    };
    let tuning = Tuning {
        gemm_side: 16,
        ..Tuning::default()
    };
    // 12 by 12 workgroups of 128 by 128 elements, and 8 by 8.
    assert_eq!(tuning.tiled(gemm(1536)).side, 16);
    assert_eq!(tuning.tiled(gemm(1024)).side, 8);
    assert_eq!(Tuning::default().tiled(gemm(1536)).side, 8);
    // 24 by 12 workgroups of 64 by 128 elements, and 16 by 8.
    let few_rows = Tuning {
        gemm_rows: RowsEach::Four,
        ..tuning
    };
    for side in [1536, 1024] {
        let tiled = few_rows.tiled(gemm(side));
        assert_eq!((tiled.side, tiled.rows_each), (16, RowsEach::Four));
    }
}
