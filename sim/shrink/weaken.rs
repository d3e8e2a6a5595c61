//! Weaker forms of one fault: of fewer nodes, on fewer links, shorter, at a round moment.

use super::candidates::round_up;
use crate::config::WorldConfig;
use crate::plan::FaultKind;
use crate::time::{MICROSECOND, MILLISECOND, SECOND, WorldTime};
use crate::units::show_span;

/// The runs in which the fault at `place` is weaker, the weakest first.
pub(super) fn weaker(config: &WorldConfig, place: usize) -> Vec<WorldConfig> {
    let what = &config.plan[place].what;
    let mut kinds = simpler(config, what);
    kinds.extend(on_fewer_links(what));
    kinds.extend(shorter(what));
    let replaced = |what: FaultKind| {
        let mut changed = config.clone();
        changed.plan[place].what = what;
        changed
    };
    let mut tries: Vec<WorldConfig> = kinds.into_iter().map(replaced).collect();
    tries.extend(at_round_moments(config, place));
    tries
}

/// One node in place of all, any moment in place of a certain disk operation, a clock that is set in place of one that stands still.
fn simpler(config: &WorldConfig, what: &FaultKind) -> Vec<FaultKind> {
    match what {
        FaultKind::PowerLoss { down_ns, .. } => {
            let down_ns = *down_ns;
            let one = |node| FaultKind::Crash { node, down_ns };
            let mut tries: Vec<FaultKind> = config.nodes.iter().copied().map(one).collect();
            tries.push(FaultKind::PowerLoss { down_ns, apart_ns: 0 });
            tries
        }
        FaultKind::CrashAtDiskOp { node, down_ns, nth, aim } => {
            let (node, down_ns, aim) = (*node, *down_ns, *aim);
            let mut tries = vec![FaultKind::Crash { node, down_ns }];
            let sooner = |nth| FaultKind::CrashAtDiskOp { node, nth, aim, down_ns };
            tries.extend((1..*nth).take(FIRST_OPS).map(sooner));
            tries
        }
        // It is over at once.
        FaultKind::ClockFreeze { node, for_ns } => {
            vec![FaultKind::ClockJump { node: *node, by_ns: -i64::try_from(*for_ns).unwrap_or(i64::MAX) }]
        }
        _ => Vec::new(),
    }
}

/// Disk operations that are tried in place of a later one.
const FIRST_OPS: usize = 8;

fn on_fewer_links(what: &FaultKind) -> Vec<FaultKind> {
    let (FaultKind::Cut { links, .. }
    | FaultKind::Lossy { links, .. }
    | FaultKind::Clog { links, .. }
    | FaultKind::Echo { links, .. }) = what
    else {
        return Vec::new();
    };
    let mut tries = Vec::new();
    let mut part = links.len().div_ceil(2);
    while part < links.len() {
        for first in (0..links.len()).step_by(part) {
            let left_out = first..first + part;
            let mut fewer = what.clone();
            if let FaultKind::Cut { links, .. }
            | FaultKind::Lossy { links, .. }
            | FaultKind::Clog { links, .. }
            | FaultKind::Echo { links, .. } = &mut fewer
            {
                let mut place = 0;
                links.retain(|_| {
                    place += 1;
                    !left_out.contains(&(place - 1))
                });
            }
            tries.push(fewer);
        }
        if part == 1 {
            break;
        }
        part = part.div_ceil(2);
    }
    tries
}

/// Round spans below its own, the shortest first; and its own span, rounded.
fn shorter(what: &FaultKind) -> Vec<FaultKind> {
    let mut own = what.clone();
    if let FaultKind::ClockJump { node, by_ns } = what {
        let (node, sign) = (*node, by_ns.signum());
        let below = spans_below(by_ns.unsigned_abs());
        return below.map(|ns| FaultKind::ClockJump { node, by_ns: sign * ns as i64 }).collect();
    }
    let Some(span) = own.span_mut() else { return Vec::new() };
    let now = *span;
    let rounded = Some(round_up(now)).filter(|rounded| show_span(*rounded).len() < show_span(now).len());
    let set = |ns| {
        let mut changed = what.clone();
        if let Some(span) = changed.span_mut() {
            *span = ns;
        }
        changed
    };
    let mut tries: Vec<FaultKind> = spans_below(now).chain(rounded).map(set).collect();
    if let FaultKind::Lossy { links, loss_ppm, for_ns } = what {
        let shares = [10_000, 100_000, 200_000, 500_000, 1_000_000];
        let rounder = shares.into_iter().filter(|_| !shares.contains(loss_ppm));
        let lossy = |loss_ppm| FaultKind::Lossy { links: links.clone(), loss_ppm, for_ns: *for_ns };
        tries.extend(rounder.map(lossy));
    }
    tries
}

fn spans_below(ns: u64) -> impl Iterator<Item = u64> {
    const ROUND: [u64; 10] = [
        MICROSECOND,
        MILLISECOND,
        10 * MILLISECOND,
        50 * MILLISECOND,
        100 * MILLISECOND,
        500 * MILLISECOND,
        SECOND,
        2 * SECOND,
        5 * SECOND,
        10 * SECOND,
    ];
    ROUND.into_iter().filter(move |round| *round < ns)
}

/// The same fault a little sooner, at a moment that is easy to read. Never later: what makes a run shorter would undo it.
fn at_round_moments(config: &WorldConfig, place: usize) -> Vec<WorldConfig> {
    let at = config.plan[place].at.as_nanos();
    let earliest = place.checked_sub(1).map_or(0, |before| config.plan[before].at.as_nanos());
    let units = [SECOND, 100 * MILLISECOND, 10 * MILLISECOND, MILLISECOND, 10 * MICROSECOND];
    let mut tries = Vec::new();
    for unit in units {
        let round = at / unit * unit;
        let simpler = show_span(round).len() < show_span(at).len();
        if round > 0 && simpler && round >= earliest {
            let mut changed = config.clone();
            changed.plan[place].at = WorldTime::from_nanos(round);
            tries.push(changed);
        }
    }
    tries
}
