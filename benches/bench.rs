//! The measurements of `gatescan bench` under criterion: training steps and forward passes at its
//! shapes, and square matmuls.
//!
//! The environment variable `GATESCAN_DEVICE` names the device as `--device` does.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gatescan::bench::{CheckedGemm, CheckedTrainer, shapes, sides};
use gatescan::data::Split;
use gatescan::low_level::backend::{OpenDevice, adapters, device};

fn all(criterion: &mut Criterion) {
    let request = std::env::var("GATESCAN_DEVICE").unwrap_or_else(|_| "auto".into());
    let (device, why) = device::choose(&request, &adapters()).expect("the device exists");
    eprintln!("{why}");
    let device = OpenDevice::open(&device).expect("the device opens");
    steps(criterion, &device);
    matmuls(criterion, &device);
}

fn steps(criterion: &mut Criterion, device: &OpenDevice) {
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10);
    for shape in shapes(device) {
        group.throughput(Throughput::Elements(shape.batch as u64));
        // Loaded and checked only if the command line's filter selects one of its benchmarks.
        let mut checked = None;
        for (name, split) in [("train", Split::Train), ("forward", Split::Test)] {
            group.bench_function(format!("{name}/{shape}"), |bencher| {
                let checked = checked.get_or_insert_with(|| {
                    CheckedTrainer::new(&shape, device).expect("the results are right")
                });
                bencher.iter_custom(|steps| {
                    let time = checked.play(split, steps as usize);
                    time.expect("the device plays the steps")
                });
            });
        }
    }
    group.finish();
}

fn matmuls(criterion: &mut Criterion, device: &OpenDevice) {
    let mut group = criterion.benchmark_group("gemm");
    group.sample_size(10);
    for &side in sides(device) {
        let mut checked = None;
        group.bench_function(side.to_string(), |bencher| {
            let checked = checked.get_or_insert_with(|| {
                CheckedGemm::new(side, device).expect("the results are right")
            });
            bencher.iter_custom(|times| {
                let time = checked.play(times as usize);
                time.expect("the device computes the matmuls")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, all);
criterion_main!(benches);
