//! Side effects as HTTP requests.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chronon_core::kernel::{Attempt, AttemptDone, AttemptResult};
use chronon_core::types::{Blob, ClusterId, GroupId, Nanos};
use tokio::runtime::Runtime;

use super::allowed::Allowed;
use super::poster::{Post, Posted, Poster as Http};
use super::wake::Wake;

/// Posts attempts from threads of its own, and wakes who waits for their ends.
#[derive(Debug)]
pub(super) struct Webhooks {
    /// `None` once it is being dropped.
    threads: Option<Runtime>,
    poster: Arc<Poster>,
}

#[derive(Debug)]
struct Poster {
    http: Http,
    timeout: Duration,
    ended: Mutex<Vec<(GroupId, AttemptDone)>>,
    wake: Wake,
}

impl Webhooks {
    /// Ends wake `wake`; an attempt that takes longer than `timeout` has failed.
    pub(super) fn new(
        cluster: ClusterId,
        allowed: Allowed,
        timeout: Duration,
        wake: Wake,
    ) -> io::Result<Self> {
        let (http, ended) = (Http::new(cluster, allowed), Mutex::default());
        let poster = Poster { http, timeout, ended, wake };
        let threads = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(THREADS_MAX)
            .thread_name("webhook")
            .build()?;
        Ok(Self { threads: Some(threads), poster: Arc::new(poster) })
    }

    /// Begins an attempt; its end is among the [`Webhooks::ended`] later.
    pub(super) fn execute(&self, group: GroupId, attempt: Attempt) {
        let poster = Arc::clone(&self.poster);
        let begun = Instant::now();
        if let Some(threads) = &self.threads {
            threads.spawn_blocking(move || {
                let Attempt { place, number, token, .. } = attempt;
                // The node has given it up by then, and a later attempt may be under way.
                let Some(left) = poster.timeout.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else {
                    tracing::warn!(%group, %place, number, "an attempt at a side effect found no thread in time");
                    return;
                };
                let result = poster.post(group, &attempt, left);
                tracing::debug!(%group, %place, number, ?result, "attempt at a side effect");
                poster.lock().push((group, AttemptDone { place, number, token, result }));
                poster.wake.wake();
            });
        }
    }

    /// Moves the attempts that have ended to `ended`.
    pub(super) fn ended(&self, ended: &mut Vec<(GroupId, AttemptDone)>) {
        ended.append(&mut self.poster.lock());
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        // What is on its way may take effect; nobody waits for it any more.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

impl Poster {
    fn lock(&self) -> MutexGuard<'_, Vec<(GroupId, AttemptDone)>> {
        // A list is whole after every push.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, group: GroupId, attempt: &Attempt, timeout: Duration) -> AttemptResult {
        let posted = self.http.post(&Post {
            target: attempt.side_effect.target(),
            key: &attempt.id.to_string(),
            token: &format!("{group}:{}", attempt.token),
            headers: &[],
            body: attempt.side_effect.body().as_slice(),
            timeout,
        });
        match posted {
            Posted::Done(answer) => AttemptResult::Done(Blob::from(answer)),
            Posted::Failed { why, rest } => AttemptResult::Failed {
                why: Blob::from(why.into_bytes()),
                rest: Nanos::from_nanos(u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX)),
            },
            Posted::Refused { why } => AttemptResult::Refused(Blob::from(why.into_bytes())),
        }
    }
}

/// Requests at once, for all groups of the node: receivers that say nothing must not take the threads of those that do.
const THREADS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use chronon_core::kernel::{
        Attempt, AttemptResult, FencingToken, Place, Retry, SideEffect, SideEffectId,
    };
    use chronon_core::types::{Blob, ClusterId, GroupId, Hash, Nanos, Op};

    use super::Webhooks;
    use crate::server::allowed::Allowed;
    use crate::server::wake::Wake;

    fn attempt(target: &str) -> Attempt {
        let body = Blob::from(b"hello".to_vec());
        Attempt {
            id: SideEffectId(Hash::of(b"id")),
            place: Place { op: Op::new(3), index: 1 },
            number: 2,
            token: FencingToken(9),
            side_effect: SideEffect::new(target.to_owned(), body, Retry::default()).unwrap(),
        }
    }

    /// What becomes of an attempt at a receiver that answers with these bytes, and what the receiver was sent.
    fn post_to(answer: &'static [u8]) -> (AttemptResult, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let receiver = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut lines: Vec<String> =
                reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            let mut body = [0; 5];
            reader.read_exact(&mut body).unwrap();
            lines.push(String::from_utf8(body.to_vec()).unwrap());
            stream.write_all(answer).unwrap();
            lines
        });
        let result = result_of(&url, Allowed::parse(&url).unwrap());
        (result, receiver.join().unwrap())
    }

    fn result_of(url: &str, allowed: Allowed) -> AttemptResult {
        let wake = Wake::new().unwrap();
        let webhooks =
            Webhooks::new(ClusterId::new(0xc1), allowed, Duration::from_secs(5), wake.clone()).unwrap();
        webhooks.execute(GroupId::new(4), attempt(url));
        wake.wait().unwrap();
        let mut ended = Vec::new();
        webhooks.ended(&mut ended);
        let (group, done) = ended.pop().unwrap();
        assert_eq!(
            (group, done.place, done.number, done.token),
            (GroupId::new(4), Place { op: Op::new(3), index: 1 }, 2, FencingToken(9))
        );
        done.result
    }

    #[test]
    fn a_receiver_is_told_key_and_token_and_its_answer_comes_back() {
        let (result, told) = post_to(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes");
        assert_eq!(result, AttemptResult::Done(Blob::from(b"yes".to_vec())));
        let told: Vec<String> = told.iter().map(|line| line.to_ascii_lowercase()).collect();
        let key = format!("idempotency-key: {}", SideEffectId(Hash::of(b"id")));
        for line in [
            "post /in http/1.1",
            key.as_str(),
            "fencing-token: 4:9",
            "chronon-cluster: 000000000000000000000000000000c1",
            "hello",
        ] {
            assert!(told.iter().any(|told| told == line), "{line} in {told:?}");
        }
    }

    #[test]
    fn what_may_work_later_fails_and_what_never_will_is_refused() {
        let (result, _) = post_to(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
        assert!(
            matches!(result, AttemptResult::Failed { rest, .. } if rest == Nanos::from_secs(7)),
            "{result:?}"
        );
        let (result, _) = post_to(b"HTTP/1.1 422 Nonsense\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(result, AttemptResult::Refused(Blob::from(b"422 Unprocessable Entity: no".to_vec())));
        let (result, _) =
            post_to(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
        assert!(matches!(result, AttemptResult::Refused(_)), "nobody is sent elsewhere: {result:?}");
        let (result, _) = post_to(b"no HTTP at all");
        assert!(matches!(result, AttemptResult::Failed { .. }), "{result:?}");
    }

    #[test]
    fn a_target_that_is_not_allowed_is_left_alone_for_a_while() {
        let result = result_of("http://127.0.0.1:9/", Allowed::default());
        assert!(
            matches!(result, AttemptResult::Failed { rest, .. } if rest == Nanos::from_secs(30)),
            "{result:?}"
        );
    }
}
