//! A few commands of Redis' protocol, for the harness' own control of stores and for witnesses.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends one command on a connection of its own and returns the first bytes of the reply as text
/// (`+PONG`, `:3`, `-READONLY ...`, an array of keys).
///
/// # Errors
/// If there is no connection or no reply within `within` (kind `TimedOut`), or the connection ends (`UnexpectedEof`).
pub async fn command(address: SocketAddr, words: &[&str], within: Duration) -> io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&encode(words)).await?;
        let mut reply = vec![0_u8; 256 * 1024];
        let mut length = 0;
        loop {
            let free = reply.get_mut(length..).unwrap_or_default();
            if free.is_empty() {
                break;
            }
            let read = stream.read(free).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            length += read;
            if is_whole(reply.get(..length).unwrap_or_default()) {
                break;
            }
        }
        Ok(String::from_utf8_lossy(reply.get(..length).unwrap_or_default()).into_owned())
    };
    tokio::time::timeout(within, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn encode(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// Whether a simple reply, an error, a number, a bulk text or a flat array of bulk texts is complete.
fn is_whole(reply: &[u8]) -> bool {
    let text = String::from_utf8_lossy(reply);
    let Some((head, rest)) = text.split_once("\r\n") else { return false };
    if let Some(length) = head.strip_prefix('$').and_then(|length| length.parse::<i64>().ok()) {
        return usize::try_from(length).map_or(true, |length| rest.len() >= length + 2);
    }
    if let Some(count) = head.strip_prefix('*').and_then(|count| count.parse::<usize>().ok()) {
        return rest.matches("\r\n").count() >= 2 * count;
    }
    true
}

/// The texts of a flat array reply; `None` if it is none, or was cut.
#[must_use]
pub fn texts(reply: &str) -> Option<Vec<String>> {
    let mut lines = reply.split("\r\n");
    let count: usize = lines.next()?.strip_prefix('*')?.parse().ok()?;
    let mut texts = Vec::new();
    while let (Some(length), Some(text)) = (lines.next(), lines.next()) {
        let length: usize = length.strip_prefix('$')?.parse().ok()?;
        if text.len() != length {
            return None;
        }
        texts.push(text.to_owned());
    }
    (texts.len() == count).then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_list_is_no_list() {
        let whole = "*2\r\n$1\r\na\r\n$2\r\nbc\r\n";
        assert_eq!(texts(whole), Some(vec!["a".to_owned(), "bc".to_owned()]));
        assert_eq!(texts("*0\r\n"), Some(Vec::new()));
        for cut in [&whole[..whole.len() - 3], "*2\r\n$1\r\na\r\n", "*2\r\n", "-ERR no\r\n", ""] {
            assert_eq!(texts(cut), None, "{cut:?}");
        }
    }
}
