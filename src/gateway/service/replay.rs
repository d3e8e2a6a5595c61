//! Replay: what became ready, in that order, as it was published, without touching consumer groups.

use std::collections::VecDeque;
use std::time::Duration;

use chronon_core::events::{EventsQuery, EventsView, KeptFrom, KeptView};
use chronon_core::types::Timestamp;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Api;
use super::convert::{self, at_ms, signed};
use crate::gateway::proto::cronos_db::{ReplayEvent, ReplayRequest};
use crate::gateway::topics::{Partition, Refused};

/// Which events, and how fast.
#[derive(Clone, Copy, Debug)]
struct Range {
    from: KeptFrom,
    /// What became ready then is not told any more.
    until: Option<Timestamp>,
    count: u64,
    /// As fast as they can be read when it is none.
    speed: Option<f64>,
}

/// What is to come of one partition.
struct Reel {
    partition: Partition,
    next: KeptFrom,
    rows: VecDeque<KeptView>,
    is_end: bool,
}

impl Api {
    /// Begins a replay: what is wrong with the request, or the partitions' events in the order in which they became ready.
    pub(super) async fn begin_replay(
        &self,
        wanted: ReplayRequest,
        out: mpsc::Sender<Result<ReplayEvent, Refused>>,
    ) -> Result<(), Refused> {
        let range = range(&wanted)?;
        let unknown = || Refused::NotFound(format!("no such topic: {}", wanted.topic));
        let topic = self.0.topics.find(&wanted.topic).await?.ok_or_else(unknown)?;
        let partitions = self.0.topics.some_partitions(&topic, wanted.partition_id)?;
        let new = |partition| Reel { partition, next: range.from, rows: VecDeque::new(), is_end: false };
        let mut reels: Vec<Reel> = partitions.into_iter().map(new).collect();
        let api = self.clone();
        tokio::spawn(async move {
            if let Err(error) = api.replay_all(&mut reels, range, &out).await {
                let _nobody_listens = out.send(Err(error)).await;
            }
        });
        Ok(())
    }

    async fn replay_all(
        &self,
        reels: &mut [Reel],
        range: Range,
        out: &mpsc::Sender<Result<ReplayEvent, Refused>>,
    ) -> Result<(), Refused> {
        let mut last: Option<Timestamp> = None;
        for _ in 0..range.count {
            for reel in reels.iter_mut() {
                self.wind(reel).await?;
            }
            let next = reels.iter_mut().filter(|reel| !reel.rows.is_empty());
            let Some(reel) = next.min_by_key(|reel| reel.rows.front().map(|row| row.at)) else {
                return Ok(());
            };
            let Some(row) = reel.rows.pop_front() else { return Ok(()) };
            if range.until.is_some_and(|until| row.at >= until) {
                return Ok(());
            }
            if let (Some(speed), Some(last)) = (range.speed, last) {
                let between = Duration::from_nanos(row.at.as_nanos().saturating_sub(last.as_nanos()));
                sleep(Duration::try_from_secs_f64(between.as_secs_f64() / speed).unwrap_or(Duration::MAX))
                    .await;
            }
            last = Some(row.at);
            let (_, event) = self.0.payloads.next(reel.partition.group, row.stored).await?;
            let event = convert::event(&reel.partition, row.offset, row.due_ms, event);
            let replayed = ReplayEvent { event: Some(event), replay_offset: signed(row.seq) };
            if out.send(Ok(replayed)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads on, when what was read has been told.
    async fn wind(&self, reel: &mut Reel) -> Result<(), Refused> {
        if !reel.rows.is_empty() || reel.is_end {
            return Ok(());
        }
        let question = EventsQuery::Kept {
            topic: reel.partition.topic.name.clone(),
            group: String::new(),
            from: reel.next,
        };
        match self.0.topics.view(&reel.partition, question).await? {
            EventsView::Kept { rows, is_end } => {
                if let Some(last) = rows.last() {
                    reel.next = KeptFrom::Seq(last.seq + 1);
                }
                (reel.rows, reel.is_end) = (rows.into(), is_end);
            }
            // Nobody has published to it.
            EventsView::Unknown => reel.is_end = true,
            other => {
                return Err(Refused::Unavailable(format!("a partition told {other:?} of what it keeps")));
            }
        }
        Ok(())
    }
}

fn range(wanted: &ReplayRequest) -> Result<Range, Refused> {
    let invalid = |why: String| Err(Refused::Invalid(why));
    let ReplayRequest { start_ts, end_ts, start_offset, count, speed, .. } = *wanted;
    for (what, value) in
        [("start_ts", start_ts), ("end_ts", end_ts), ("start_offset", start_offset), ("count", count)]
    {
        if value < 0 {
            return invalid(format!("{what} is {value}: it must not be negative"));
        }
    }
    if start_ts > 0 && start_offset > 0 {
        return invalid("a replay begins at start_ts or at start_offset, and not at both".to_owned());
    }
    if end_ts > 0 && end_ts < start_ts {
        return invalid(format!("end_ts {end_ts} is before start_ts {start_ts}"));
    }
    if !(0.0..=SPEED_MAX).contains(&speed) {
        return invalid(format!(
            "speed is {speed}: it is a factor up to {SPEED_MAX}, or 0 for as fast as can be"
        ));
    }
    let from = if start_ts > 0 {
        KeptFrom::Time(at_ms(start_ts))
    } else {
        KeptFrom::Seq(u64::try_from(start_offset).unwrap_or_default())
    };
    // All of the last millisecond.
    let until = (end_ts > 0).then(|| at_ms(end_ts.saturating_add(1)));
    let count = u64::try_from(count).ok().filter(|count| *count > 0).unwrap_or(u64::MAX);
    Ok(Range { from, until, count, speed: (speed > 0.0).then_some(speed) })
}

/// Faster is as fast as can be.
const SPEED_MAX: f64 = 1e9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replay_cannot_be_is_refused_by_name() {
        let refused = [
            (ReplayRequest { start_ts: -1, ..ReplayRequest::default() }, "start_ts"),
            (ReplayRequest { count: -5, ..ReplayRequest::default() }, "count"),
            (ReplayRequest { start_ts: 9, end_ts: 8, ..ReplayRequest::default() }, "end_ts"),
            (ReplayRequest { start_ts: 9, start_offset: 8, ..ReplayRequest::default() }, "start_offset"),
            (ReplayRequest { speed: -1.0, ..ReplayRequest::default() }, "speed"),
            (ReplayRequest { speed: f64::NAN, ..ReplayRequest::default() }, "speed"),
        ];
        for (wanted, names) in refused {
            let why = range(&wanted).expect_err("it makes no sense").to_string();
            assert!(why.contains(names), "{why}");
        }
        let all = range(&ReplayRequest::default()).expect("everything");
        assert_eq!((all.from, all.until, all.count), (KeptFrom::Seq(0), None, u64::MAX));
    }
}
