//! HTTP requests to receivers outside: what they are told beside the body, and what their answers mean.
//!
//! ```text
//! POST target
//! Idempotency-Key: the same in every attempt
//! Fencing-Token: group:token; who has seen a higher token of the group refuses lower ones
//! Chronon-Cluster: whose groups these are
//! ```
//!
//! | answer | is |
//! |---|---|
//! | 2xx, whole | done |
//! | 408, 409, 425, 429, 5xx, none, or one that breaks off | a failure: tried again, after `Retry-After` at least |
//! | any other | a refusal: given up |
//!
//! A target that the node may not post to is a failure as well: an operator may allow it.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use chronon_core::kernel::SIDE_EFFECT_ANSWER_BYTES_MAX;
use chronon_core::types::ClusterId;
use ureq::Agent;
use ureq::http::{HeaderMap, StatusCode, header};

use super::allowed::Allowed;

/// Posts, to where it may.
#[derive(Debug)]
pub struct Poster {
    allowed: Allowed,
    agent: Agent,
    /// So that receivers tell its tokens from those of other clusters.
    cluster: String,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Post<'a> {
    pub target: &'a str,
    pub key: &'a str,
    pub token: &'a str,
    pub headers: &'a [(&'static str, String)],
    pub body: &'a [u8],
    pub timeout: Duration,
}

/// What became of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Posted {
    /// It was taken; the answer's body.
    Done(Vec<u8>),
    /// It may be taken later, and not before it has rested.
    Failed { why: String, rest: Duration },
    /// It never will be.
    Refused { why: String },
}

impl Poster {
    /// Of this cluster, to these receivers.
    pub fn new(cluster: ClusterId, allowed: Allowed) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("chronon/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { allowed, agent: agent.into(), cluster: format!("{:032x}", cluster.get()) }
    }

    /// Blocks until there is an answer, or none in time.
    pub(crate) fn post(&self, post: &Post<'_>) -> Posted {
        let Post { target, key, token, headers, body, timeout } = *post;
        if !self.allowed.allows(target) {
            let why = format!("{target} is none of the targets that this node may post to (key `webhooks`)");
            return Posted::Failed { why, rest: REST_OF_THE_FORBIDDEN };
        }
        let mut request = self
            .agent
            .post(target)
            .config()
            .timeout_global(Some(timeout))
            .build()
            .header("Chronon-Cluster", &self.cluster)
            .header("Idempotency-Key", key)
            .header("Fencing-Token", token)
            .header(header::CONTENT_TYPE, "application/octet-stream");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let mut response = match request.send(body) {
            Ok(response) => response,
            Err(error) => return Posted::Failed { why: error.to_string(), rest: Duration::ZERO },
        };
        let rest = retry_after(response.headers(), SystemTime::now());
        let mut answer = Vec::new();
        let length = SIDE_EFFECT_ANSWER_BYTES_MAX as u64;
        if let Err(error) = response.body_mut().as_reader().take(length).read_to_end(&mut answer) {
            return Posted::Failed { why: error.to_string(), rest };
        }
        judge(response.status(), answer, rest)
    }
}

fn judge(status: StatusCode, answer: Vec<u8>, rest: Duration) -> Posted {
    if status.is_success() {
        return Posted::Done(answer);
    }
    let why = format!("{status}: {}", String::from_utf8_lossy(&answer));
    match status {
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::CONFLICT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS => Posted::Failed { why, rest },
        _ if status.is_server_error() => Posted::Failed { why, rest },
        _ => Posted::Refused { why },
    }
}

/// How long the receiver asks to be left alone: seconds, or until a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Duration {
    let text = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::trim);
    let rest = text.and_then(|text| match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).ok(),
    });
    rest.unwrap_or_default().min(REST_MAX)
}

/// A target that is not allowed now may be, once an operator has looked at the node.
const REST_OF_THE_FORBIDDEN: Duration = Duration::from_secs(30);
/// Nobody is left alone for longer.
const REST_MAX: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use ureq::http::{HeaderMap, HeaderValue, header};

    use super::retry_after;

    #[test]
    fn a_receiver_says_how_long_in_seconds_or_until_when() {
        let now = httpdate::parse_http_date("Sun, 22 Nov 2026 20:00:00 GMT").unwrap();
        let rest = |text: &'static str| {
            let value = HeaderValue::from_static(text);
            retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value)]), now)
        };
        assert_eq!(rest("120"), Duration::from_secs(120));
        assert_eq!(rest("Sun, 22 Nov 2026 20:01:00 GMT"), Duration::from_secs(60));
        assert_eq!(rest("Sun, 22 Nov 2026 19:00:00 GMT"), Duration::ZERO);
        assert_eq!(rest("soon"), Duration::ZERO);
        assert_eq!(rest("99999999999"), Duration::from_secs(24 * 3600));
        assert_eq!(retry_after(&HeaderMap::new(), SystemTime::now()), Duration::ZERO);
    }
}
