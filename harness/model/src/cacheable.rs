//! What may be kept of a response? The harness says it in the query of a request, and the upstream answers so: `?cc=public+max-age=60&vary=accept-language`.
//!
//! Only below paths with [`CACHED_SEGMENT`]; everything else an upstream answers `no-store`.

/// The part of a path below which an upstream answers as the query says, and the reference gateway may keep what it answers.
pub const CACHED_SEGMENT: &str = "/cached/";

/// What an upstream is asked to say of its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cacheable {
    /// Directives of `Cache-Control`, in order; none: no such header.
    pub cache_control: Vec<String>,
    /// `Vary`; empty: no such header.
    pub vary: String,
    /// Status, 200 to 599.
    pub status: u16,
    /// Whether it sets a cookie.
    pub sets_cookie: bool,
}

impl Default for Cacheable {
    fn default() -> Self {
        Self { cache_control: Vec::new(), vary: String::new(), status: 200, sets_cookie: false }
    }
}

impl Cacheable {
    /// With these directives (`public, max-age=60`; empty: no `Cache-Control`).
    #[must_use]
    pub fn of(cache_control: &str) -> Self {
        let directives = cache_control.split(',').map(str::trim).filter(|directive| !directive.is_empty());
        Self { cache_control: directives.map(str::to_owned).collect(), ..Self::default() }
    }

    /// The query that asks for it, without `?`: empty for the default.
    ///
    /// ```
    /// use gatecrash_model::cacheable::Cacheable;
    /// let wanted = Cacheable { status: 429, ..Cacheable::of("public, max-age=60") };
    /// assert_eq!(wanted.query(), "cc=public+max-age=60&status=429");
    /// assert_eq!(Cacheable::of_query(&wanted.query()), wanted);
    /// ```
    #[must_use]
    pub fn query(&self) -> String {
        let mut parts = Vec::new();
        if !self.cache_control.is_empty() {
            parts.push(format!("cc={}", self.cache_control.join("+")));
        }
        if !self.vary.is_empty() {
            parts.push(format!("vary={}", self.vary));
        }
        if self.status != 200 {
            parts.push(format!("status={}", self.status));
        }
        if self.sets_cookie {
            parts.push("cookie=yes".to_owned());
        }
        parts.join("&")
    }

    /// What `query` asks for. Parts that it does not know, or that are illegal, say nothing.
    #[must_use]
    pub fn of_query(query: &str) -> Self {
        let mut wanted = Self::default();
        for (name, value) in query.split('&').filter_map(|part| part.split_once('=')) {
            match name {
                "cc" => wanted.cache_control = value.split('+').map(str::to_owned).collect(),
                "vary" => value.clone_into(&mut wanted.vary),
                "status" => {
                    let status = value.parse().ok().filter(|status| (200..600).contains(status));
                    wanted.status = status.unwrap_or(wanted.status);
                }
                "cookie" => wanted.sets_cookie = value == "yes",
                _ => {}
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_is_read() {
        let all = [
            Cacheable::default(),
            Cacheable::of("must-revalidate, max-age=1"),
            Cacheable {
                vary: "accept-language".to_owned(),
                sets_cookie: true,
                ..Cacheable::of("s-maxage=1,max-age=60")
            },
            Cacheable { status: 503, ..Cacheable::default() },
        ];
        for wanted in all {
            assert_eq!(Cacheable::of_query(&wanted.query()), wanted);
            assert_eq!(
                Cacheable::of_query(&format!("n=7&{}&x", wanted.query())),
                wanted,
                "beside what it does not know"
            );
        }
        assert_eq!(Cacheable::of_query("status=99&cookie=no&op=7"), Cacheable::default());
    }
}
