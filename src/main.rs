//! The command line of gatescan.

#![cfg_attr(
    not(test),
    warn(
        clippy::cognitive_complexity,
        clippy::match_bool,
        clippy::too_many_lines
    )
)]

mod cli;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

fn main() -> ExitCode {
    let start = Instant::now();
    // Exits with code 2 for wrong arguments.
    let arguments = cli::Cli::parse();
    cli::run(&arguments, start)
}
