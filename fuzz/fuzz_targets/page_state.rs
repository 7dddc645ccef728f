#![no_main]

#[path = "../../tests/untrusted_support/targets.rs"]
#[allow(dead_code)] // each program uses one of the targets
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    targets::page_state(input);
});
