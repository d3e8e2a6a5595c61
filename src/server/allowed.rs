//! Where a node may post side effects: clients name targets, and operators say which are theirs to name.

use ureq::http::Uri;

/// Which URLs may be posted to: those of a few receivers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Allowed(Vec<Receiver>);

/// Where a URL may lead.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Receiver {
    scheme: String,
    host: String,
    /// `None` is any.
    port: Option<u16>,
    /// What the path begins with.
    path: String,
}

impl Allowed {
    /// Reads a list such as `https://hooks.example.com/,http://127.0.0.1:*/in/`, where a star stands for any port; `None` when a
    /// part of it is no such thing.
    pub fn parse(text: &str) -> Option<Self> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let receiver = |part: &str| Receiver::parse(part).filter(|_| !part.contains('?'));
        parts.map(receiver).collect::<Option<_>>().map(Self)
    }

    pub(super) fn allows(&self, target: &str) -> bool {
        let Some(Receiver { scheme, host, port, path }) = Receiver::parse(target) else { return false };
        let is_there = |receiver: &Receiver| {
            receiver.scheme == scheme
                && receiver.host == host
                && (receiver.port.is_none() || receiver.port == port)
                && path.starts_with(&receiver.path)
        };
        port.is_some() && self.0.iter().any(is_there)
    }
}

impl Receiver {
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) =
            url.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme))?;
        let authority = &rest[..rest.find('/')?];
        // A star is no port to the reader of URLs: it is put aside.
        let (any_port, url) = match authority.strip_suffix(":*") {
            Some(host) => (true, format!("{scheme}://{host}{}", &rest[authority.len()..])),
            None => (false, url.to_owned()),
        };
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let named = authority.as_str().strip_prefix(authority.host())?;
        let port = match named.strip_prefix(':') {
            _ if any_port => None,
            Some(port) => Some(port.parse().ok()?),
            None => Some(if scheme == "https" { 443 } else { 80 }),
        };
        let host = authority.host().to_ascii_lowercase();
        is_plain(uri.path()).then(|| Self {
            scheme: scheme.to_owned(),
            host,
            port,
            path: uri.path().to_owned(),
        })
    }
}

/// Whether a path leads where it seems to: who resolves dots or hidden slashes might come out elsewhere.
fn is_plain(path: &str) -> bool {
    let lower = path.to_ascii_lowercase().replace("%2e", ".");
    let is_hidden = ["%2f", "%5c", "\\"].iter().any(|hidden| lower.contains(hidden));
    !is_hidden && !lower.split('/').any(|segment| segment == "." || segment == "..")
}

#[cfg(test)]
mod tests {
    use super::Allowed;

    #[test]
    fn a_url_is_allowed_by_scheme_host_port_and_the_beginning_of_its_path() {
        let allowed =
            Allowed::parse("https://hooks.example.com/in/, http://127.0.0.1:8000/,http://localhost:*/")
                .unwrap();
        for right in [
            "https://hooks.example.com/in/a",
            "https://HOOKS.example.com:443/in/",
            "http://127.0.0.1:8000/any?where",
            "http://localhost/",
            "http://localhost:81/in",
        ] {
            assert!(allowed.allows(right), "{right}");
        }
        for wrong in [
            "https://hooks.example.com/out",
            "http://hooks.example.com/in/",
            "https://hooks.example.com.evil.org/in/",
            "https://hooks.example.com:444/in/",
            "http://127.0.0.1:80001/",
            "http://localhost:81@evil.org/",
            "http://localhost:*/",
            "http://localhost:99999/",
            "https://hooks.example.com/in/../out",
            "https://hooks.example.com/in/%2E%2e/out",
            "https://hooks.example.com/in/..%2fout",
            "https://hooks.example.com/in/a\\..\\out",
            "file:///etc/passwd",
            "/in/",
        ] {
            assert!(!allowed.allows(wrong), "{wrong}");
        }
        assert_eq!(Allowed::parse(""), Some(Allowed::default()));
        for wrong in [
            "https://hooks.example.com",
            "https://hooks.example.com/in?x=1",
            "https://hooks.example.com:x/",
            "ftp://example.com/",
            "http:///",
            "example.com/",
        ] {
            assert_eq!(Allowed::parse(wrong), None, "{wrong}");
        }
    }
}
