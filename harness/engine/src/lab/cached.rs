//! Requests for what a cache may keep: whose answer was it, and how old does it say that it is? Written as marks of
//! [`gatecrash_model::history::event::cached`], for checks to read.

use super::Lab;
use crate::client::Transport;
use gatecrash_model::cacheable::{CACHED_SEGMENT, Cacheable};
use gatecrash_model::history::event::cached;
use hyper::Request;

/// Something below a route that a cache may keep: one representation of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// What the history calls it, its representation included: `vary/3?de`.
    pub name: String,
    /// Path below [`CACHED_SEGMENT`]: `vary/3`.
    pub path: String,
    /// What tells it from others on the same path, at the end of the query; empty: nothing.
    pub query: String,
    /// `Accept-Language`; empty: none.
    pub language: String,
    /// What the upstream says of it.
    pub says: Cacheable,
}

impl Resource {
    /// The resource at `path`, of which the upstream says this.
    #[must_use]
    pub fn new(path: &str, says: Cacheable) -> Self {
        let (name, path) = (path.to_owned(), path.to_owned());
        Self { name, path, query: String::new(), language: String::new(), says }
    }

    /// The same path with another query: another resource.
    #[must_use]
    pub fn with_query(&self, query: &str) -> Self {
        Self { name: format!("{}?{query}", self.path), query: query.to_owned(), ..self.clone() }
    }

    /// The same resource in another language.
    #[must_use]
    pub fn in_language(&self, language: &str) -> Self {
        Self { name: format!("{}?{language}", self.path), language: language.to_owned(), ..self.clone() }
    }

    /// A request for it below the route at `path`, without anything that keeps it from being kept.
    pub(super) fn ask(&self, host: &str, path: &str) -> hyper::http::request::Builder {
        let says = self.says.query();
        let query: Vec<&str> = [says.as_str(), &self.query].into_iter().filter(|part| !part.is_empty()).collect();
        let base = path.trim_end_matches('/');
        let builder = Request::get(format!("http://{host}{base}{CACHED_SEGMENT}{}?{}", self.path, query.join("&")));
        if self.language.is_empty() { builder } else { builder.header("accept-language", &self.language) }
    }
}

/// Writes for which operation the body of an answer was made, and its `Age`.
pub(super) fn write(lab: &Lab, op: u32, transport: &Transport) {
    let Transport::Answer { headers, body, .. } = transport else { return };
    let subject = op.to_string();
    let body: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    if let Some(made_for) = body.as_ref().and_then(|body| body.get("op")).and_then(serde_json::Value::as_i64) {
        lab.mark(cached::MADE_FOR, &subject, made_for);
    }
    let age = headers.get("age").and_then(|age| age.to_str().ok()).and_then(|age| age.trim().parse().ok());
    if let Some(age) = age {
        lab.mark(cached::AGE_S, &subject, age);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_in_the_path_and_the_query() {
        let asked = |resource: &Resource| {
            let request = resource.ask("127.0.0.1:1", "/open").body(()).unwrap();
            (request.uri().to_string(), request.headers().get("accept-language").cloned())
        };
        let plain = Resource::new("fresh/1", Cacheable::of("max-age=1"));
        assert_eq!(asked(&plain), ("http://127.0.0.1:1/open/cached/fresh/1?cc=max-age=1".to_owned(), None));
        let other = plain.with_query("n=2");
        assert_eq!(asked(&other).0, "http://127.0.0.1:1/open/cached/fresh/1?cc=max-age=1&n=2");
        assert_eq!(other.name, "fresh/1?n=2");
        let german = plain.in_language("de");
        assert_eq!(asked(&german).1.unwrap(), "de");
        assert_eq!(german.name, "fresh/1?de");
    }
}
