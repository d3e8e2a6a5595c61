//! The client library for events, against three processes of which the one that it talks to is killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use chronon::cli::local_cluster::LocalCluster;
use chronon::client::events::{Due, Events, EventsError, NewEvent, Subscribe};

use crate::folder::{CHRONON, Folder};

fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn cluster(folder: &Folder, size: u16) -> LocalCluster {
    let mut cluster = LocalCluster::at(Path::new(CHRONON), folder.path(), size).unwrap().for_events();
    cluster.format_all().unwrap();
    cluster.start_all().unwrap();
    cluster.wait_ready(Duration::from_secs(30)).unwrap();
    let server = format!("http://{}", cluster.grpc_address(0));
    let made =
        std::process::Command::new(CHRONON).args(["topic", "create", "t", "--server", &server]).output();
    assert!(made.unwrap().status.success());
    cluster
}

async fn events(cluster: &LocalCluster) -> Events {
    let addresses = (0..cluster.size()).map(|node| format!("http://{}", cluster.grpc_address(node)));
    Events::connect(addresses, Duration::from_secs(30)).await.unwrap()
}

#[test]
fn a_publisher_and_a_subscription_go_on_at_another_gateway() {
    let folder = Folder::new("client-events");
    let mut cluster = cluster(&folder, 3);
    on_a_runtime(async {
        let events = events(&cluster).await;
        let (publisher, mut sent) = (events.publisher(), Vec::new());
        let mut deliveries = events.subscribe(Subscribe::new("t", "g")).unwrap();
        for number in 0..300 {
            // All have been talking to the first one.
            if number == 150 {
                cluster.kill(0);
            }
            let event = NewEvent::new("t", "x").named(format!("e{number}"));
            sent.push(publisher.publish(event).await.unwrap());
        }
        for pending in sent {
            pending.published().await.unwrap();
        }
        let mut acknowledged: BTreeMap<String, u32> = BTreeMap::new();
        while acknowledged.len() < 300 {
            let next = tokio::time::timeout(Duration::from_secs(60), deliveries.next()).await;
            let delivered = next.expect("a delivery in time").unwrap().unwrap();
            let id = delivered.event().unwrap().message_id.clone();
            match delivered.ack().await {
                // What was open when its gateway was lost may come twice; its first acknowledgement counts.
                Ok(()) | Err(EventsError::Refused { .. }) => *acknowledged.entry(id).or_default() += 1,
                Err(error) => panic!("{id}: {error}"),
            }
        }
        let expected: Vec<String> = (0..300).map(|number| format!("e{number}")).collect();
        assert!(expected.iter().all(|id| acknowledged.contains_key(id)), "{acknowledged:?}");
    });
}

#[test]
fn what_is_asked_of_the_library_is_answered_in_its_words() {
    let folder = Folder::new("client-words");
    let cluster = cluster(&folder, 1);
    on_a_runtime(async {
        let events = events(&cluster).await;
        let batch = ["a", "b", "a", ""].map(|id| {
            let payload = if id.is_empty() { "" } else { "x" };
            NewEvent::new("t", payload).named(id).due(Due::In(Duration::from_secs(3600)))
        });
        let results = events.publish_batch(batch).await.unwrap();
        let accepted = |place: usize| results[place].as_ref().unwrap();
        assert!(!accepted(0).is_duplicate && !accepted(1).is_duplicate && accepted(2).is_duplicate);
        assert_eq!(accepted(0).offset, accepted(2).offset);
        assert!(matches!(&results[3], Err(EventsError::Refused { why }) if why == "payload is required"));
        let stranger = events.publisher().publish(NewEvent::new("none", "x")).await.unwrap();
        let refused = stranger.published().await.unwrap_err().to_string();
        assert!(refused.contains("no such topic: none"), "{refused}");

        assert_eq!(events.fate("t", "a").await.unwrap().unwrap().state, "SCHEDULED");
        assert!(events.fate("t", "never").await.unwrap().is_none());
        assert!(matches!(events.fate("none", "a").await, Err(EventsError::NotFound { .. })));
        events.cancel("t", "b").await.unwrap();
        assert!(matches!(events.cancel("t", "b").await, Err(EventsError::Refused { .. })));
        events.reschedule("t", "a", Due::At(SystemTime::UNIX_EPOCH)).await.unwrap();

        let wanted = Subscribe::new("t", "g").credits(1).ack_timeout(Duration::from_secs(2));
        let mut deliveries = events.subscribe(wanted).unwrap();
        let first = deliveries.next().await.unwrap().unwrap();
        assert_eq!((first.payload(), first.attempt()), (&b"x"[..], 1));
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            first.extend().await.unwrap();
        }
        first.nack("not yet", Some(Duration::from_millis(10))).await.unwrap();
        let second = deliveries.next().await.unwrap().unwrap();
        assert_eq!(second.attempt(), 2);
        assert!(
            matches!(first.ack().await, Err(EventsError::Refused { .. })),
            "an answer to an earlier attempt"
        );
        second.term("poison").await.unwrap();
        let fate = events.fate("t", "a").await.unwrap().unwrap();
        assert_eq!(
            (fate.deliveries[0].state.as_str(), fate.deliveries[0].why.as_str()),
            ("FAILED_TERMINAL", "poison")
        );

        let mut wrong = events.subscribe(Subscribe::new("t", "g").ordered(true)).unwrap();
        assert!(matches!(wrong.next().await, Some(Err(EventsError::Refused { .. }))));
        let nobody = Events::connect(["http://127.0.0.1:1"], Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(nobody, EventsError::Unreachable { .. }), "{nobody}");
        let nowhere = Events::connect(["nowhere at all"], Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(nowhere, EventsError::BadAddress { .. }), "{nowhere}");
    });
}
