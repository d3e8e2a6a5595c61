//! Signatures of what is posted, as the Standard Webhooks specification has them (standardwebhooks.com, "Signature scheme").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// The three headers: a receiver that knows one of the secrets can tell that the message is ours, and fresh.
pub(super) fn headers(
    secrets: &[String],
    id: &str,
    seconds: u64,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let mut headers = vec![("webhook-id", id.to_owned()), ("webhook-timestamp", seconds.to_string())];
    let signatures: Vec<String> =
        secrets.iter().filter_map(|secret| sign(secret, id, seconds, body)).collect();
    if !signatures.is_empty() {
        headers.push(("webhook-signature", signatures.join(" ")));
    }
    headers
}

/// Whether a secret can sign: base64 of 24 to 64 bytes, with or without its prefix.
pub(super) fn is_secret(secret: &str) -> bool {
    key_of(secret).is_some_and(|key| KEY_BYTES.contains(&key.len()))
}

fn sign(secret: &str, id: &str, seconds: u64, body: &[u8]) -> Option<String> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key_of(secret)?);
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{id}.{seconds}.").as_bytes());
    context.update(body);
    Some(format!("v1,{}", STANDARD.encode(context.sign().as_ref())))
}

fn key_of(secret: &str) -> Option<Vec<u8>> {
    STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).ok()
}

const KEY_BYTES: core::ops::RangeInclusive<usize> = 24..=64;

#[cfg(test)]
mod tests {
    use super::{headers, is_secret};

    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
        assert!(is_secret(&secret));
        let body = br#"{"test": 2432232314}"#;
        let headers = headers(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        let signature = headers.iter().find(|(name, _)| *name == "webhook-signature");
        let value = signature.map(|(_, value)| value.as_str());
        assert_eq!(value, Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn what_is_no_secret_is_told_apart() {
        for nonsense in ["", "whsec_", "whsec_short", "not base64 at all, whatever one thinks of it"] {
            assert!(!is_secret(nonsense), "{nonsense}");
        }
    }
}
