//! Which responses are asked for, and what follows from what they say of themselves?

use gatecrash_model::cacheable::Cacheable;

/// A kind of response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Its name, and so the first part of the path of each resource of it.
    pub(crate) name: &'static str,
    /// Its `Cache-Control`; empty: none.
    cache_control: &'static str,
    /// Its `Vary`; empty: none.
    vary: &'static str,
    /// Its status.
    status: u16,
    sets_cookie: bool,
    /// For how many seconds it may be served again, the policy's TTL apart; 0: never.
    pub(crate) fresh_s: u64,
    /// Whether a response to one client may be served to another although the request had `Authorization` (RFC 9111 section 3.5).
    pub(crate) for_all: bool,
}

const fn kind(name: &'static str, cache_control: &'static str, fresh_s: u64) -> Kind {
    Kind { name, cache_control, vary: "", status: 200, sets_cookie: false, fresh_s, for_all: false }
}

const fn for_all(name: &'static str, cache_control: &'static str, fresh_s: u64) -> Kind {
    Kind { for_all: true, ..kind(name, cache_control, fresh_s) }
}

/// Short enough to expire in a story: HTTP counts whole seconds, which no scale makes shorter.
const SOON: u64 = 1;
/// Longer than any policy's TTL in a story.
const LONG: u64 = 86_400;

/// May be served again for a second: asked for over and over, until it expired several times.
pub(crate) const EXPIRING: [Kind; 3] = [
    kind("max-age", "max-age=1", SOON),
    kind("s-maxage", "s-maxage=1, max-age=86400", SOON),
    for_all("must-revalidate", "must-revalidate, max-age=1", SOON),
];
/// Says that it is fresh for longer than the policy allows.
pub(crate) const POLICY: Kind = kind("policy", "max-age=86400", LONG);
/// One representation for each language.
pub(crate) const VARY: Kind = Kind { vary: "accept-language", ..kind("vary", "max-age=86400", LONG) };
/// One resource for each query.
pub(crate) const QUERY: Kind = kind("query", "max-age=86400", LONG);
/// Never served again. A 429 may not be stored whatever it says (RFC 6585 section 4); a 5xx that says nothing may not either (RFC 9111 section 3).
pub(crate) const NEVER: [Kind; 6] = [
    kind("no-store", "no-store, max-age=86400", 0),
    kind("no-cache", "no-cache, max-age=86400", 0),
    Kind { vary: "*", ..kind("vary-any", "max-age=86400", 0) },
    Kind { status: 429, ..kind("error-429", "max-age=86400", 0) },
    Kind { status: 500, ..kind("error-500", "", 0) },
    Kind { status: 503, ..kind("error-503", "", 0) },
];
/// Answers to requests with `Authorization` that may be served to nobody else.
pub(crate) const OWN: [Kind; 4] = [
    kind("own-max-age", "max-age=86400", LONG),
    kind("own-silent", "", LONG),
    kind("own-private", "private, max-age=86400", LONG),
    Kind { sets_cookie: true, ..kind("own-cookie", "max-age=86400", LONG) },
];
/// Answers to requests with `Authorization` that may be served to all who may ask.
pub(crate) const FOR_ALL: [Kind; 3] = [
    for_all("all-public", "public, max-age=86400", LONG),
    for_all("all-s-maxage", "s-maxage=86400", LONG),
    for_all("all-must-revalidate", "must-revalidate, max-age=86400", LONG),
];
/// What all replicas have.
pub(crate) const EVERYWHERE: Kind = for_all("everywhere", "public, max-age=86400", LONG);
/// What many ask for at the same moment: expires soon, and not.
pub(crate) const HOT: [Kind; 2] =
    [for_all("hot-soon", "public, max-age=1", SOON), for_all("hot-long", "public, max-age=86400", LONG)];
/// What is asked for while the store is lost.
pub(crate) const STEADY: Kind = for_all("steady", "public, max-age=1", SOON);

impl Kind {
    /// What the upstream is to say of it.
    pub(crate) fn says(&self) -> Cacheable {
        let Self { vary, status, sets_cookie, .. } = *self;
        Cacheable { vary: vary.to_owned(), status, sets_cookie, ..Cacheable::of(self.cache_control) }
    }

    /// The kind of the resource called `name`.
    pub(super) fn of(name: &str) -> Option<Self> {
        let kind = name.split(['/', '?']).next()?;
        let groups: [&[Self]; 7] =
            [&EXPIRING, &[POLICY, VARY, QUERY], &NEVER, &OWN, &FOR_ALL, &[EVERYWHERE, STEADY], &HOT];
        groups.into_iter().flatten().copied().find(|known| known.name == kind)
    }

    /// Whether it is one of what is one client's.
    pub(super) fn is_owned(&self) -> bool {
        OWN.contains(self) || FOR_ALL.contains(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_of_the_kind_that_its_name_begins_with() {
        assert_eq!(Kind::of("vary/3?de"), Some(VARY));
        assert_eq!(Kind::of("hot-soon/1"), Some(HOT[0]));
        assert_eq!((Kind::of("varying/3"), Kind::of("")), (None, None));
    }
}
