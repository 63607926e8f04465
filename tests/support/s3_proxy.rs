//! A proxy in front of an object store. It records requests, and fails in place of the store or of the network.

use std::io::{self, BufReader, BufWriter, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::http_message::{Head, read_body, read_head};

/// A request that came, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Request {
    /// The first request after the start has number 0.
    pub number: usize,
    pub method: String,
    /// As it was sent, with its escapes.
    pub path: String,
    /// Without the question mark; empty if there is none.
    pub query: String,
    pub head: Head,
    /// Bytes of the request's body that came.
    pub sent: u64,
    /// The answer's status; `None` if no answer was passed on.
    pub status: Option<u16>,
    /// Bytes of the answer's body that were passed on.
    pub received: u64,
}

impl S3Request {
    pub fn range(&self) -> Option<&str> {
        self.head.header("range")
    }

    pub fn if_match(&self) -> Option<&str> {
        self.head.header("if-match")
    }

    /// S3's name of the operation.
    pub fn operation(&self) -> &'static str {
        let has = |name: &str| self.query.split('&').any(|pair| pair.split('=').next() == Some(name));
        let is_bucket = !self.path.trim_start_matches('/').trim_end_matches('/').contains('/');
        let copies = self.head.header("x-amz-copy-source").is_some();
        match (self.method.as_str(), is_bucket) {
            ("GET", _) if has("uploads") => "ListMultipartUploads",
            ("GET", _) if has("uploadId") => "ListParts",
            ("GET", false) if has("tagging") => "GetObjectTagging",
            ("GET", false) if has("attributes") => "GetObjectAttributes",
            ("GET", false) => "GetObject",
            ("GET", true) if has("location") => "GetBucketLocation",
            ("GET", true) if has("list-type") => "ListObjectsV2",
            ("HEAD", true) => "HeadBucket",
            ("HEAD", false) => "HeadObject",
            ("POST", _) if has("uploads") => "CreateMultipartUpload",
            ("POST", _) if has("uploadId") => "CompleteMultipartUpload",
            ("PUT", _) if has("uploadId") && copies => "UploadPartCopy",
            ("PUT", _) if has("uploadId") => "UploadPart",
            ("PUT", false) if has("tagging") => "PutObjectTagging",
            ("PUT", false) if copies => "CopyObject",
            ("PUT", false) => "PutObject",
            ("DELETE", _) if has("uploadId") => "AbortMultipartUpload",
            ("DELETE", false) => "DeleteObject",
            _ => "another operation",
        }
    }
}

/// An answer of the store that [`S3Fault::Alter`] changes before it is passed on.
#[derive(Debug, Clone)]
pub struct S3Answer {
    pub head: Head,
    pub body: Vec<u8>,
}

/// What happens to a request.
#[derive(Clone)]
pub enum S3Fault {
    /// The store is not asked. The answer has this status, and an error with this code in XML.
    Answer(u16, &'static str),
    /// The store is not asked. These are the bytes of the answer.
    Raw(Vec<u8>),
    /// The store is not asked, and the connection is closed.
    Cut,
    /// After so many bytes of the request's body, the connections to both sides are closed.
    CutRequest(u64),
    /// The store does what was asked. After so many bytes of the answer's body, the connection is closed; at once and
    /// without a head for `None`.
    CutAnswer(Option<u64>),
    /// No answer comes. The connection stays open until the client closes it.
    Silence,
    /// So many bytes of the answer's body come, and no more. The connection stays open.
    Stall(u64),
    /// The answer's body comes byte by byte, with this pause before each of them.
    Drip(Duration),
    /// The request is passed on later.
    Delay(Duration),
    /// The store's answer is changed.
    Alter(Arc<dyn Fn(&mut S3Answer) + Send + Sync>),
}

impl S3Fault {
    /// The answer of an S3 that asks for fewer requests.
    pub fn slow_down() -> Self {
        Self::Answer(503, "SlowDown")
    }

    /// Changes the store's answer.
    pub fn alter(change: impl Fn(&mut S3Answer) + Send + Sync + 'static) -> Self {
        Self::Alter(Arc::new(change))
    }
}

type Matches = Box<dyn Fn(&S3Request) -> bool + Send + Sync>;

struct Rule {
    matches: Matches,
    left: usize,
    action: Action,
}

enum Action {
    Fail(S3Fault),
    Run(Option<Box<dyn FnOnce() + Send>>),
}

/// Forwards to one store. Stops accepting on drop.
pub struct S3Proxy {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    upstream: String,
    requests: Mutex<Vec<S3Request>>,
    rules: Mutex<Vec<Rule>>,
    delay: Mutex<Duration>,
    next: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    gone: AtomicBool,
    closed: AtomicBool,
}

impl S3Proxy {
    /// A proxy for the store at `upstream` (`http://127.0.0.1:PORT`).
    pub fn before(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let upstream = upstream.strip_prefix("http://").expect("a store without TLS").to_owned();
        let state = Arc::new(State { upstream, ..State::default() });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.closed.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // What a client or a server does to its connection is no error of the proxy.
                std::thread::spawn(move || shared.serve(stream).unwrap_or_default());
            }
        });
        Self { url: format!("http://{address}"), address, state }
    }

    /// The requests so far, in the order in which they came. Those that are not answered yet are among them.
    pub fn requests(&self) -> Vec<S3Request> {
        locked(&self.state.requests).clone()
    }

    /// The same. Also clears the list.
    pub fn take(&self) -> Vec<S3Request> {
        std::mem::take(&mut *locked(&self.state.requests))
    }

    /// The names of the operations so far, in order.
    pub fn operations(&self) -> Vec<&'static str> {
        locked(&self.state.requests).iter().map(S3Request::operation).collect()
    }

    /// How many requests have come since the start.
    pub fn count(&self) -> usize {
        self.state.next.load(Ordering::SeqCst)
    }

    /// So many requests were under way at once, at most, since the last call of this.
    pub fn most_at_once(&self) -> usize {
        self.state.most_open.swap(self.state.open.load(Ordering::SeqCst), Ordering::SeqCst)
    }

    /// Every request is passed on so much later.
    pub fn delay(&self, delay: Duration) {
        *locked(&self.state.delay) = delay;
    }

    /// The store is gone: every connection is closed at its first request, until `false`.
    pub fn gone(&self, gone: bool) {
        self.state.gone.store(gone, Ordering::SeqCst);
    }

    /// The next requests get these faults, one each.
    pub fn fail(&self, faults: impl IntoIterator<Item = S3Fault>) {
        faults.into_iter().for_each(|fault| self.fail_when(|_| true, 1, fault));
    }

    /// The next `times` requests that match get the fault. A request gets one fault at most: that of the oldest rule.
    pub fn fail_when(
        &self,
        matches: impl Fn(&S3Request) -> bool + Send + Sync + 'static,
        times: usize,
        fault: S3Fault,
    ) {
        self.add(Box::new(matches), times, Action::Fail(fault));
    }

    /// Runs `action` before the first request that matches is passed on. It is run on the thread of that connection.
    pub fn run_before(
        &self,
        matches: impl Fn(&S3Request) -> bool + Send + Sync + 'static,
        action: impl FnOnce() + Send + 'static,
    ) {
        self.add(Box::new(matches), 1, Action::Run(Some(Box::new(action))));
    }

    /// Runs `action` before request number `number` is passed on, counted from the start of the proxy.
    pub fn run_before_number(&self, number: usize, action: impl FnOnce() + Send + 'static) {
        self.run_before(move |request| request.number == number, action);
    }

    /// Forgets all faults and actions.
    pub fn heal(&self) {
        locked(&self.state.rules).clear();
        self.gone(false);
    }

    fn add(&self, matches: Matches, left: usize, action: Action) {
        locked(&self.state.rules).push(Rule { matches, left, action });
    }
}

impl Drop for S3Proxy {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

/// A test that failed while it held the lock must not fail the others.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a request that is under way.
struct Open<'a>(&'a State);

impl<'a> Open<'a> {
    fn new(state: &'a State) -> Self {
        let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_open.fetch_max(open, Ordering::SeqCst);
        Self(state)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl State {
    /// Serves the one request of a connection.
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut input = BufReader::with_capacity(1 << 16, client.try_clone()?);
        let head = read_head(&mut input)?;
        let open = Open::new(self);
        let request = self.note(head);
        if self.gone.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.actions(&request).into_iter().for_each(|action| action());
        let fault = self.fault(&request);
        std::thread::sleep(*locked(&self.delay));
        // A client that has its answer may send the next request before this thread goes on.
        drop(open);
        let mut exchange = Exchange { state: self, request: &request, client: &client, input };
        match fault {
            Some(S3Fault::Cut) => Ok(()),
            Some(S3Fault::Answer(status, code)) => exchange.answer(status, &refusal(status, code)),
            Some(S3Fault::Raw(bytes)) => exchange.answer(0, &bytes),
            Some(S3Fault::Silence) => exchange.wait_for_the_client(),
            Some(S3Fault::CutRequest(limit)) => exchange.forward(Some(limit)).map(drop),
            Some(S3Fault::CutAnswer(None)) => exchange.forward(None).map(drop),
            Some(S3Fault::CutAnswer(Some(limit))) => exchange.relay(Some(limit)),
            Some(S3Fault::Stall(limit)) => exchange.relay(Some(limit)).and_then(|()| exchange.wait_for_the_client()),
            Some(S3Fault::Drip(pause)) => exchange.drip(pause),
            Some(S3Fault::Delay(delay)) => {
                std::thread::sleep(delay);
                exchange.relay(None)
            }
            Some(S3Fault::Alter(change)) => exchange.relay_altered(change.as_ref()),
            None => exchange.relay(None),
        }
    }

    fn note(&self, head: Head) -> S3Request {
        let mut words = head.first.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let mut requests = locked(&self.requests);
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let request = S3Request { number, method, path, query, head, sent: 0, status: None, received: 0 };
        requests.push(request.clone());
        request
    }

    fn change(&self, number: usize, change: impl FnOnce(&mut S3Request)) {
        if let Some(request) = locked(&self.requests).iter_mut().rev().find(|request| request.number == number) {
            change(request);
        }
    }

    fn actions(&self, request: &S3Request) -> Vec<Box<dyn FnOnce() + Send>> {
        let mut rules = locked(&self.rules);
        let mut found = Vec::new();
        rules.retain_mut(|rule| match &mut rule.action {
            Action::Run(action) if (rule.matches)(request) => {
                found.extend(action.take());
                false
            }
            _ => true,
        });
        found
    }

    fn fault(&self, request: &S3Request) -> Option<S3Fault> {
        let mut rules = locked(&self.rules);
        let is_fault = |rule: &Rule| matches!(rule.action, Action::Fail(_)) && (rule.matches)(request);
        let index = rules.iter().position(is_fault)?;
        let Action::Fail(fault) = &rules[index].action else { return None };
        let fault = fault.clone();
        rules[index].left -= 1;
        if rules[index].left == 0 {
            rules.remove(index);
        }
        Some(fault)
    }
}

/// One request and its answer.
struct Exchange<'a> {
    state: &'a State,
    request: &'a S3Request,
    client: &'a TcpStream,
    input: BufReader<TcpStream>,
}

impl Exchange<'_> {
    /// Sends `bytes` and takes what the client still sends, so that it reads them.
    fn answer(&mut self, status: u16, bytes: &[u8]) -> io::Result<()> {
        self.state.change(self.request.number, |request| request.status = Some(status).filter(|status| *status > 0));
        let mut client = self.client;
        client.write_all(bytes)?;
        client.shutdown(Shutdown::Write)?;
        self.wait_for_the_client()
    }

    fn wait_for_the_client(&mut self) -> io::Result<()> {
        io::copy(&mut self.input, &mut io::sink()).map(drop)
    }

    /// Sends the request to the store, up to `limit` bytes of its body, and reads the head of the answer.
    fn forward(&mut self, limit: Option<u64>) -> io::Result<(Head, BufReader<TcpStream>)> {
        let upstream = TcpStream::connect(&self.state.upstream)?;
        upstream.set_nodelay(true)?;
        let mut head = self.request.head.clone();
        if head.header("expect").is_some() {
            head.set("Expect", None);
            let mut client = self.client;
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        head.set("Connection", Some("close"));
        let chunked = head.header("transfer-encoding").is_some();
        let mut out = BufWriter::with_capacity(1 << 16, upstream.try_clone()?);
        out.write_all(&head.to_bytes())?;
        let (mut sent, number, state) = (0_u64, self.request.number, self.state);
        let mut take = |bytes: &[u8]| -> io::Result<()> {
            let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(sent));
            let now = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            if chunked {
                write!(out, "{now:x}\r\n")?;
            }
            out.write_all(&bytes[..now])?;
            if chunked {
                out.write_all(b"\r\n")?;
            }
            sent += now as u64;
            state.change(number, |request| request.sent = sent);
            if now < bytes.len() { Err(io::Error::other("cut")) } else { Ok(()) }
        };
        read_body(&mut self.input, &head, &mut take)?;
        if chunked {
            out.write_all(b"0\r\n\r\n")?;
        }
        if limit.is_some_and(|limit| sent >= limit) {
            return Err(io::Error::other("cut"));
        }
        out.flush()?;
        let mut answer = BufReader::with_capacity(1 << 18, upstream);
        let mut head = read_head(&mut answer)?;
        while head.status() == 100 {
            head = read_head(&mut answer)?;
        }
        Ok((head, answer))
    }

    /// Passes the request and its answer on, up to `limit` bytes of the answer's body.
    fn relay(&mut self, limit: Option<u64>) -> io::Result<()> {
        let (mut head, mut answer) = self.forward(None)?;
        let number = self.request.number;
        self.state.change(number, |request| request.status = Some(head.status()));
        let has_body = self.request.method != "HEAD";
        // The body is passed on decoded. If it has no length, it ends with the connection.
        let source = head.clone();
        head.set("Transfer-Encoding", None);
        head.set("Connection", Some("close"));
        let mut client = self.client;
        client.write_all(&head.to_bytes())?;
        if !has_body {
            return Ok(());
        }
        let mut received = 0_u64;
        let mut take = |bytes: &[u8]| -> io::Result<()> {
            let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(received));
            let now = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            client.write_all(&bytes[..now])?;
            received += now as u64;
            self.state.change(number, |request| request.received = received);
            if limit.is_some_and(|limit| received >= limit) { Err(io::Error::other("cut")) } else { Ok(()) }
        };
        match (limit, read_body(&mut answer, &source, &mut take)) {
            // The cut that was asked for.
            (Some(_), Err(_)) => Ok(()),
            (_, result) => result,
        }
    }

    /// Passes the answer on byte by byte, until the client has had enough of it.
    fn drip(&mut self, pause: Duration) -> io::Result<()> {
        let (mut head, mut answer) = self.forward(None)?;
        let source = head.clone();
        head.set("Transfer-Encoding", None);
        head.set("Connection", Some("close"));
        let mut client = self.client;
        client.write_all(&head.to_bytes())?;
        read_body(&mut answer, &source, &mut |bytes: &[u8]| {
            bytes.iter().try_for_each(|byte| {
                std::thread::sleep(pause);
                client.write_all(&[*byte])
            })
        })
    }

    fn relay_altered(&mut self, change: &(dyn Fn(&mut S3Answer) + Send + Sync)) -> io::Result<()> {
        let (head, mut input) = self.forward(None)?;
        let mut body = Vec::new();
        if self.request.method != "HEAD" {
            read_body(&mut input, &head, &mut |bytes: &[u8]| body.write_all(bytes))?;
        }
        let mut answer = S3Answer { head, body };
        answer.head.set("Transfer-Encoding", None);
        answer.head.set("Connection", Some("close"));
        let length = answer.head.header("content-length").map(str::to_owned);
        change(&mut answer);
        // A change of the body alone is an answer of another length. A change of the header too is a lie.
        if self.request.method != "HEAD" && answer.head.header("content-length") == length.as_deref() {
            answer.head.set("Content-Length", Some(&answer.body.len().to_string()));
        }
        self.state.change(self.request.number, |request| request.received = answer.body.len() as u64);
        let bytes = [answer.head.to_bytes(), answer.body].concat();
        self.answer(answer.head.status(), &bytes)
    }
}

/// An error in S3's form.
fn refusal(status: u16, code: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>a message of the store</Message>\
         <RequestId>4442587FB7D0A2F9</RequestId></Error>"
    );
    let head = format!(
        "HTTP/1.1 {status} Fault\r\nContent-Type: application/xml\r\nx-amz-request-id: 4442587FB7D0A2F9\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}
