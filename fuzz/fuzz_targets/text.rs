#![no_main]

#[path = "../../tests/untrusted_support/targets.rs"]
#[allow(dead_code)] // each program takes one of them
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    targets::text(input);
});
