//! A /24 of the loopback range for each network, so that concurrent runs on one machine never collide.
//!
//! A lease is a listener on a fixed port of the last address of the /24: the kernel gives it to one process only
//! and takes it back when that process is gone, however it went.

use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

/// Port of the lease: below the ephemeral range, so no outgoing connection holds it.
const PORT: u16 = 10_953;
/// How many ranges are tried before giving up: far more than one machine runs at a time.
const ATTEMPTS: usize = 1024;
/// First and number of the second octets used: leaves 127.0 to 127.15 (resolvers, distributions) and 127.240 up alone.
const FIRST: u8 = 16;
const SECOND_OCTETS: usize = 224;

/// A leased /24; free again when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    octets: [u8; 3],
    _held: TcpListener,
}

impl Lease {
    /// Takes the range that `key` hashes to, or the next free one in which nobody listens.
    pub(super) fn take(key: &str) -> std::io::Result<Self> {
        let digest = Sha256::digest(key.as_bytes());
        let start = digest.iter().take(4).fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
        let busy = listening(&std::fs::read_to_string("/proc/net/tcp").unwrap_or_default());
        let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        for attempt in 0..ATTEMPTS {
            let slot = start.wrapping_add(attempt) % (SECOND_OCTETS * 256);
            let second = FIRST.saturating_add(u8::try_from(slot / 256).unwrap_or_default());
            let octets = [127, second, u8::try_from(slot % 256).unwrap_or_default()];
            if busy.contains(&octets) {
                continue;
            }
            match TcpListener::bind((address(octets, 254), PORT)) {
                Ok(held) => return Ok(Self { octets, _held: held }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Address of a host number, 1 to 253.
    pub(super) fn host(&self, number: u8) -> Ipv4Addr {
        address(self.octets, number)
    }
}

fn address([a, b, c]: [u8; 3], host: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, host)
}

/// The /24s of 127/8 in which something listens, from the kernel's table: left there by a killed run whose reaper is not done yet.
fn listening(table: &str) -> BTreeSet<[u8; 3]> {
    const LISTEN: &str = "0A";
    let ranges = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        if fields.nth(1)? != LISTEN {
            return None;
        }
        let raw = u32::from_str_radix(local.split(':').next()?, 16).ok()?;
        let [a, b, c, _] = raw.to_ne_bytes();
        (a == 127).then_some([a, b, c])
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::time::Duration;

    #[test]
    fn two_holders_of_one_key_get_different_ranges_and_a_dropped_one_is_free_again() {
        let first = Lease::take("lease test r1 eu").unwrap();
        let second = Lease::take("lease test r1 eu").unwrap();
        assert_ne!(first.octets, second.octets);
        assert!(first.host(1).is_loopback());
        let freed = first.octets;
        drop(first);
        // Another test that is spawning at this moment holds a copy of the listener until its child execs.
        let clock = Clock::start();
        while Lease::take("lease test r1 eu").unwrap().octets != freed {
            assert!(clock.since(0) < Duration::from_secs(5), "{freed:?} is not free again");
        }
    }

    #[test]
    fn a_range_with_a_listener_is_left_alone() {
        let octets = {
            let lease = Lease::take("lease test busy").unwrap();
            lease.octets
        };
        let _foreign = TcpListener::bind((address(octets, 7), 0)).unwrap();
        assert_ne!(Lease::take("lease test busy").unwrap().octets, octets);
    }
}
