//! The shapes of the faults of a scenario file, as they are written.

use toml::Spanned;

use super::error::Located;
use super::value::{EndpointShape, LinkShape, Ns, Share, Word};
use crate::net::MessageKind;
use crate::plan::{Aim, Damage, Misread};
use crate::units::parse_span;

/// One fault; the words are those of the plan.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum FaultShape {
    Crash(CrashShape),
    CrashAtDiskOp(CrashAtDiskOpShape),
    PowerLoss(PowerLossShape),
    Pause(SpanOfNode),
    Cut(CutShape),
    Lossy(LossyShape),
    Clog(CutShape),
    Echo(CutShape),
    Drop(DropShape),
    DiskStall(SpanOfNode),
    DiskError(CrashAtDiskOpShape),
    Rot(RotShape),
    DiskFull(DiskFullShape),
    Misread(MisreadShape),
    RotManifest(RotManifestShape),
    RotSnapshot(RotShape),
    RotArchive(RotShape),
    Wipe(CrashShape),
    PutBack(PutBackShape),
    ClockJump(ClockJumpShape),
    ClockFreeze(SpanOfNode),
}

impl FaultShape {
    /// How far apart it happens again and again.
    pub(super) fn every(&self) -> Option<&Spanned<Ns>> {
        match self {
            Self::Crash(crash) | Self::Wipe(crash) => crash.every.as_ref(),
            Self::PowerLoss(loss) => loss.every.as_ref(),
            Self::Pause(span) | Self::DiskStall(span) | Self::ClockFreeze(span) => span.every.as_ref(),
            Self::Cut(cut) | Self::Clog(cut) | Self::Echo(cut) => cut.every.as_ref(),
            Self::Lossy(lossy) => lossy.every.as_ref(),
            Self::ClockJump(jump) => jump.every.as_ref(),
            Self::CrashAtDiskOp(_)
            | Self::Drop(_)
            | Self::DiskError(_)
            | Self::Rot(_)
            | Self::DiskFull(_)
            | Self::Misread(_)
            | Self::RotManifest(_)
            | Self::RotSnapshot(_)
            | Self::RotArchive(_)
            | Self::PutBack(_) => None,
        }
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CrashShape {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    pub(super) down: Ns,
    /// Again and again, so far apart, until the end.
    pub(super) every: Option<Spanned<Ns>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CrashAtDiskOpShape {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    pub(super) nth: Spanned<i64>,
    /// The file whose operations are counted; all of them when none is named.
    pub(super) file: Option<Word<Aim>>,
    pub(super) down: Ns,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PutBackShape {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    #[serde(rename = "for")]
    pub(super) span: Ns,
    pub(super) down: Ns,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RotShape {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    pub(super) how: Word<Damage>,
    pub(super) nth: Spanned<i64>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiskFullShape {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    #[serde(default)]
    pub(super) room: u64,
    #[serde(rename = "for")]
    pub(super) span: Ns,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MisreadShape {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    pub(super) nth: Spanned<i64>,
    /// The file whose reads are counted; all of them when none is named.
    pub(super) file: Option<Word<Aim>>,
    pub(super) gives: Word<Misread>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RotManifestShape {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    pub(super) copy: Spanned<i64>,
    pub(super) how: Word<Damage>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PowerLossShape {
    pub(super) at: Spanned<Ns>,
    pub(super) down: Ns,
    pub(super) apart: Option<Ns>,
    /// Again and again, so far apart, until the end.
    pub(super) every: Option<Spanned<Ns>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpanOfNode {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    #[serde(rename = "for")]
    pub(super) span: Ns,
    /// Again and again, so far apart, until the end.
    pub(super) every: Option<Spanned<Ns>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CutShape {
    pub(super) at: Spanned<Ns>,
    #[serde(rename = "for")]
    pub(super) span: Ns,
    from: Option<Vec<Spanned<EndpointShape>>>,
    to: Option<Vec<Spanned<EndpointShape>>>,
    links: Option<Vec<Spanned<LinkShape>>>,
    #[serde(default)]
    one_way: bool,
    /// Again and again, so far apart, until the end.
    pub(super) every: Option<Spanned<Ns>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LossyShape {
    pub(super) at: Spanned<Ns>,
    #[serde(rename = "for")]
    pub(super) span: Ns,
    pub(super) share: Share,
    from: Option<Vec<Spanned<EndpointShape>>>,
    to: Option<Vec<Spanned<EndpointShape>>>,
    links: Option<Vec<Spanned<LinkShape>>>,
    #[serde(default)]
    one_way: bool,
    /// Again and again, so far apart, until the end.
    pub(super) every: Option<Spanned<Ns>>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DropShape {
    pub(super) at: Spanned<Ns>,
    #[serde(rename = "for")]
    pub(super) span: Ns,
    pub(super) kind: Option<Word<MessageKind>>,
    pub(super) from: Option<Spanned<EndpointShape>>,
    pub(super) to: Option<Spanned<EndpointShape>>,
    pub(super) attempts: Option<u32>,
    pub(super) bytes_min: Option<u64>,
    pub(super) count: Option<u32>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClockJumpShape {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    by: Spanned<String>,
    /// Again and again, so far apart, until the end.
    pub(super) every: Option<Spanned<Ns>>,
}

/// Which links: from one side to the other, or one by one.
pub(super) struct LinksShape<'a> {
    pub(super) from: Option<&'a [Spanned<EndpointShape>]>,
    pub(super) to: Option<&'a [Spanned<EndpointShape>]>,
    pub(super) links: Option<&'a [Spanned<LinkShape>]>,
    pub(super) one_way: bool,
}

impl CutShape {
    pub(super) fn links(&self) -> LinksShape<'_> {
        LinksShape {
            from: self.from.as_deref(),
            to: self.to.as_deref(),
            links: self.links.as_deref(),
            one_way: self.one_way,
        }
    }
}

impl LossyShape {
    pub(super) fn links(&self) -> LinksShape<'_> {
        LinksShape {
            from: self.from.as_deref(),
            to: self.to.as_deref(),
            links: self.links.as_deref(),
            one_way: self.one_way,
        }
    }
}

impl ClockJumpShape {
    /// How far; a leading minus is back.
    pub(super) fn by(&self) -> Result<i64, Located> {
        let text = self.by.get_ref();
        let (sign, span) = match text.strip_prefix('-') {
            Some(span) => (-1, span),
            None => (1, text.as_str()),
        };
        let ns = parse_span(span).map_err(|error| Located::at(self.by.span(), error))?;
        let ns = i64::try_from(ns)
            .map_err(|_| Located::at(self.by.span(), format!("`{text}` is further than a clock can jump")))?;
        Ok(sign * ns)
    }
}
