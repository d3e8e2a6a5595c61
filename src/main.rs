//! The `chronon` binary.

use std::process::ExitCode;

// It keeps large buffers for the next who needs one: to have the system map 16 MiB anew takes as long as to hash them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match chronon::cli::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
