//! Replacements for AWS KMS on 127.0.0.1: a listener that closes the connection at the first byte, and a service that
//! answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::process::Tool;

/// The ARN of the key. The key does not exist.
pub(crate) const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// Where the program connects to its key service.
fn configure<'a>(command: &'a mut Command, url: &str) -> &'a mut Command {
    command
        .env("AWS_ENDPOINT_URL_KMS", url)
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
}

/// The time from exec to the first byte that the key service gets. This byte must be `expected`.
pub(crate) fn millis_to_first_byte(tool: &Tool, scheme: &str, expected: u8) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = tool.command(&format!("encrypt -f -k {KEY} -o out one"));
    configure(&mut command, &format!("{scheme}://{address}"));
    // If the program never connects, the bench must not wait for ever. In this case, this thread connects and sends
    // nothing.
    let (came, waiting) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if waiting.recv_timeout(Duration::from_secs(20)) == Err(RecvTimeoutError::Timeout) {
            drop(TcpStream::connect(address));
        }
    });
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut first = [0];
    let read = stream.read(&mut first).unwrap();
    let took = begun.elapsed().as_secs_f64() * 1e3;
    drop(came);
    // Otherwise it would try again.
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((read, first[0]), (1, expected), "{scheme}: not what a client begins with");
    took
}

/// Answers every request with a data key of zeros, after a delay.
pub(crate) struct FakeKms {
    url: String,
}

impl FakeKms {
    /// Serves until the bench ends.
    pub(crate) fn start(delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), delay);
            }
        });
        Self { url }
    }

    pub(crate) fn configure(&self, mut command: Command) -> Command {
        configure(&mut command, &self.url);
        command
    }
}

fn answer(stream: TcpStream, delay: Duration) {
    let mut request = BufReader::new(stream);
    let mut body = 0;
    loop {
        let mut line = String::new();
        request.read_line(&mut line).unwrap();
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", len)) => body = len.parse().unwrap(),
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    request.read_exact(&mut vec![0; body]).unwrap();
    std::thread::sleep(delay);
    let zeros = format!("{}=", "A".repeat(43));
    let json = format!(r#"{{"KeyId":"{KEY}","Plaintext":"{zeros}","CiphertextBlob":"{zeros}"}}"#);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nConnection: close\r\nContent-Length:";
    write!(request.get_mut(), "{head} {}\r\n\r\n{json}", json.len()).unwrap();
}
