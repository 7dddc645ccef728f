//! What `fuzz/` shares with the test.

pub mod targets;
