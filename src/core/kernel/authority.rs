//! Who may act for a group in the outside world.

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::consensus::vsr::VsrNode;

/// Tells a receiver who acts: of two tokens of a group the higher one is the later primary's, and no two of its primaries share one.
/// Who has seen a token refuses lower ones.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct FencingToken(pub u64);

notation_newtype!(FencingToken);
notation_text!(FencingToken);

/// Authority by Viewstamped Replication: the view is the token.
#[derive(Clone, Copy, Debug)]
pub struct VsrAuthority;

impl VsrAuthority {
    /// The token under which this replica may act; `None` when it may not. It leads, durably, and has applied the log that its
    /// view began with: so it knows of every outcome that an earlier view may have committed.
    pub fn token(replica: &VsrNode) -> Option<FencingToken> {
        let (view, _) = replica.views();
        replica.has_applied_the_views_log().then_some(FencingToken(view.get()))
    }
}
