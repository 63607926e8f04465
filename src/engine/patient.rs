//! Files that do not wait by themselves.

use std::fs::File;
use std::io::{self, Read, Write};

use super::system::{Ready, wait_until};

/// Reads and writes a file as it stands, and waits where the file says that it would block.
///
/// Whoever gave a pipe or a terminal to this process may have made it non-blocking, for itself or by mistake.
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
