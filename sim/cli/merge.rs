//! `chronon-sim merge`.

use std::path::PathBuf;

use clap::Args;

use crate::swarm::merge;

/// Add up the results of shards: seeds covered, failures by cause.
///
/// Seeds without a result between the first and the last are named as gaps. A seed with two results counts once, and
/// is a failure (13) when they are not the same.
#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// What `swarm --out DIR` wrote.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
}

/// Reads, adds up and prints; the exit status.
pub(super) fn run(args: &MergeArgs, json: bool) -> Result<u8, String> {
    let merged = merge(&args.dirs).map_err(|error| error.to_string())?;
    if json {
        println!("{}", merged.to_json());
        println!("{}", merged.summary.to_json());
    } else {
        println!("{merged}");
    }
    Ok(merged.summary.exit_code())
}
