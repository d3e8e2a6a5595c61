//! A reminder: published for two seconds later, and delivered then.
//!
//! ```text
//! cargo run --release -- serve --dev                                     a node, in another terminal
//! cargo run --release --example remind -- http://127.0.0.1:9000 "tea"    any gateways of a cluster, separated by commas
//! cargo test --example remind                                            the same, with a node of its own
//! ```

use std::time::{Duration, SystemTime};

use chronon::client::events::{Due, Events, EventsError, NewEvent, Subscribe};

/// Has `words` come back after `delay`; how long that took.
async fn remind(addresses: &str, words: &str, delay: Duration) -> Result<(String, Duration), EventsError> {
    let events = Events::connect(addresses.split(','), Duration::from_secs(10)).await?;
    let start = SystemTime::now();
    let name =
        format!("reminder-{}", start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos());
    // Published again under its name, it would be a duplicate: no reminder comes twice.
    let reminder = NewEvent::new("reminders", words.to_owned()).named(&name).due(Due::In(delay));
    events.publish(reminder).await?;
    let mut deliveries = events.subscribe(Subscribe::new("reminders", "me"))?;
    while let Some(delivered) = deliveries.next().await {
        let delivered = delivered?;
        // Until it is acknowledged it is delivered again: to this program, or the next one that is a member of the group.
        delivered.ack().await?;
        if delivered.event().is_some_and(|event| event.message_id == name) {
            let said = String::from_utf8_lossy(delivered.payload()).into_owned();
            return Ok((said, start.elapsed().unwrap_or_default()));
        }
    }
    Err(EventsError::NotFound { why: "the deliveries have ended".to_owned() })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), EventsError> {
    let mut arguments = std::env::args().skip(1);
    let addresses = arguments.next().unwrap_or_else(|| "http://127.0.0.1:9000".to_owned());
    let words = arguments.next().unwrap_or_else(|| "it is time".to_owned());
    let (said, after) = remind(&addresses, &words, Duration::from_secs(2)).await?;
    println!("{said} (after {:.3} s)", after.as_secs_f64());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::net::{SocketAddr, TcpListener};
    use std::thread;
    use std::time::Duration;

    use super::remind;

    fn free_address() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
    }

    #[tokio::test]
    async fn a_reminder_comes_when_it_is_due_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let [requests, http, grpc] = std::array::from_fn(|_| free_address().to_string());
        let data = folder.path().join("node").display().to_string();
        let words = ["chronon", "serve", "--dev", "--data-dir", &data, "--requests", &requests];
        let words = words.into_iter().chain(["--http", &http, "--grpc", &grpc]);
        let words: Vec<OsString> = words.map(OsString::from).collect();
        thread::spawn(|| chronon::cli::run(words));
        // Nobody is at the first address: the second one does.
        let addresses = format!("http://127.0.0.1:1,http://{grpc}");
        let delay = Duration::from_secs(2);
        let mut reminded = remind(&addresses, "tea", delay).await;
        for _ in 0..100 {
            if reminded.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            reminded = remind(&addresses, "tea", delay).await;
        }
        let (said, after) = reminded.unwrap();
        assert_eq!(said, "tea");
        assert!(after >= delay, "it came after {after:?}");
    }
}
