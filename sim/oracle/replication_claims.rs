//! What a message claims, its sender had made durable: SendImpliesDurable (9), ViewChangeStable (16), NoStraddle (17).

use chronon_core::consensus::{DoViewChange, VsrMessage};
use chronon_core::node::{GroupBeat, Heartbeat};
use chronon_core::types::Hash;

use super::shadow::{Broken, Durable, DurableLog};
use crate::journal::Promise;

/// What one replica has said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// Its last view-change message.
    left: Option<Left>,
    /// The view of its last acknowledgement, and the highest op acknowledged in it.
    acknowledged: (u64, u64),
    pub compared: Compared,
}

/// How often each invariant was held against something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    pub send_implies_durable: u64,
    pub view_change_stable: u64,
    pub no_straddle: u64,
    pub faulty_silent: u64,
    pub nack_sound: u64,
    pub rot_not_truncated: u64,
}

/// A view-change message: the view gone to, and of every op from the commit the hash and whether it was there.
#[derive(Clone, Debug)]
struct Left {
    view: u64,
    log_view: u64,
    slots: Vec<(u64, Hash, bool)>,
}

/// Judges what a replica says by what is durable at it; `durable` is `None` while nothing is.
pub(super) fn judge(
    message: &VsrMessage,
    durable: Option<&DurableLog>,
    said: &mut Said,
) -> Result<(), Broken> {
    let promised = durable.map(DurableLog::promised).unwrap_or_default();
    said.compared.send_implies_durable += 1;
    match message {
        VsrMessage::Prepare { view, entry, .. } => {
            leads(promised, view.get(), &format!("prepare of op {}", entry.op()))
        }
        VsrMessage::StartView { view, .. } => leads(promised, view.get(), "start-view"),
        VsrMessage::StartViewChange { view } if view.get() > promised.view + 1 => {
            Err(early(&format!("start-view-change to view {view}"), promised))
        }
        VsrMessage::PrepareOk { view, from, to, hash } => {
            said.still_in(view.get())?;
            leads(promised, view.get(), "prepare-ok")?;
            said.acknowledge(view.get(), to.get());
            holds(durable, from.get(), to.get(), *hash, &mut said.compared)
        }
        VsrMessage::DoViewChange(message) => {
            judge_view_change(message, promised, durable, &mut said.compared)?;
            said.leave(message, durable)
        }
        VsrMessage::Entries { log_view, .. } if log_view.get() > promised.log_view => {
            Err(early(&format!("entries under log view {log_view}"), promised))
        }
        // It is said in the view that is given up.
        VsrMessage::HandOver { view }
            if promised.view >= view.get() || promised.view != promised.log_view =>
        {
            Err(early(&format!("hand-over to view {view}"), promised))
        }
        VsrMessage::ConfirmView { view, .. } => leads(promised, view.get(), "confirm-view"),
        VsrMessage::ViewConfirmed { view, .. } if view.get() > promised.view => {
            Err(early(&format!("view-confirmed of view {view}"), promised))
        }
        VsrMessage::ViewConfirmed { view, .. } => said.still_in(view.get()),
        VsrMessage::StartViewChange { .. }
        | VsrMessage::HandOver { .. }
        | VsrMessage::Covered { .. }
        | VsrMessage::Entries { .. }
        | VsrMessage::RequestReadIndex { .. }
        | VsrMessage::ReadIndex { .. }
        | VsrMessage::RequestEntries { .. } => Ok(()),
    }
}

/// Judges what a heartbeat says of one group.
pub(super) fn judge_beat(beat: &GroupBeat, durable: Option<&DurableLog>) -> Result<(), Broken> {
    if !beat.leads {
        return Ok(());
    }
    leads(durable.map(DurableLog::promised).unwrap_or_default(), beat.view.get(), "a heartbeat that leads")
}

/// The groups that a heartbeat claims to lead.
pub(super) fn led(beat: &Heartbeat) -> impl Iterator<Item = &GroupBeat> {
    beat.groups.iter().filter(|group| group.leads)
}

/// What only a replica says that is normal in `view`: view and log view are durable there.
#[track_caller]
fn leads(promised: Promise, view: u64, message: &str) -> Result<(), Broken> {
    if promised == (Promise { view, log_view: view }) {
        return Ok(());
    }
    Err(early(&format!("{message} in view {view}"), promised))
}

#[track_caller]
fn early(message: &str, promised: Promise) -> Broken {
    Broken::new("SendImpliesDurable", format!("{message}, while {promised} is durable"))
}

/// The entries `from..=to` of the log that ends in `hash` are durable.
fn holds(
    durable: Option<&DurableLog>,
    from: u64,
    to: u64,
    hash: Hash,
    compared: &mut Compared,
) -> Result<(), Broken> {
    let mut wanted = hash;
    let mut op = to;
    while op >= from.max(1) {
        let entry = durable.and_then(|log| log.entry(op)).filter(|entry| entry.hash == wanted);
        let Some(entry) = entry else {
            let what =
                format!("a prepare-ok of ops {from} to {to}, while op {op} ({wanted:?}) is not durable");
            return Err(Broken::new("SendImpliesDurable", what));
        };
        if entry.may_be_faulty() {
            compared.faulty_silent += 1;
            if entry.is_faulty() {
                let what =
                    format!("a prepare-ok of ops {from} to {to}, while op {op} is faulty and not repaired");
                return Err(Broken::new("FaultySilent", what));
            }
        }
        wanted = entry.parent;
        op -= 1;
    }
    Ok(())
}

fn judge_view_change(
    message: &DoViewChange,
    promised: Promise,
    durable: Option<&DurableLog>,
    compared: &mut Compared,
) -> Result<(), Broken> {
    let claimed = Promise { view: message.view.get(), log_view: message.log_view.get() };
    if promised != claimed {
        return Err(early(&format!("do-view-change with {claimed}"), promised));
    }
    for slot in message.suffix.iter().filter(|slot| slot.header.op().get() > 0) {
        let (op, hash) = (slot.header.op().get(), slot.header.hash());
        let entry = durable.and_then(|log| log.entry(op)).filter(|entry| entry.hash == hash);
        if let Some(entry) = entry.filter(|entry| entry.may_be_faulty()) {
            judge_faulty(message, op, (slot.present, slot.nack), entry, compared)?;
        }
        if slot.present && entry.is_none() {
            let what = format!(
                "a do-view-change for view {} calls op {op} ({hash:?}) present, which is not durable",
                message.view
            );
            return Err(Broken::new("SendImpliesDurable", what));
        }
    }
    Ok(())
}

/// What a view-change message says of an entry that was durable and may not be readable any more.
fn judge_faulty(
    message: &DoViewChange,
    op: u64,
    (present, nack): (bool, bool),
    entry: &Durable,
    compared: &mut Compared,
) -> Result<(), Broken> {
    let says =
        |what: &str| format!("a do-view-change for view {} {what} op {op}, which is faulty", message.view);
    compared.faulty_silent += 1;
    compared.nack_sound += 1;
    if present && entry.is_faulty() {
        return Err(Broken::new("FaultySilent", says("calls present")));
    }
    if nack { Err(Broken::new("NackSound", says("nacks"))) } else { Ok(()) }
}

impl Said {
    /// It has told nobody that it left `view`.
    fn still_in(&mut self, view: u64) -> Result<(), Broken> {
        self.compared.no_straddle += 1;
        match &self.left {
            Some(left) if left.view > view => {
                let what =
                    format!("a word in view {view}, after a view-change message for view {}", left.view);
                Err(Broken::new("NoStraddle", what))
            }
            _ => Ok(()),
        }
    }

    fn acknowledge(&mut self, view: u64, to: u64) {
        let (before, highest) = self.acknowledged;
        self.acknowledged = if view > before { (view, to) } else { (view, highest.max(to)) };
    }

    /// A process that has read its disk still has in its log, which ends at `head`, what was acknowledged in the view that
    /// it promised last (36): no log shrinks within a view.
    pub(super) fn judge_start(&mut self, promised: Promise, head: u64) -> Result<(), Broken> {
        let (view, to) = self.acknowledged;
        if promised != (Promise { view, log_view: view }) {
            return Ok(());
        }
        self.compared.rot_not_truncated += 1;
        if head >= to {
            return Ok(());
        }
        let what = format!(
            "a start finds a log that ends at op {head}, and op {to} was acknowledged in view {view}"
        );
        Err(Broken::new("RotNotTruncated", what))
    }

    /// All view-change messages for one view carry the same headers, and what was present stays so.
    fn leave(&mut self, message: &DoViewChange, durable: Option<&DurableLog>) -> Result<(), Broken> {
        let slots =
            message.suffix.iter().map(|slot| (slot.header.op().get(), slot.header.hash(), slot.present));
        let (view, log_view) = (message.view.get(), message.log_view.get());
        let now = Left { view, log_view, slots: slots.collect() };
        let Some(before) = self.left.replace(now.clone()) else { return Ok(()) };
        if before.view != now.view {
            return if before.view < now.view {
                Ok(())
            } else {
                let what = format!(
                    "a view-change message for view {}, after one for view {}",
                    now.view, before.view
                );
                Err(Broken::new("NoStraddle", what))
            };
        }
        self.compared.view_change_stable += 1;
        let unstable = |what: String| {
            Err(Broken::new(
                "ViewChangeStable",
                format!("two view-change messages for view {}: {what}", now.view),
            ))
        };
        if before.log_view != now.log_view {
            return unstable(format!("log view {}, then {}", before.log_view, now.log_view));
        }
        let headers =
            |left: &Left| -> Vec<(u64, Hash)> { left.slots.iter().map(|slot| (slot.0, slot.1)).collect() };
        if headers(&before) != headers(&now) {
            return unstable(format!("headers {:?}, then {:?}", headers(&before), headers(&now)));
        }
        let faulty = |op| durable.and_then(|log| log.entry(op)).is_some_and(Durable::may_be_faulty);
        let mut slots = before.slots.iter().zip(&now.slots);
        let gone = slots.find(|(then, now)| then.2 && !now.2 && !faulty(now.0));
        if let Some(((op, hash, _), _)) = gone {
            return unstable(format!("op {op} ({hash:?}) is present, then it is not"));
        }
        Ok(())
    }
}
