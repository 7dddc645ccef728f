//! Random networks with random data, the same ones at every run.

pub mod case;
pub mod play;

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{
    Config, RngAlgorithm, TestCaseError, TestCaseResult, TestRng, TestRunner,
};

/// Runs `test` on `cases` values of `strategy`; a value that fails is shrunk and printed.
/// `GATESCAN_CASES` multiplies their number: the first ones stay the same.
///
/// # Panics
/// Where a case fails.
pub fn property<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> TestCaseResult)
where
    S::Value: Debug,
{
    let factor = std::env::var("GATESCAN_CASES").map_or(1, |n| n.parse().expect("a number"));
    let config = Config {
        cases: cases * factor,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, b"the same networks at every run..");
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, test);
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Fails a case, which is then shrunk, without the backtrace of a panic for each try.
pub fn check(holds: bool, message: impl FnOnce() -> String) -> TestCaseResult {
    if holds {
        Ok(())
    } else {
        Err(TestCaseError::fail(message()))
    }
}
