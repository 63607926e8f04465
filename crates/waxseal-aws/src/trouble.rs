//! Why a request got no answer. The types of the errors select a sentence.
//!
//! If a type is private to another crate, its text selects the sentence. That text is never repeated.

use std::error::Error as StdError;
use std::io;

use http_body_util::LengthLimitError;

/// A sentence of this crate that passes through the SDK. It is the only text of an SDK's error that is repeated.
#[derive(Debug)]
pub struct Own(pub String);

impl std::fmt::Display for Own {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl StdError for Own {}

type Chain<'a> = &'a (dyn StdError + 'static);

/// The error and its sources, outermost first. An error inside an [`io::Error`] is not one of its sources, so it is
/// looked up separately.
pub fn chain<'a>(error: Chain<'a>) -> impl Iterator<Item = Chain<'a>> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner as Chain<'a>),
        None => error.source(),
    })
}

/// The outermost error of a type.
pub fn find<T: StdError + 'static>(error: Chain<'_>) -> Option<&T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Whether the text of an error in the chain contains one of `words`.
pub fn says(error: Chain<'_>, words: &[&str]) -> bool {
    chain(error).any(|error| {
        let text = error.to_string();
        words.iter().any(|word| text.contains(word))
    })
}

/// The sentence for a connection that failed.
pub fn of_connection(error: Chain<'_>) -> &'static str {
    if let Some(error) = find::<rustls::Error>(error) {
        return match error {
            rustls::Error::InvalidCertificate(_) => "the certificate of the other side is not trusted",
            rustls::Error::InvalidMessage(_) => "the other side does not speak TLS",
            _ => "the TLS handshake failed",
        };
    }
    if find::<LengthLimitError>(error).is_some() {
        return TOO_LONG;
    }
    let kinds = chain(error).filter_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind);
    if let Some(known) = kinds.into_iter().find_map(of_kind) {
        return known;
    }
    for (words, sentence) in BY_TEXT {
        if says(error, words) {
            return sentence;
        }
    }
    "the connection failed"
}

/// Whether the connection ended in the middle of an answer.
pub fn is_cut(error: Chain<'_>) -> bool {
    find::<io::Error>(error).is_some() || says(error, &["closed", "end of file", "incomplete", "reading a body"])
}

/// An answer that is longer than any of AWS's.
pub const TOO_LONG: &str = "the answer is longer than any of AWS's";

/// hyper's errors cannot be told apart by type.
const BY_TEXT: [(&[&str], &str); 5] = [
    (&["dns error", "failed to lookup"], "the name of the host cannot be resolved"),
    (&["timed out", "timeout"], "there was no answer in time"),
    (&["invalid URI", "invalid uri", "authority", "relative URL"], "the endpoint is not a valid address"),
    (&["closed", "end of file", "canceled", "incomplete"], "the connection was cut"),
    (&["parse", "invalid HTTP", "invalid chunk", "message head"], "the answer is not HTTP"),
];

fn of_kind(kind: io::ErrorKind) -> Option<&'static str> {
    use io::ErrorKind as K;
    Some(match kind {
        K::ConnectionRefused => "the connection was refused",
        K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof | K::NotConnected => {
            "the connection was cut"
        }
        K::TimedOut => "there was no answer in time",
        K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown | K::AddrNotAvailable => {
            "the host cannot be reached"
        }
        K::PermissionDenied => "this system forbids the connection",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_type_also_inside_of_io_errors() {
        let tls = io::Error::other(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
        assert_eq!(of_connection(&tls), "the certificate of the other side is not trusted");
        let nested = io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(of_connection(&nested), "the connection was refused");
        assert_eq!(of_connection(&io::Error::other("dns error: secret")), "the name of the host cannot be resolved");
        assert_eq!(of_connection(&io::Error::other("secret")), "the connection failed");
    }
}
