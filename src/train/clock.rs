//! The clock by which training is timed.

#[cfg(not(target_family = "wasm"))]
pub(super) use std::time::Instant;

#[cfg(target_family = "wasm")]
pub(super) use stopped::Instant;

/// WebAssembly has no clock: there, everything takes no time.
#[cfg(target_family = "wasm")]
mod stopped {
    use std::time::Duration;

    #[derive(Debug, Clone, Copy)]
    pub(in crate::train) struct Instant;

    impl Instant {
        pub(in crate::train) fn now() -> Instant {
            Instant
        }

        pub(in crate::train) fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
    }
}
