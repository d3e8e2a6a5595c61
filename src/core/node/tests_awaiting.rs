//! Questions that wait for news, asked of one node alone: a partition of events, and a member that asks for its deliveries.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::tests::{Cluster, GROUP};
use crate::builtin::{BuiltinQuery, BuiltinView};
use crate::codec;
use crate::events::{
    Deliveries, Due, EventName, EventsCommand, EventsQuery, EventsView, GrantPlace, GroupOptions, MemberId,
    Mode, NewEvent, Start, TopicConfig,
};
use crate::kernel::{Command, EventPlace, Halt};
use crate::node::{About, Answer, Freshness, Input, Life, Limits, Query, QueryAnswer, Route, Timeouts};
use crate::types::{Blob, ClientId, Nanos, NoMarks, Op, RequestNumber, SessionId, usize_of};

/// A node, and the session of a client whose requests are counted.
struct Asked {
    cluster: Cluster,
    session: SessionId,
    requests: u64,
}

impl Asked {
    /// There is a topic, and a member of a consumer group that waits for its events.
    fn new() -> Self {
        let mut cluster = Cluster::of("events", 1);
        cluster.run(100);
        let session = cluster.register(1);
        let mut asked = Self { cluster, session, requests: 0 };
        asked.does(&EventsCommand::Open { topic: "t".to_string(), config: TopicConfig::default(), id: 1 });
        let options = GroupOptions {
            mode: Mode::Shared,
            start: Start::Earliest,
            ack_timeout: Nanos::from_secs(600),
            attempts_max: 0,
            rest: Nanos::default(),
            rest_max: Nanos::default(),
        };
        asked.does(&EventsCommand::Attach {
            topic: "t".to_string(),
            group: "g".to_string(),
            options,
            insists: true,
            member: MemberId(1),
            credits: 10,
            lease: Nanos::from_secs(600),
        });
        asked
    }

    fn does(&mut self, command: &EventsCommand) {
        self.requests += 1;
        let (client, number) = (ClientId::new(1), RequestNumber::new(self.requests));
        let body = Blob::from(codec::encode(command));
        let answer = self.cluster.ask(Command { client, session: self.session, number, body });
        assert!(matches!(answer, Answer::Committed { .. }), "{answer}");
    }

    /// An event that is due in so many milliseconds.
    fn publishes(&mut self, id: &str, in_ms: u64) {
        let name = EventName { partition_key: "p".to_string(), message_id: id.to_string() };
        let event = NewEvent {
            name,
            ordering_key: "k".to_string(),
            due: Due::In(in_ms),
            expires: None,
            payload: Blob::default(),
            meta: Vec::new(),
            allow_duplicate: false,
        };
        self.does(&EventsCommand::Publish { topic: "t".to_string(), events: vec![event] });
    }

    /// The member asks for what it was granted later than `after`.
    fn awaits(&mut self, number: u64, after: GrantPlace, patience: Nanos) {
        let (topic, group) = ("t".to_string(), "g".to_string());
        let question = EventsQuery::Deliveries { topic, group, member: MemberId(1), after };
        let body = Blob::from(codec::encode(&BuiltinQuery::Events(question)));
        let freshness = Freshness::Awaited { patience };
        let query = Query { number, group: GROUP, about: About::State, body, freshness };
        self.cluster.step(0, Input::Query { route: Route(9), query });
    }

    /// The numbers of the questions that were answered since, and of each how many deliveries it was told of.
    fn told(&mut self) -> Vec<(u64, Result<Deliveries, QueryAnswer>)> {
        let answers = core::mem::take(&mut self.cluster.answers).into_iter();
        answers.map(|(number, answer)| (number, deliveries(answer))).collect()
    }

    fn stands_still(&mut self) {
        let place = EventPlace { op: Op::new(9), index: 0 };
        let halt = Halt { place, skippable: true, what: "it broke".to_string() };
        let Some(Life::Running(running)) = self.cluster.nodes[0].as_mut().map(|node| &mut node.life) else {
            panic!("the node runs");
        };
        let mut effects = Vec::new();
        running.groups[0].stand_still(halt, &mut effects, &mut NoMarks);
        for effect in effects {
            if let crate::node::Effect::Answer { number, answer, .. } = effect {
                self.cluster.answers.push((number, answer));
            }
        }
    }
}

fn deliveries(answer: QueryAnswer) -> Result<Deliveries, QueryAnswer> {
    let QueryAnswer::State { body, .. } = &answer else { return Err(answer) };
    match codec::decode(body.as_slice()) {
        Ok(BuiltinView::Events(EventsView::Deliveries(deliveries))) => Ok(deliveries),
        other => panic!("no deliveries: {other:?}"),
    }
}

/// How many deliveries each answered question was told of.
fn counts(told: &[(u64, Result<Deliveries, QueryAnswer>)]) -> Vec<(u64, usize)> {
    let count = |(number, answer): &(u64, Result<Deliveries, QueryAnswer>)| {
        let told = answer.as_ref().expect("deliveries");
        (*number, told.deliveries.len())
    };
    told.iter().map(count).collect()
}

const LONG: Nanos = Nanos::from_secs(30);

#[test]
fn who_waits_for_news_is_told_at_once_when_there_is_some() {
    let mut asked = Asked::new();
    asked.publishes("a", 0);
    asked.awaits(1, GrantPlace::default(), LONG);
    assert_eq!(counts(&asked.told()), [(1, 1)], "nothing has to happen first");
}

#[test]
fn who_waits_for_news_is_told_when_it_comes_and_not_before() {
    let mut asked = Asked::new();
    asked.awaits(1, GrantPlace::default(), LONG);
    asked.publishes("a", 2000);
    asked.cluster.run(1000);
    assert_eq!(counts(&asked.told()), [], "an event was accepted, and is none of its deliveries yet");
    asked.cluster.run(1200);
    let told = asked.told();
    assert_eq!(counts(&told), [(1, 1)]);
    let known = told[0].1.as_ref().map(|told| told.deliveries[0].grant).expect("a delivery");
    asked.awaits(2, known, LONG);
    assert_eq!(counts(&asked.told()), [], "it knows that one");
    asked.publishes("b", 0);
    assert_eq!(counts(&asked.told()), [(2, 1)]);
}

#[test]
fn who_waits_for_news_is_told_that_there_is_none_once_its_patience_is_over() {
    let mut asked = Asked::new();
    asked.awaits(1, GrantPlace::default(), Nanos::from_millis(500));
    asked.awaits(2, GrantPlace::default(), LONG);
    asked.cluster.run(490);
    assert_eq!(counts(&asked.told()), []);
    let beat = Timeouts::default().heartbeat.as_nanos() / 1_000_000;
    asked.cluster.run(20 + beat);
    assert_eq!(counts(&asked.told()), [(1, 0)], "and whoever has more goes on waiting");
}

#[test]
fn nobody_waits_for_more_than_a_minute() {
    let mut asked = Asked::new();
    asked.awaits(1, GrantPlace::default(), Nanos::from_secs(3600));
    asked.cluster.run(59_900);
    assert_eq!(counts(&asked.told()), []);
    asked.cluster.run(1000);
    assert_eq!(counts(&asked.told()), [(1, 0)]);
}

#[test]
fn who_waits_for_news_hears_that_the_group_stands_still() {
    let mut asked = Asked::new();
    asked.awaits(1, GrantPlace::default(), LONG);
    asked.stands_still();
    asked.awaits(2, GrantPlace::default(), LONG);
    let told = asked.told();
    let halted = |told: &(u64, Result<Deliveries, QueryAnswer>)| match &told.1 {
        Err(QueryAnswer::Halted(halt)) => (told.0, halt.what.clone()),
        other => panic!("told {other:?}"),
    };
    let broke = "it broke".to_string();
    assert_eq!(told.iter().map(halted).collect::<Vec<_>>(), [(1, broke.clone()), (2, broke)]);
}

#[test]
fn who_waits_for_news_is_turned_away_when_too_many_wait() {
    let mut asked = Asked::new();
    let most = u64::from(Limits::default().queue_requests_max);
    (1..=most).for_each(|number| asked.awaits(number, GrantPlace::default(), LONG));
    assert_eq!(asked.told().len(), 0, "all of them wait");
    asked.awaits(most + 1, GrantPlace::default(), LONG);
    assert_eq!(asked.told(), [(most + 1, Err(QueryAnswer::Busy))]);
    asked.publishes("a", 0);
    assert_eq!(asked.told().len(), usize_of(most), "the others are told of the first event");
}
