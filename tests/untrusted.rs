//! Files that nobody vouches for: every input of `fuzz/corpus`, and inputs made of them by chance,
//! for a second a target or the `GATESCAN_FUZZ_SECONDS` that are given. The same ones in the same
//! order each time.

mod untrusted_support;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::{Duration, Instant};

use gatescan::low_level::rng::{Philox, Stream};
use untrusted_support::targets::{TARGETS, Target};

/// No input is worth more, and what takes longer hangs.
const LONGEST: Duration = Duration::from_secs(10);

/// Plays an input, and whether something came of it; one that panics or hangs is kept, and named.
fn play(name: &str, target: Target, input: &[u8]) -> bool {
    let start = Instant::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| target(input)));
    let taken = start.elapsed();
    match outcome {
        Ok(answered) if taken <= LONGEST => answered,
        _ => {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.input"));
            fs::write(&path, input).expect("it can be kept");
            panic!("{name} fails after {taken:.1?} on {}", path.display());
        }
    }
}

/// One input out of others: bytes changed, taken out, doubled, or taken from another one.
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
                let doubled = input[from..to].to_vec();
                input.splice(to..to, doubled);
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
fn any_input_has_an_answer_or_an_error() {
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
        // Where nothing comes of any of them, little is read.
        let played = inputs.iter().map(|input| play(name, target, input));
        let answered = played.filter(|answered| *answered).count();
        assert!(answered > 0, "no input of {} is valid", corpus.display());

        let (start, mut count) = (Instant::now(), 0);
        let mut random = Philox::new(1, Stream::Images);
        while start.elapsed() < Duration::from_secs(seconds) {
            play(name, target, &mutated(&inputs, &mut random));
            count += 1;
        }
        let inputs = inputs.len();
        println!(
            "{name}: {inputs} inputs of the corpus, {answered} valid, and {count} made of them"
        );
    }
}
