//! Untrusted files: every input of `fuzz/corpus`, and random mutations of them, for one second per
//! target or `GATESCAN_FUZZ_SECONDS`. The mutations are the same in each run.

mod untrusted_support;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::{Duration, Instant};

use gatescan::low_level::rng::{Philox, Stream};
use untrusted_support::targets::{TARGETS, Target};

/// An input that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(10);

/// Runs a target on an input; returns whether the input was valid. An input that panics or hangs is
/// saved, and the test fails with its path.
fn run(name: &str, target: Target, input: &[u8]) -> bool {
    let start = Instant::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| target(input)));
    let taken = start.elapsed();
    match outcome {
        Ok(valid) if taken <= LONGEST => valid,
        _ => {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.input"));
            fs::write(&path, input).expect("it can be written");
            panic!("{name} fails after {taken:.1?} on {}", path.display());
        }
    }
}

/// Returns a random mutation of an input: bytes changed, removed, repeated, or copied from another.
fn mutated(inputs: &[Vec<u8>], random: &mut Philox) -> Vec<u8> {
    let mut below = |n: usize| random.below(n.max(1) as u32) as usize;
    let mut input = inputs[below(inputs.len())].clone();
    for _ in 0..=below(4) {
        let from = below(input.len());
        let to = (from + below(16)).min(input.len());
        match below(6) {
            0 if !input.is_empty() => input[from] ^= 1 << below(8),
            1 if !input.is_empty() => input[from] = [0, 1, b'9', b'-', b'"', 0x7f, 0xff][below(7)],
            2 => drop(input.drain(from..to)),
            3 => {
                let repeated = input[from..to].to_vec();
                input.splice(to..to, repeated);
            }
            4 => input.truncate(from),
            _ => {
                let other = &inputs[below(inputs.len())];
                let start = below(other.len());
                let end = (start + below(64)).min(other.len());
                input.splice(from..to, other[start..end].iter().copied());
            }
        }
    }
    input
}

#[test]
fn any_input_gives_a_result_or_an_error() {
    let seconds = std::env::var("GATESCAN_FUZZ_SECONDS");
    let seconds = seconds.map_or(1, |seconds| seconds.parse().expect("a whole number"));
    for (name, target) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(name);
        let files = fs::read_dir(&corpus).expect("the corpus is there");
        let mut paths: Vec<_> = files
            .map(|file| file.expect("it is listed").path())
            .collect();
        paths.sort();
        let inputs: Vec<Vec<u8>> = paths
            .iter()
            .map(|path| fs::read(path).expect("it is there"))
            .collect();
        assert!(!inputs.is_empty(), "{} is empty", corpus.display());
        // A target that accepts no input of its corpus tests little.
        let results = inputs.iter().map(|input| run(name, target, input));
        let valid = results.filter(|valid| *valid).count();
        assert!(valid > 0, "no input of {} is valid", corpus.display());

        let (start, mut count) = (Instant::now(), 0);
        let mut random = Philox::new(1, Stream::Images);
        while start.elapsed() < Duration::from_secs(seconds) {
            run(name, target, &mutated(&inputs, &mut random));
            count += 1;
        }
        let inputs = inputs.len();
        println!("{name}: {inputs} inputs of the corpus, {valid} valid, and {count} mutations");
    }
}
