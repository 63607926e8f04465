//! Files in non-blocking mode.

use std::fs::File;
use std::io::{self, Read, Write};

use super::system::{Ready, wait_until};

/// Reads and writes a file at its current position. If the call would block, it waits.
///
/// The process that passed on a pipe or terminal may have made it non-blocking, on purpose or by mistake.
#[derive(Debug, Clone, Copy)]
pub struct Patient<'a>(pub &'a File);

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_until(self.0, Ready::ToRead, error)?,
                done => return done,
            }
        }
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_until(self.0, Ready::ToWrite, error)?,
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
