//! Writes and reads of parts of buffers, of every size, on both executors.

mod common;

use gatescan::low_level::backend::executor::Executor;
use gatescan::low_level::program::Program;
use gatescan::low_level::tensor::{Element, Kind, Tensor};
use gatescan::{Device, OpenDevice};

/// The CPU and the test adapter.
fn places() -> Vec<OpenDevice> {
    let gpu = common::gpu().map(|gpu| OpenDevice::Gpu(Box::new(gpu)));
    let cpu = OpenDevice::open(&Device::Cpu).expect("it is there");
    [Some(cpu), gpu].into_iter().flatten().collect()
}

/// A program of two buffers: `len` real elements and `len` integers.
fn buffers(len: usize) -> (Program, [Tensor; 2]) {
    let mut program = Program::new();
    let mut buffer = |name, element| program.buffer(name, Kind::Data, element, [len]);
    let tensors = [
        buffer("reals", Element::Real),
        buffer("integers", Element::Index),
    ];
    (program, tensors)
}

/// Reads a part of both buffers and compares it with `expected`.
fn check(executor: &mut dyn Executor, tensors: &[Tensor; 2], offset: usize, expected: &[u32]) {
    let [reals, integers] = tensors.map(|tensor| tensor.part(offset, [expected.len()]));
    let context = format!("{} elements from {offset} on", expected.len());
    let read = executor.read_index(&integers).expect("it reads");
    assert!(read == expected, "integers: {context}");
    let read = executor.read(&reals).expect("it reads");
    let same = read.iter().zip(expected).all(|(a, &b)| *a == b as f32);
    assert!(read.len() == expected.len() && same, "reals: {context}");
}

/// The sizes are around those of the first staging buffer of a GPU, which grows as needed.
#[test]
fn parts_are_read_where_they_were_written() {
    let len = 3000;
    for place in places() {
        for count in [1, 2, 1022, 1023, 1024, 1025, 2047, 2048, 2999] {
            // The first read of a program meets the smallest staging buffer.
            let (program, tensors) = buffers(len);
            let mut executor = place.load(&program).expect("it loads");
            let mut expected = vec![0; len];
            check(executor.as_mut(), &tensors, len - count, &vec![0; count]);
            for offset in [len - count, 0, (len - count) / 2] {
                let values: Vec<u32> = (0..count).map(|n| (n + offset + 1) as u32).collect();
                let reals: Vec<f32> = values.iter().map(|&value| value as f32).collect();
                let [real, index] = tensors.map(|tensor| tensor.part(offset, [count]));
                executor.write(&real, &reals).expect("it writes");
                executor.write_index(&index, &values).expect("it writes");
                expected[offset..offset + count].copy_from_slice(&values);
                check(executor.as_mut(), &tensors, offset, &values);
            }
            check(executor.as_mut(), &tensors, 0, &expected);
        }
    }
}

/// 68 MiB: more than drivers take in one transfer without a copy.
#[test]
fn large_buffers_are_written_and_read_whole() {
    let len = 17 << 20;
    for place in places() {
        let (program, [_, integers]) = buffers(len);
        let mut executor = place.load(&program).expect("it loads");
        let values: Vec<u32> = (0..len as u32)
            .map(|n| n.wrapping_mul(0x9E37_79B9))
            .collect();
        let (first, second) = values.split_at(len / 2 + 3);
        let parts = [(0, first), (first.len(), second)];
        for (offset, values) in parts {
            let part = integers.part(offset, [values.len()]);
            executor.write_index(&part, values).expect("it writes");
        }
        assert!(executor.read_index(&integers).expect("it reads") == values);
    }
}
