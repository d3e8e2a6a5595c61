//! Who joins and leaves in a scenario.

use chronon_core::types::{GroupId, GroupInit, MembershipChange};
use toml::Spanned;

use super::error::Located;
use super::extent::Extent;
use super::value::Ns;
use super::within;
use crate::changes::{Change, Wanted};
use crate::config::GROUPS_MAX;

/// What the operator wants of a group.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum ChangeShape {
    /// A node is to learn.
    Add(MemberShape),
    /// A learner is to vote.
    Promote(MemberShape),
    /// A member is to leave.
    Remove(MemberShape),
    /// A voter is to leave, and a learner to vote in its place.
    Replace(MemberShape),
    /// A voter is to lead.
    Lead(MemberShape),
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberShape {
    pub(super) at: Spanned<Ns>,
    pub(super) node: Spanned<i64>,
    /// Who votes in its place.
    pub(super) by: Option<Spanned<i64>>,
    /// The first group when it is not given.
    pub(super) group: Option<Spanned<i64>>,
}

/// What the operator wants of whom, in the order of the file.
pub(super) fn changes(
    shapes: &[Spanned<ChangeShape>],
    extent: &Extent,
    groups: &[GroupInit],
) -> Result<Vec<Change>, Located> {
    let mut changes: Vec<Change> = Vec::new();
    for shape in shapes {
        let (ChangeShape::Add(of)
        | ChangeShape::Promote(of)
        | ChangeShape::Remove(of)
        | ChangeShape::Replace(of)
        | ChangeShape::Lead(of)) = shape.get_ref();
        let node = extent.node(&of.node)?;
        let by = of.by.as_ref().map(|by| extent.node(by)).transpose()?;
        let what = match (shape.get_ref(), by) {
            (ChangeShape::Replace(_), Some(by)) => Wanted::Members(MembershipChange::Replace { node, by }),
            (ChangeShape::Replace(_), None) => {
                return Err(Located::at(shape.span(), "`by` says who votes in its place".to_owned()));
            }
            (_, Some(_)) => {
                return Err(Located::at(shape.span(), "`by` belongs to `replace` alone".to_owned()));
            }
            (ChangeShape::Add(_), None) => {
                Wanted::Members(MembershipChange::AddLearner { node, address: String::new() })
            }
            (ChangeShape::Promote(_), None) => Wanted::Members(MembershipChange::Promote { node }),
            (ChangeShape::Remove(_), None) => Wanted::Members(MembershipChange::Remove { node }),
            (ChangeShape::Lead(_), None) => Wanted::Lead(node),
        };
        let group = match &of.group {
            Some(group) => GroupId::new(within(group, 1, GROUPS_MAX, "group")?),
            None => groups[0].group,
        };
        if !groups.iter().any(|init| init.group == group) {
            return Err(Located::at(shape.span(), format!("there is no group {group}")));
        }
        let at = extent.moment(&of.at)?;
        if changes.last().is_some_and(|last| last.at > at) {
            return Err(Located::at(of.at.span(), "changes stand in the order of their moments".to_owned()));
        }
        changes.push(Change { at, group, what });
    }
    Ok(changes)
}
