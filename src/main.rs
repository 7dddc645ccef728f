//! The command line of gatescan.

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
