//! How does a listener refuse or leave new connections hanging without privileges, and how does a socket send a real RST?
//! The few system calls that links need beyond read and write.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How many connections may wait to be accepted while a link accepts.
const BACKLOG: i32 = 4096;

pub(super) use crate::clock::monotonic_ns as now_ns;

fn socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    Ok(rustix::net::socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        Some(rustix::net::ipproto::TCP),
    )?)
}

fn bound(address: SocketAddr) -> io::Result<OwnedFd> {
    let fd = socket(address)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    rustix::net::bind(&fd, &address)?;
    Ok(fd)
}

/// The local address of a socket.
pub(super) fn local(fd: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(fd)?)?)
}

/// A socket bound to `address`, not yet listening. Its port is bound explicitly even where the kernel chose it (port 0):
/// only then does the kernel keep it through [`refuse`].
pub(super) fn reserve(address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let chosen = bound(address)?;
    let address = local(&chosen)?;
    // Two sockets that do not listen may share an address under SO_REUSEADDR, so nobody can come between.
    let fd = bound(address)?;
    Ok((fd, address))
}

/// New connections are accepted.
pub(super) fn listen(fd: &OwnedFd) -> io::Result<()> {
    share(fd, true)?;
    Ok(rustix::net::listen(fd, BACKLOG)?)
}

/// Whether old connections of the port (in TIME_WAIT) are in the way of listening, and its mere binding of others.
fn share(fd: &OwnedFd, value: bool) -> io::Result<()> {
    Ok(sockopt::set_socket_reuseaddr(fd, value)?)
}

/// New connections are refused: the socket stops listening and keeps its port; connections that wait to be accepted are
/// reset by the kernel. Without SO_REUSEADDR on it, nobody else can bind the port meanwhile, with that option or not.
pub(super) fn refuse(fd: &OwnedFd) -> io::Result<()> {
    match rustix::net::shutdown(fd, rustix::net::Shutdown::Both) {
        Ok(()) | Err(Errno::NOTCONN) => share(fd, false),
        Err(errno) => Err(errno.into()),
    }
}

/// New connects hang: the accept queue is made to hold one connection, and the filler returned here is that connection.
/// The kernel then drops each SYN; the dialler repeats it after 1, 3, 7 s.
pub(super) fn stall(fd: &OwnedFd, address: SocketAddr) -> io::Result<OwnedFd> {
    share(fd, true)?;
    rustix::net::listen(fd, 0)?;
    let filler = socket(address)?;
    match connect(&filler, address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno.into()),
    }
    // Over loopback the handshake is over when connect returns; should the kernel have put it off, wait a little.
    // A filler that finds the queue full already does not get through, which is as good.
    let wait = rustix::time::Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
    let _ready = poll(&mut [PollFd::new(&filler, PollFlags::OUT)], Some(&wait));
    Ok(filler)
}

/// Accepts one waiting connection, with its peer's address.
pub(super) fn accept(fd: &OwnedFd) -> Result<(OwnedFd, Option<SocketAddr>), Errno> {
    let (fd, peer) = rustix::net::acceptfrom_with(fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    Ok((fd, peer.and_then(|peer| SocketAddr::try_from(peer).ok())))
}

fn connect(fd: &OwnedFd, address: SocketAddr) -> Result<(), Errno> {
    rustix::net::connect(fd, &address)
}

/// Starts a connect; true when it is already done.
pub(super) fn dial(address: SocketAddr) -> io::Result<(OwnedFd, bool)> {
    let fd = socket(address)?;
    no_delay(&fd);
    match connect(&fd, address) {
        Ok(()) => Ok((fd, true)),
        Err(Errno::INPROGRESS) => Ok((fd, false)),
        Err(errno) => Err(errno.into()),
    }
}

/// Small writes leave at once. A socket that just died may refuse the option: its next read tells.
pub(super) fn no_delay(fd: &OwnedFd) {
    let _died = sockopt::set_tcp_nodelay(fd, true);
}

/// The outcome of a connect that was in progress.
pub(super) fn connected(fd: &OwnedFd) -> bool {
    matches!(sockopt::socket_error(fd), Ok(Ok(())))
}

/// Closes with a real RST: SO_LINGER of zero throws away what is unsent. A socket that was reset already has no use for it.
pub(super) fn reset(fd: OwnedFd) {
    let _dead_already = sockopt::set_socket_linger(&fd, Some(Duration::ZERO));
    drop(fd);
}
