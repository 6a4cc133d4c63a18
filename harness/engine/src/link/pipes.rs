//! Where do bytes wait that pass from socket to socket inside the kernel? In pipes, lent to a lane for one transfer and
//! kept by it only while its destination is full.

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::os::fd::OwnedFd;

/// What one transfer moves at most, and what a pipe is asked to hold.
const PIPE_BYTES: usize = 256 << 10;
/// Empty pipes kept for the next transfer.
const SPARE_PIPES: usize = 8;

/// A pipe with `held` bytes in it.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    held: usize,
}

impl Pipe {
    fn new() -> Option<Self> {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Beyond the user's budget the kernel's default stays, which is only slower.
        let _budget = rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES);
        Some(Self { reader, writer, held: 0 })
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Moves what the socket has, as far as the pipe takes it; how many bytes.
    pub(super) fn fill(&mut self, source: &OwnedFd) -> Result<usize, Errno> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let moved = rustix::pipe::splice(source, None, &self.writer, None, PIPE_BYTES, flags)?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves what the pipe has until the socket takes no more; how many bytes. Only a refusal makes the kernel announce
    /// room again, so a transfer that was merely short is repeated.
    pub(super) fn drain(&mut self, destination: &OwnedFd) -> Result<usize, Errno> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let mut total = 0;
        while self.held > 0 {
            match rustix::pipe::splice(&self.reader, None, destination, None, self.held, flags) {
                Ok(moved) => {
                    self.held = self.held.saturating_sub(moved);
                    total += moved;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) if total == 0 => return Err(errno),
                // Told again by the next call.
                Err(_) => break,
            }
        }
        Ok(total)
    }
}

/// Spare pipes.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    spare: Vec<Pipe>,
}

impl Pipes {
    /// An empty pipe; none when the process has no file descriptor left.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        self.spare.pop().or_else(Pipe::new)
    }

    /// Takes back an empty pipe.
    pub(super) fn give(&mut self, pipe: Pipe) {
        if self.spare.len() < SPARE_PIPES && pipe.held == 0 {
            self.spare.push(pipe);
        }
    }
}
