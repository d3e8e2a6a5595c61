//! Keeping the journal short: what is needed no more goes, what little keeps the oldest segment is written again at the end, and a
//! group that keeps too much of it takes no new commands.

use alloc::vec::Vec;

use super::{Effects, Life, Node};
use crate::engine::DiskOut;
use crate::kernel::ChrApplication;
use crate::types::{GroupId, Mark, Marks};

impl<A: ChrApplication, M: Marks> Node<A, M> {
    /// Lets go of journal segments that are not needed; does what it takes to need the oldest no more: one snapshot at
    /// a time, and promises written again.
    pub(super) fn shorten_journal(&mut self, effects: &mut Effects) {
        let Life::Running(running) = &mut self.life else { return };
        let is_too_long = self.engine.is_too_long();
        let mut floors = Vec::with_capacity(running.groups.len());
        for group in &mut running.groups {
            let replica = &mut group.replica;
            // A primary applies what it got as a snapshot entry by entry.
            let released = self.engine.released(replica.group()).min(replica.applied());
            replica.set_released(released, &mut self.marks);
            let floor = if is_too_long { replica.released() } else { replica.floor() };
            if floor > replica.floor() {
                self.marks.hit(Mark::LaggardsLeft);
            }
            replica.forget_to(floor);
            floors.push((replica.group(), floor));
        }
        let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
        if let Err(error) = self.engine.set_floors(floors.into_iter(), out) {
            return self.halt_over(error, effects);
        }
        let now = self.now.monotonic;
        let follows: Vec<GroupId> = running
            .groups
            .iter_mut()
            .filter_map(|group| {
                // Where the archive is what lags, a snapshot would change nothing.
                let lags = self.engine.saved(group.id()) <= group.replica.released();
                let follows = group.must_follow_with_a_snapshot(now) || group.keeps_too_much;
                (follows && lags).then(|| group.id())
            })
            .collect();
        if let Some(pins) = self.engine.pins() {
            for id in pins.promises {
                self.with_group(id, effects, |group, turn| group.replica.renew_promise(turn));
            }
            let here = pins.snapshots.into_iter().filter(|group| self.group(*group).is_some());
            if let Some(id) = here.min_by_key(|group| self.engine.saved(*group)) {
                self.save_snapshot(id);
            }
        }
        for id in follows {
            self.marks.hit(Mark::SnapshotFollows);
            self.save_snapshot(id);
        }
        self.emit_disk_ops(effects);
    }

    /// Lets the engine see to its space, and scrub.
    pub(super) fn keep_disk(&mut self, effects: &mut Effects) {
        let out = &mut DiskOut { ops: &mut self.disk_ops, marks: &mut self.marks };
        if let Err(error) = self.engine.keep_space(self.now.monotonic, out) {
            return self.halt_over(error, effects);
        }
        self.engine.scrub(self.now.monotonic, out);
        self.emit_disk_ops(effects);
    }

    /// The journal is too long although snapshots were taken: what its oldest segment holds and is needed, of groups that commit
    /// nothing or whose archive is not as far, is written again at its end, so that the segment can go. Of a group that
    /// keeps too much for that no new commands are taken.
    pub(super) fn copy_forward(&mut self, effects: &mut Effects) {
        let engine = &self.config.engine;
        let oldest = self.engine.oldest_entries();
        let is_too_long = oldest.is_some() && self.engine.is_too_long();
        let journal_bytes =
            engine.segment_bytes * u64::from(engine.sealed_segments_max.max(engine.sealed_segments_target));
        let Life::Running(running) = &mut self.life else { return };
        for group in &mut running.groups {
            // Chunks of its archive must be able to end.
            let chunk_bytes = group.replica.init().archive.map_or(0, |archive| archive.chunk_bytes);
            let quota = (journal_bytes / 2).max(4 * u64::from(chunk_bytes));
            group.keeps_too_much = is_too_long && group.replica.live_bytes() > quota;
        }
        let Some((oldest, through)) = oldest.filter(|_| self.engine.may_copy_forward()) else { return };
        for (id, to) in &oldest {
            let group = running.groups.iter().find(|group| group.id() == *id);
            if group.is_none_or(|group| !group.replica.is_whole(*to, through)) {
                return;
            }
        }
        // What is written again and again must be the lesser part, or nothing would ever be gained.
        let live: u64 = running.groups.iter().map(|group| group.replica.live_bytes()).sum();
        if live > journal_bytes / 2 {
            return;
        }
        self.marks.hit(Mark::CopiedForward);
        for (id, to) in oldest {
            self.with_group(id, effects, |group, turn| group.replica.copy_forward(turn, to, through));
        }
        self.engine.note_copied_forward();
    }
}
