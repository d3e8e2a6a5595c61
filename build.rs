//! The gRPC interface: messages and services from `proto/`, without `protoc`.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use protox::prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["cronos_db.proto", "cronos_db_ext.proto"], ["proto"])?;
    let descriptors = Path::new(&env::var("OUT_DIR")?).join("cronos_db.bin");
    fs::write(descriptors, files.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
