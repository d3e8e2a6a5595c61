//! What the fuzz targets do with an input, so that it can be done without a fuzzer as well.

mod disk;

use std::fmt::{Debug, Display};
use std::process::ExitCode;
use std::str::FromStr;

use bytes::BytesMut;
use chronon_core::codec::frame::read_frame;
use chronon_core::codec::{decode, encode, wire};
use chronon_core::node::{Message, Reply, Request};
use chronon_core::types::{Entry, EntryHeader};
pub use disk::{directories, snapshots};

/// A stream from a peer or a client: frames are cut from it until it is wrong or too short, and each body is read as
/// everything that a body can be.
pub fn frames(data: &[u8]) {
    let mut stream = BytesMut::from(data);
    let mut before = stream.len();
    while let Ok(Some(frame)) = read_frame(&mut stream) {
        assert!(stream.len() < before, "a frame takes its bytes from the stream");
        before = stream.len();
        messages(&frame.body);
    }
    assert_eq!(stream.len(), before, "what is no frame is not taken from the stream");
}

/// A body: whatever it is read as, it is that value's only encoding, and the value's text is read back.
pub fn messages(data: &[u8]) {
    is_canonical::<Message>(data);
    is_canonical::<Request>(data);
    is_canonical::<Reply>(data);
    is_canonical::<EntryHeader>(data);
    is_canonical::<Entry>(data);
}

fn is_canonical<T>(data: &[u8])
where
    T: wire::Encode + wire::Decode<()> + Display + FromStr<Err: Debug> + PartialEq + Debug,
{
    let Ok(value) = decode::<T>(data) else { return };
    assert_eq!(encode(&value), data, "{value:?}");
    let text = value.to_string();
    assert_eq!(text.parse::<T>().expect("the notation reads what it writes"), value, "{text}");
}

/// Gives every file named on the command line to `target`.
pub fn replay(target: fn(&[u8])) -> ExitCode {
    for path in std::env::args_os().skip(1) {
        match std::fs::read(&path) {
            Ok(data) => target(&data),
            Err(error) => {
                eprintln!("{}: {error}", path.display());
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::SUCCESS
}
