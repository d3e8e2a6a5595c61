//! The `chronon-sim` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    chronon_sim::cli::main()
}
