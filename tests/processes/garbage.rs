//! What is not part of the protocol, sent to both ports of a node.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use chronon::cli::local_cluster::CLUSTER;
use chronon::server::protocol::{HELLO, Hello, write_one};
use chronon_core::types::{ClusterId, NodeId};

use crate::folder::{Folder, log_of};
use crate::load;
use crate::nemesis::assert_runs;
use crate::support::cluster_of_three;

#[test]
fn what_is_not_a_frame_harms_nobody() {
    let folder = Folder::new("garbage");
    let mut cluster = cluster_of_three(&folder);
    let frame = |kind: u16, body: &[u8]| {
        let mut out = Vec::new();
        chronon_core::codec::frame::write_frame(kind, body, &mut out);
        out
    };
    let mut flipped = frame(4, b"body");
    *flipped.last_mut().unwrap() ^= 1;
    let mut other_version = frame(4, b"");
    other_version[4] = 9;
    let checksum = crc_of_header(&other_version);
    other_version[16..20].copy_from_slice(&checksum);
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("text", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "not a chronon frame"),
        ("a flipped bit", flipped, "frame body checksum is wrong"),
        ("another version", other_version, "frame of protocol version 9; this build speaks 1"),
        ("a kind without meaning", frame(77, b""), "a frame of kind 77, which has no place here"),
        ("a body of nonsense", frame(4, &[0xff; 64]), "malformed body"),
    ];
    for (name, bytes, words) in &cases {
        for (port, address) in [("requests", cluster.addresses()[0]), ("peers", cluster.peer_address(0))] {
            strike(address, bytes);
            let log = log_of(&cluster, 0);
            let last = log.lines().last().unwrap_or_default();
            // A peer that does not begin with a hello is told apart before its body is read.
            let expected = if port == "peers" && words.starts_with("malformed") { "kind 4" } else { words };
            assert!(last.contains(expected), "{name} on the port for {port}: the log ends {last:?}");
        }
    }
    load::open_accounts(&mut load::client(cluster.addresses()));
    for index in 0..3 {
        assert_runs(&mut cluster, index);
        assert!(!log_of(&cluster, index).contains("panicked"));
    }
}

#[test]
fn a_peer_from_elsewhere_is_refused_by_name() {
    let folder = Folder::new("hello");
    let mut cluster = cluster_of_three(&folder);
    let own = ClusterId::new(u128::from_str_radix(CLUSTER, 16).unwrap());
    let hello = |cluster, from, to| Hello { cluster, from: NodeId::new(from), to: NodeId::new(to) };
    let other = ClusterId::new(0xbad);
    let cases = [
        (hello(other, 2, 1), "it belongs to cluster 00000000000000000000000000000bad, this node to"),
        (hello(own, 2, 3), "it looks for node 3; this is node 1"),
        (hello(own, 4, 1), "node 4 is not among the peers of this node's configuration"),
    ];
    for (hello, words) in cases {
        let mut bytes = Vec::new();
        write_one(HELLO, &hello, &mut bytes);
        strike(cluster.peer_address(0), &bytes);
        let log = log_of(&cluster, 0);
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains(words), "{hello:?}: the log ends {last:?}");
    }
    load::open_accounts(&mut load::client(cluster.addresses()));
    assert_runs(&mut cluster, 0);
}

/// Sends bytes and waits until the node closes the connection, with or without a reset.
fn strike(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut rest = Vec::new();
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the connection was not closed");
    }
}

fn crc_of_header(frame: &[u8]) -> [u8; 4] {
    crc32c::crc32c(&frame[..16]).to_le_bytes()
}
