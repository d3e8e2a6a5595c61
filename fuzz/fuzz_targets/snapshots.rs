#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| chronon_fuzz::snapshots(data));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    chronon_fuzz::replay(chronon_fuzz::snapshots)
}
