//! A port in front of the scheduler's, which keeps all bytes that pass it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The bytes of each connection and direction.
type Streams = Arc<Mutex<Vec<Vec<u8>>>>;

/// Passes connections on to another port of this machine.
pub struct Wire {
    pub port: u16,
    streams: Streams,
}

impl Wire {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let wire = Self { port: listener.local_addr().unwrap().port(), streams: Arc::default() };
        let streams = wire.streams.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                // The scheduler is gone at the end of a test.
                let (Ok(client), Ok(server)) = (client, TcpStream::connect((Ipv4Addr::LOCALHOST, port))) else { break };
                pass(client.try_clone().unwrap(), server.try_clone().unwrap(), streams.clone());
                pass(server, client, streams.clone());
            }
        });
        wire
    }

    /// Says whether `found` is true for the bytes of a connection.
    pub fn any(&self, found: impl Fn(&[u8]) -> bool) -> bool {
        self.streams.lock().unwrap().iter().any(|stream| found(stream))
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, streams: Streams) {
    to.set_nodelay(true).unwrap();
    let number = {
        let mut streams = streams.lock().unwrap();
        streams.push(Vec::new());
        streams.len() - 1
    };
    thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            streams.lock().unwrap()[number].extend_from_slice(&buffer[..length]);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        // A process that is killed ends its connections, and the other side must see that.
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    });
}
