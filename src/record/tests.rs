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
    };
    let tuning = Tuning::of_adapter(&adapter);
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
