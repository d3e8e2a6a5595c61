//! `chronon format`.

use std::path::PathBuf;

use chronon_core::builtin::KINDS;
use chronon_core::engine::Identity;
use chronon_core::types::{ARCHIVE_CHUNK_BYTES, Archiving, ClusterId, GroupId, GroupInit, NodeId};
use clap::Args;
use serde_json::json;

use super::Answer;
use crate::server::config::{parse_cluster, parse_node};
use crate::server::sync_disk;

/// Make the first data directory of a node of a new cluster.
#[derive(Args, Debug)]
pub(super) struct FormatArgs {
    /// The directory; it must be empty, or not exist yet.
    #[arg(long, env = "CHRONON_DATA_DIR")]
    data_dir: PathBuf,
    /// The cluster: up to 32 hex digits, the same for all of its nodes.
    #[arg(long, env = "CHRONON_CLUSTER", value_parser = cluster)]
    cluster: ClusterId,
    /// The node.
    #[arg(long, env = "CHRONON_NODE", value_parser = node)]
    node: NodeId,
    /// The nodes that the cluster was founded with, this one among them unless it is to join.
    #[arg(long, value_delimiter = ',', required = true, value_parser = node)]
    voters: Vec<NodeId>,
    /// The node is to join a cluster that is there: it waits to be added by `chronon cluster add`. Groups, sessions and archives are to
    /// be as the cluster was founded with.
    #[arg(long)]
    join: bool,
    /// A group and its application, as in 0:bank; may be repeated.
    #[arg(long = "group", default_values = ["0:bank", "1:register", "2:post"], value_parser = group)]
    groups: Vec<(GroupId, String)>,
    /// Sessions that a group keeps; beyond that the one that was silent for longest goes, and beyond 256 MiB of their last answers.
    #[arg(long, default_value_t = SESSIONS_MAX, value_parser = clap::value_parser!(u32).range(1..))]
    sessions_max: u32,
    /// Keep the committed entries of each group in an archive, in chunks of so many bytes: as in 4194304:256 for the last 256
    /// chunks of 4 MiB. Without it a group keeps its state, and what its journal still has.
    #[arg(long, value_name = "CHUNK_BYTES:CHUNKS", value_parser = archive)]
    archive: Option<Archiving>,
}

/// Sessions of a group unless said otherwise.
pub(super) const SESSIONS_MAX: u32 = 4096;

pub(super) fn run(args: &FormatArgs) -> anyhow::Result<Answer> {
    let founds = args.voters.contains(&args.node);
    anyhow::ensure!(
        founds || args.join,
        "--voters does not name node {}: name it, or give --join for a node that is to join a cluster",
        args.node
    );
    anyhow::ensure!(
        !(founds && args.join),
        "node {} is one of --voters: a node that is to --join is none of those that the cluster was founded with",
        args.node
    );
    let keeps_payloads = args.archive.is_some() || args.groups.iter().all(|(_, kind)| kind != "events");
    anyhow::ensure!(
        keeps_payloads,
        "groups of kind `events` keep what was published in their archives: give --archive, as in 4194304:256"
    );
    let identity =
        identity(args.cluster, args.node, &args.voters, &args.groups, args.sessions_max, args.archive);
    sync_disk::format(&args.data_dir, &identity)?;
    let (path, cluster) = (args.data_dir.display(), format!("{:032x}", args.cluster.get()));
    Ok(Answer {
        text: format!("{path}: formatted for node {} of cluster {cluster}", args.node),
        json: json!({ "data_dir": path.to_string(), "cluster": cluster, "node": args.node.get() }),
    })
}

/// The identity of a node that holds a replica of every group.
pub(super) fn identity(
    cluster: ClusterId,
    node: NodeId,
    voters: &[NodeId],
    groups: &[(GroupId, String)],
    sessions_max: u32,
    archive: Option<Archiving>,
) -> Identity {
    let mut voters = voters.to_vec();
    voters.sort_unstable();
    let mut groups = groups.to_vec();
    groups.sort_unstable();
    let found =
        |(group, kind)| GroupInit { cluster, group, kind, voters: voters.clone(), sessions_max, archive };
    Identity { cluster, node, groups: groups.into_iter().map(found).collect() }
}

fn cluster(text: &str) -> Result<ClusterId, String> {
    parse_cluster(text).ok_or_else(|| "a cluster id is up to 32 hex digits".to_owned())
}

fn node(text: &str) -> Result<NodeId, String> {
    parse_node(text.trim()).ok_or_else(|| "a node id is a whole number from 1".to_owned())
}

fn archive(text: &str) -> Result<Archiving, String> {
    let (least, most) = (ARCHIVE_CHUNK_BYTES.start(), ARCHIVE_CHUNK_BYTES.end());
    let allowed = || {
        format!(
            "an archive is CHUNK_BYTES:CHUNKS, of {least} to {most} bytes and at least 1 chunk, as in 4194304:256"
        )
    };
    let (bytes, chunks) = text.split_once(':').ok_or_else(allowed)?;
    let chunk_bytes =
        bytes.parse().ok().filter(|bytes| ARCHIVE_CHUNK_BYTES.contains(bytes)).ok_or_else(allowed)?;
    let chunks_max = chunks.parse().ok().filter(|chunks| *chunks > 0).ok_or_else(allowed)?;
    Ok(Archiving { chunk_bytes, chunks_max })
}

fn group(text: &str) -> Result<(GroupId, String), String> {
    let allowed = || format!("a group is a number and one of {}, as in 0:bank", KINDS.join(", "));
    let (number, kind) = text.split_once(':').ok_or_else(allowed)?;
    let number = number.parse().map_err(|_| allowed())?;
    if !KINDS.contains(&kind) {
        return Err(allowed());
    }
    Ok((GroupId::new(number), kind.to_owned()))
}
