//! An HTTP forwarder that records the AWS operations of its requests, and can fail in place of AWS.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to a request that is not forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// An answer with this status and JSON body.
    Answer(u16, String),
    /// The connection is closed without an answer.
    Cut,
    /// No answer comes.
    Silence,
}

impl Fault {
    /// A refusal in AWS's form.
    pub fn refusal(code: &str, message: &str) -> Self {
        Self::Answer(400, format!(r#"{{"__type":"{code}","message":"{message}"}}"#))
    }
}

/// Forwards to one upstream server, and counts the calls. Stops accepting on drop.
pub struct CountingProxy {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    upstream: String,
    calls: Mutex<Vec<String>>,
    /// The delay before each answer.
    delay: Mutex<Duration>,
    faults: Mutex<Vec<(Option<String>, Fault)>>,
    /// The number of requests that are still forwarded. `None` means all.
    left: Mutex<Option<usize>>,
    closed: AtomicBool,
}

/// A proxy for `upstream` (`http://127.0.0.1:PORT`).
pub fn counting_proxy(upstream: &str) -> CountingProxy {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let upstream = upstream.strip_prefix("http://").expect("an upstream without TLS").to_owned();
    let state = Arc::new(State { upstream, ..State::default() });
    let shared = Arc::clone(&state);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if shared.closed.load(Ordering::SeqCst) {
                return;
            }
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.serve(stream));
        }
    });
    CountingProxy { url: format!("http://{address}"), address, state }
}

impl CountingProxy {
    /// The operations called since the last [`CountingProxy::take`], in order.
    pub fn calls(&self) -> Vec<String> {
        self.state.calls.lock().expect("no panic").clone()
    }

    /// The same. Also clears the list.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.calls.lock().expect("no panic"))
    }

    /// Delays answers by this time.
    pub fn delay(&self, delay: Duration) {
        *self.state.delay.lock().expect("no panic") = delay;
    }

    /// The next requests get these answers, one each.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.faults.lock().expect("no panic").extend(faults.into_iter().map(|fault| (None, fault)));
    }

    /// After this number of requests, no connection gets an answer until [`CountingProxy::heal`].
    pub fn cut_after(&self, requests: usize) {
        *self.state.left.lock().expect("no panic") = Some(requests);
    }

    /// Requests are forwarded again.
    pub fn heal(&self) {
        *self.state.left.lock().expect("no panic") = None;
    }

    /// The next call of `operation` gets `fault`.
    pub fn fail_on(&self, operation: &str, fault: Fault) {
        self.state.faults.lock().expect("no panic").push((Some(operation.to_owned()), fault));
    }
}

impl Drop for CountingProxy {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn serve(&self, stream: TcpStream) {
        let Ok(mut output) = stream.try_clone() else { return };
        let mut input = BufReader::new(stream);
        let Ok((head, body)) = read_message(&mut input) else { return };
        let called = operation(&head, &body);
        let delay = *self.delay.lock().expect("no panic");
        let fault = self.fault(&called);
        self.calls.lock().expect("no panic").push(called);
        std::thread::sleep(delay);
        // A client that closed the connection is not an error of the proxy.
        let _ = match fault {
            None => self.forward(&head, &body).and_then(|answer| output.write_all(&answer)),
            Some(Fault::Cut) => Ok(()),
            Some(Fault::Silence) => input.read(&mut [0]).map(drop),
            Some(Fault::Answer(status, text)) => write!(
                output,
                "HTTP/1.1 {status} Fault\r\nContent-Type: application/x-amz-json-1.1\r\nx-amzn-RequestId: \
                 fault-{status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                text.len()
            ),
        };
    }

    fn fault(&self, called: &str) -> Option<Fault> {
        match &mut *self.left.lock().expect("no panic") {
            Some(0) => return Some(Fault::Cut),
            Some(left) => *left -= 1,
            None => {}
        }
        let mut faults = self.faults.lock().expect("no panic");
        let index = faults.iter().position(|(only, _)| only.as_deref().is_none_or(|only| only == called))?;
        Some(faults.remove(index).1)
    }

    fn forward(&self, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut upstream = TcpStream::connect(&self.upstream)?;
        upstream.write_all(closing(head).as_bytes())?;
        upstream.write_all(body)?;
        let mut answer = BufReader::new(upstream);
        let (head, mut body) = read_message(&mut answer)?;
        if header(&head, "content-length").is_none() {
            answer.read_to_end(&mut body)?;
        }
        Ok([closing(&head).into_bytes(), body].concat())
    }
}

/// A proxy of the `CONNECT` kind that connects every host name to one address.
pub struct Tunnel {
    /// `http://127.0.0.1:PORT`, for `HTTPS_PROXY`.
    pub url: String,
    hosts: Arc<Mutex<Vec<String>>>,
}

/// A tunnel to `address`. It runs as long as the process.
pub fn tunnel(address: &str) -> Tunnel {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let hosts = Arc::new(Mutex::new(Vec::new()));
    let (shared, address) = (Arc::clone(&hosts), address.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (hosts, address) = (Arc::clone(&shared), address.clone());
            // A client that closed the connection is not an error of the proxy.
            std::thread::spawn(move || connect(stream, &address, &hosts).unwrap_or_default());
        }
    });
    Tunnel { url, hosts }
}

impl Tunnel {
    /// `HOST:PORT` of each requested connection.
    pub fn hosts(&self) -> Vec<String> {
        self.hosts.lock().expect("no panic").clone()
    }
}

fn connect(client: TcpStream, address: &str, hosts: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut input = BufReader::new(client.try_clone()?);
    let (head, _) = read_message(&mut input)?;
    hosts.lock().expect("no panic").push(head.split(' ').nth(1).unwrap_or_default().to_owned());
    let upstream = TcpStream::connect(address)?;
    let (mut to_client, mut from_upstream, mut to_upstream) = (client, upstream.try_clone()?, upstream);
    to_client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    std::thread::spawn(move || io::copy(&mut from_upstream, &mut to_client));
    io::copy(&mut input, &mut to_upstream)?;
    to_upstream.shutdown(std::net::Shutdown::Write)
}

pub(super) fn read_message(input: &mut impl io::BufRead) -> io::Result<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if input.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let len = header(&head, "content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    input.read_exact(&mut body)?;
    Ok((head, body))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The head with `Connection: close`, so that each connection has one request.
fn closing(head: &str) -> String {
    let kept = head.trim_end().lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    kept.map(|line| format!("{line}\r\n")).collect::<String>() + "Connection: close\r\n\r\n"
}

/// KMS has the operation's name in a header, STS has it in the body.
pub(super) fn operation(head: &str, body: &[u8]) -> String {
    if let Some(target) = header(head, "x-amz-target") {
        return target.rsplit('.').next().unwrap_or(target).to_owned();
    }
    let body = String::from_utf8_lossy(body);
    let action = body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    action.unwrap_or(head.lines().next().unwrap_or_default()).to_owned()
}
