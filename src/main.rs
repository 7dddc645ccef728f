//! The command line of gatescan.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(gatescan::cli::run_arguments(std::env::args_os()))
}
