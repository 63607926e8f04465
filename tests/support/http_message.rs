//! HTTP/1.1 as far as the proxies of the tests need it: heads, and bodies of every kind as a stream.

use std::io::{self, BufRead, Read as _};

/// The first line and the headers of a request or an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// `GET /path HTTP/1.1`, `HTTP/1.1 200 OK`
    pub first: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Sets a header, or removes it.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// As it is sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{}\r\n{headers}\r\n", self.first).into_bytes()
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }
}

/// The next head.
pub fn read_head(input: &mut impl BufRead) -> io::Result<Head> {
    let mut line = || -> io::Result<String> {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    };
    let mut head = Head { first: line()?, headers: Vec::new() };
    loop {
        let text = line()?;
        if text.is_empty() {
            return Ok(head);
        }
        if let Some((name, value)) = text.split_once(':') {
            head.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
}

/// Passes the body of a message with this head to `take`, as it comes, decoded. Without a length, the body of an answer
/// ends with the connection, and a request has none.
pub fn read_body(
    input: &mut impl BufRead,
    head: &Head,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    if head.is_chunked() {
        return read_chunks(input, take);
    }
    match head.header("content-length").and_then(|len| len.parse().ok()) {
        Some(len) => read_exactly(input, len, take),
        None if head.first.starts_with("HTTP/") && !matches!(head.status(), 204 | 304) => {
            read_exactly(input, u64::MAX, take).or_else(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Ok(()),
                _ => Err(error),
            })
        }
        None => Ok(()),
    }
}

fn read_exactly(
    input: &mut impl BufRead,
    mut len: u64,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    while len > 0 {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let now = buffer.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        take(&buffer[..now])?;
        input.consume(now);
        len -= now as u64;
    }
    Ok(())
}

fn read_chunks(input: &mut impl BufRead, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    loop {
        let mut size = String::new();
        input.by_ref().take(1000).read_line(&mut size)?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_| io::Error::other("not the size of a chunk"))?;
        read_exactly(input, size, take)?;
        // The end of the chunk's line. After the last chunk: trailers and an empty line.
        loop {
            let mut line = String::new();
            input.read_line(&mut line)?;
            if size > 0 || line.trim().is_empty() {
                break;
            }
        }
        if size == 0 {
            return Ok(());
        }
    }
}
