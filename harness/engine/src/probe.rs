//! What a fresh connection sees: the second path of every network fault's witness.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is spoken on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// Redis' protocol.
    Resp,
}

/// What a probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The connect was refused.
    Refused,
    /// The connect neither succeeded nor failed in time.
    Hung,
    /// Connected, but no byte came in time.
    Silent,
    /// Connected, then reset or closed without a byte.
    Closed(String),
    /// The first byte came, this long after the request was sent.
    Answered(Duration),
}

impl Seen {
    /// In words, for the history.
    #[must_use]
    pub fn words(&self, within: Duration) -> String {
        let ms = within.as_millis();
        match self {
            Self::Refused => "connect refused".to_owned(),
            Self::Hung => format!("connect hung for {ms} ms"),
            Self::Silent => format!("connected, silent for {ms} ms"),
            Self::Closed(how) => format!("connected, then {how}"),
            Self::Answered(after) => format!("answered after {:.1} ms", after.as_secs_f64() * 1000.0),
        }
    }
}

fn request(protocol: Protocol, padding: usize) -> Vec<u8> {
    match protocol {
        Protocol::Http => {
            let mut bytes = b"GET /gatecrash-probe HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n".to_vec();
            if padding > 0 {
                bytes.extend_from_slice(b"x-padding: ");
                bytes.resize(bytes.len() + padding, b'p');
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"\r\n");
            bytes
        }
        Protocol::Resp => {
            let mut bytes = format!("*2\r\n$4\r\nPING\r\n${padding}\r\n").into_bytes();
            bytes.resize(bytes.len() + padding, b'p');
            bytes.extend_from_slice(b"\r\n");
            bytes
        }
    }
}

/// Connects, sends a harmless request with `padding` more bytes, and waits for the first byte; each step within `within`.
pub async fn probe(address: SocketAddr, protocol: Protocol, padding: usize, within: Duration) -> Seen {
    let mut stream = match tokio::time::timeout(within, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => return Seen::Refused,
        Ok(Err(error)) => return Seen::Closed(error.to_string()),
        Err(_) => return Seen::Hung,
    };
    let sent = crate::clock::monotonic_ns();
    let exchange = async {
        stream.set_nodelay(true)?;
        stream.write_all(&request(protocol, padding)).await?;
        let mut byte = [0_u8; 1];
        stream.read(&mut byte).await
    };
    match tokio::time::timeout(within, exchange).await {
        Ok(Ok(0)) => Seen::Closed("closed".to_owned()),
        Ok(Ok(_)) => Seen::Answered(Duration::from_nanos(crate::clock::monotonic_ns().saturating_sub(sent))),
        Ok(Err(error)) => Seen::Closed(error.to_string()),
        Err(_) => Seen::Silent,
    }
}

/// What a transfer toward the prober saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes that came.
    pub bytes: usize,
    /// From the request to the last of them.
    pub took: Duration,
}

/// Connects, asks for at least `bytes` of harmless answers, and reads them, all within `within`: on HTTP many small
/// requests one behind the other, since nobody can choose the size of one answer; on Redis' protocol one long echo. Fewer
/// bytes came if the far side said no more.
pub async fn transfer(address: SocketAddr, protocol: Protocol, bytes: usize, within: Duration) -> Transfer {
    let began = crate::clock::monotonic_ns();
    let mut seen = Transfer { bytes: 0, took: Duration::ZERO };
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut from, mut to) = stream.into_split();
        let asked = match protocol {
            // No answer is shorter than its status line, a length and the end of its head.
            Protocol::Http => b"GET /gatecrash-probe HTTP/1.1\r\nhost: probe\r\n\r\n".repeat(bytes / 40 + 1),
            Protocol::Resp => request(protocol, bytes),
        };
        // Written beside the reading: answers that nobody reads would stop the far side.
        let write = async { to.write_all(&asked).await };
        let read = async {
            let mut buffer = vec![0_u8; 16 * 1024];
            while seen.bytes < bytes {
                let read = from.read(&mut buffer).await?;
                if read == 0 {
                    break;
                }
                seen.bytes = seen.bytes.saturating_add(read);
                seen.took = Duration::from_nanos(crate::clock::monotonic_ns().saturating_sub(began));
            }
            Ok::<(), io::Error>(())
        };
        let mut write = std::pin::pin!(write);
        tokio::select! {
            done = read => done,
            // What could not be asked is seen by what did not come.
            Err(error) = &mut write => Err(error),
        }
    };
    // Whatever broke it off, what came is what was seen.
    let _ended = tokio::time::timeout(within, exchange).await;
    seen
}
