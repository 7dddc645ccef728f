//! The command line of gatescan.

mod cli;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

fn main() -> ExitCode {
    let start = Instant::now();
    // Wrong arguments end here, with the code 2.
    let arguments = cli::Cli::parse();
    match cli::run(&arguments, start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::note(format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
