//! Which subnet a network of ours gets: small, explicit, and on nobody else's addresses.
//!
//! The engine's default pools end at about 30 networks, so subnets are chosen here and given to the engine, which
//! refuses one that overlaps; then the next is tried.

use sha2::{Digest as _, Sha256};
use std::net::Ipv4Addr;

/// A range of addresses: network and prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    base: u32,
    prefix: u8,
}

/// Ours are /25 (125 components) of 10.213.0.0/16.
const POOL: u32 = 0x0AD5_0000;
const PREFIX: u8 = 25;
const COUNT: u32 = 512;

impl Subnet {
    /// `a.b.c.d/n`; `None` for anything else, IPv6 too.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        Some(Self { base: u32::from(address) & mask(prefix), prefix })
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        let shorter = mask(self.prefix.min(other.prefix));
        self.base & shorter == other.base & shorter
    }

    /// The first address: the bridge's own, on which links listen.
    pub(super) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base.saturating_add(1))
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(prefix))).unwrap_or(0)
}

/// Our subnets in the order in which they are to be tried for `key`, without those that overlap a taken one.
pub(super) fn candidates(key: &str, taken: &[Subnet]) -> Vec<Subnet> {
    let digest = Sha256::digest(key.as_bytes());
    let start = digest.iter().take(3).fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
    let all = (0..COUNT).map(move |step| Subnet {
        base: POOL | ((start.wrapping_add(step) % COUNT) << (32 - u32::from(PREFIX))),
        prefix: PREFIX,
    });
    all.filter(|subnet| !taken.iter().any(|other| other.overlaps(*subnet))).collect()
}

/// The host's routes, from the kernel's table; the default route is left out, it overlaps everything.
pub(super) fn routes() -> Vec<Subnet> {
    parse_routes(&std::fs::read_to_string("/proc/net/route").unwrap_or_default())
}

fn parse_routes(table: &str) -> Vec<Subnet> {
    let hex = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::from_be);
    let rows = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (base, mask) = (hex(fields.get(1)?)?, hex(fields.get(7)?)?);
        let prefix = u8::try_from(mask.count_ones()).ok()?;
        (prefix > 0).then_some(Subnet { base, prefix })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_is_seen_both_ways() {
        let small = Subnet::parse("10.213.4.128/25").unwrap();
        let large = Subnet::parse("10.0.0.0/8").unwrap();
        let other = Subnet::parse("10.213.4.0/25").unwrap();
        assert!(small.overlaps(large) && large.overlaps(small));
        assert!(!small.overlaps(other));
        assert!(Subnet::parse("0.0.0.0/0").unwrap().overlaps(small));
        assert_eq!(small.gateway(), Ipv4Addr::new(10, 213, 4, 129));
        assert_eq!(small.to_string(), "10.213.4.128/25");
        assert_eq!(Subnet::parse("fd00::/8"), None);
    }

    #[test]
    fn taken_subnets_are_not_tried() {
        let all = candidates("r1-lab", &[]);
        assert_eq!(all.len(), 512);
        let first = *all.first().unwrap();
        let rest = candidates("r1-lab", &[first]);
        assert_eq!(rest.first(), all.get(1));
        assert_eq!(candidates("r1-lab", &[Subnet::parse("10.213.0.0/16").unwrap()]), []);
    }

    #[test]
    fn routes_are_read_without_the_default() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\teth0\t00000000\n\
                     eth0\t00000000\t0100000A\t3\t0\t0\t0\t00000000\t0\t0\t0\n\
                     br0\t0004D50A\t00000000\t1\t0\t0\t0\t80FFFFFF\t0\t0\t0\n";
        assert_eq!(parse_routes(table), [Subnet::parse("10.213.4.0/25").unwrap()]);
    }
}
