//! What `gatescan bench` measures, under criterion: training steps and forward passes at its shapes, and square products.
//!
//! `GATESCAN_DEVICE` names the device as `--device` does.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gatescan::bench::{Loaded, Product, shapes, sides};
use gatescan::data::Split;
use gatescan::low_level::backend;
use gatescan::low_level::backend::OpenDevice;
use gatescan::low_level::backend::device;

fn all(criterion: &mut Criterion) {
    let request = std::env::var("GATESCAN_DEVICE").unwrap_or_else(|_| "auto".into());
    let (device, why) =
        device::choose(&request, &backend::adapters()).expect("there is such a device");
    eprintln!("{why}");
    let place = OpenDevice::open(&device).expect("the device opens");

    let mut group = criterion.benchmark_group("step");
    group.sample_size(10);
    for shape in shapes(&place) {
        group.throughput(Throughput::Elements(shape.batch as u64));
        // Loaded, and so checked, when a filter lets its first benchmark through.
        let mut loaded = None;
        for (name, split) in [("train", Split::Train), ("forward", Split::Test)] {
            group.bench_function(format!("{name}/{shape}"), |bencher| {
                let loaded = loaded
                    .get_or_insert_with(|| Loaded::new(&shape, &place).expect("the check passes"));
                bencher.iter_custom(|steps| loaded.play(split, steps as usize).expect("it runs"));
            });
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("gemm");
    group.sample_size(10);
    for &side in sides(&place) {
        let mut product = None;
        group.bench_function(side.to_string(), |bencher| {
            let product = product
                .get_or_insert_with(|| Product::new(side, &place).expect("the check passes"));
            bencher.iter_custom(|times| product.play(times as usize).expect("it runs"));
        });
    }
    group.finish();
}

criterion_group!(benches, all);
criterion_main!(benches);
