//! Checks the addresses in the configuration before the SDK gets them. At some malformed addresses the SDK panics, and for
//! others its errors contain whole requests.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A service: scheme, host, port, path.
    Service,
    /// The service that gives a container its credentials. A query is usual.
    Container,
    /// A proxy. It can contain a user name and a password, and the scheme can be missing.
    Proxy,
}

/// Checks that `url` can be used.
///
/// # Errors
/// The reason why it cannot, in words that follow "NAME: ". They repeat nothing of `url`, which can contain a password.
pub(super) fn check(url: &str, used: Use) -> Result<(), &'static str> {
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it contains a blank or a character that no address has");
    }
    if url.len() > MAX_LEN {
        return Err("it is too long for an address");
    }
    let rest = without_scheme(url, used)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    check_authority(authority, used)?;
    if path.contains('#') || (path.contains('?') && used != Use::Container) {
        return Err("it must not contain \"?\" or \"#\"");
    }
    if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/?:@!$&'()*+,;=-._~%".contains(&byte)) {
        return Err("its path contains a character that no address has");
    }
    Ok(())
}

/// Whether requests to `url` cross a network without encryption. `url` was checked.
pub(super) fn is_in_the_clear(url: &str) -> bool {
    let is_plain = url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let authority = url.get(7..).unwrap_or_default().split(['/', '?', '#']).next().unwrap_or_default();
    is_plain && !is_this_machine(authority)
}

/// Whether an authority without a user name means the machine itself.
fn is_this_machine(authority: &str) -> bool {
    if let Some(v6) = authority.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
        return v6.parse::<Ipv6Addr>().is_ok_and(|address| address.to_canonical().is_loopback());
    }
    let host = authority.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let is_loopback = host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    is_loopback || host == "localhost" || host.ends_with(".localhost")
}

/// Much longer than any address in use. The HTTP client refuses 64 KiB.
const MAX_LEN: usize = 2048;

fn without_scheme(url: &str, used: Use) -> Result<&str, &'static str> {
    let scheme = |name: &str| {
        let (head, tail) = (url.get(..name.len())?, url.get(name.len()..)?);
        head.eq_ignore_ascii_case(name).then_some(tail)
    };
    match scheme("http://").or_else(|| scheme("https://")) {
        Some(rest) => Ok(rest),
        None if used == Use::Proxy && !url.contains("://") => Ok(url),
        None if used == Use::Proxy => Err("only http:// and https:// proxies can be used"),
        None => Err("it must begin with http:// or https://"),
    }
}

fn check_authority(authority: &str, used: Use) -> Result<(), &'static str> {
    let place = match authority.rsplit_once('@') {
        Some((user, place)) if used == Use::Proxy && is_user(user) => place,
        Some(_) if used == Use::Proxy => return Err("its user name and password must be percent-encoded"),
        Some(_) => return Err("it must not contain a user name"),
        None => authority,
    };
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (v6, rest) = rest.split_once(']').ok_or("its host is not closed by \"]\"")?;
            v6.parse::<Ipv6Addr>().map_err(|_| "its host is not an IPv6 address")?;
            (None, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or("its port is not a port")?) })
        }
        None => match place.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(place), None),
        },
    };
    if !host.is_none_or(is_host) {
        return Err("it has no host");
    }
    match port {
        Some(port) if !is_port(port) => Err("its port is not a number from 1 to 65535"),
        _ => Ok(()),
    }
}

fn is_user(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:".contains(&byte))
}

fn is_host(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for url in [
            "http://127.0.0.1:4566",
            "https://kms.eu-west-1.amazonaws.com/",
            "HTTPS://KMS.example.",
            "http://[::1]:80/path",
            "http://[fd00:ec2::254]",
            "http://under_score.example/a/b",
        ] {
            assert_eq!(check(url, Use::Service), Ok(()), "{url}");
        }
        for url in [
            "",
            " ",
            "localhost:4566",
            "localhost",
            "//localhost",
            "ftp://localhost",
            "http:/localhost",
            "http://",
            "http:///path",
            "http://:80",
            "http://a..b",
            "http://a b",
            " http://a",
            "http://a\r",
            "http://a\n",
            "http://user@a",
            "http://a:",
            "http://a:0",
            "http://a:65536",
            "http://a:-1",
            "http://a:+80",
            "http://a:80:80",
            "http://[::1",
            "http://[::1]80",
            "http://[x]",
            "http://a/?q",
            "http://a/#f",
            "http://a/{b}",
            "http://ä",
            "http://a%20b",
        ] {
            assert!(check(url, Use::Service).is_err(), "{url:?}");
        }
        assert!(check(&format!("http://a/{}", "x".repeat(MAX_LEN)), Use::Service).is_err());
    }

    #[test]
    fn what_crosses_a_network_without_encryption() {
        for url in [
            "http://store.example",
            "HTTP://10.0.0.1:9000/path",
            "http://[fd00::1]:80",
            "http://localhost.example",
            "http://127.0.0.1.example:80/",
            "http://0.0.0.0",
            "http://notlocalhost",
        ] {
            assert!(check(url, Use::Service).is_ok() && is_in_the_clear(url), "{url}");
        }
        for url in [
            "https://store.example",
            "http://localhost",
            "http://LOCALHOST.:9000/path",
            "http://s3.localhost:4566",
            "http://127.0.0.1:4566",
            "http://127.9.9.9",
            "http://[::1]:80/path",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert!(check(url, Use::Service).is_ok() && !is_in_the_clear(url), "{url}");
        }
    }

    #[test]
    fn each_use_has_its_rules() {
        assert!(check("http://127.0.0.1/get?id=1", Use::Container).is_ok());
        assert!(check("http://127.0.0.1/get?id=1", Use::Service).is_err());
        for proxy in ["http://user:p%40ss@proxy:3128/", "proxy:3128", "https://proxy"] {
            assert!(check(proxy, Use::Proxy).is_ok(), "{proxy}");
        }
        for proxy in ["socks5://proxy", "http://us\"er@proxy", "http://", "proxy:x"] {
            assert!(check(proxy, Use::Proxy).is_err(), "{proxy}");
        }
    }
}
