//! A server that gives prepared answers, even wrong ones.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::proxy::{operation, read_message};

/// The answer.
#[derive(Debug, Clone)]
pub enum Reply {
    /// These bytes, and then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes and nothing more. The connection stays open.
    Hang(Vec<u8>),
    /// These bytes, slowly.
    Drip(Vec<u8>),
    /// These bytes, and then other bytes without end.
    Endless(Vec<u8>),
}

/// A server on 127.0.0.1. It runs as long as the process.
pub struct Liar {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    calls: Arc<Mutex<Vec<String>>>,
    sent: Arc<AtomicU64>,
}

impl Liar {
    /// The operations that were called since the last call of this, in order. For a GET, the first line.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().expect("no panic"))
    }

    /// Bytes that [`Reply::Endless`] could send.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

/// A server that answers each operation with `reply`.
pub fn liar(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Liar {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (calls, sent) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
    let (heard, counted, reply) = (Arc::clone(&calls), Arc::clone(&sent), Arc::new(reply));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (heard, counted, reply) = (Arc::clone(&heard), Arc::clone(&counted), Arc::clone(&reply));
            std::thread::spawn(move || {
                let Ok(copy) = stream.try_clone() else { return };
                let Ok((head, body)) = read_message(&mut BufReader::new(copy)) else { return };
                let called = operation(&head, &body);
                let reply = reply(&called);
                heard.lock().expect("no panic").push(called);
                // A client that closed the connection is not an error of the server.
                let _ = answer(&stream, &reply, &counted);
            });
        }
    });
    Liar { url, calls, sent }
}

fn answer(mut stream: &TcpStream, reply: &Reply, sent: &AtomicU64) -> io::Result<()> {
    match reply {
        Reply::Bytes(bytes) => {
            stream.write_all(bytes)?;
            stream.shutdown(Shutdown::Write)
        }
        Reply::Hang(bytes) => {
            stream.write_all(bytes)?;
            stream.read(&mut [0]).map(drop)
        }
        Reply::Drip(bytes) => bytes.iter().try_for_each(|byte| {
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(&[*byte])
        }),
        Reply::Endless(head) => {
            stream.write_all(head)?;
            loop {
                stream.write_all(&[b' '; 1 << 16])?;
                sent.fetch_add(1 << 16, Ordering::SeqCst);
            }
        }
    }
}

/// A complete answer.
pub fn http(status: u16, headers: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let len = body.len();
    let head = format!("HTTP/1.1 {status} Said\r\n{headers}Content-Length: {len}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}
