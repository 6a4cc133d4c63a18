//! Deployments as written: YAML to the checked form, with its limits, its defaults and the one conversion.

use super::{
    Analytics, Autoscale, ControlPlane, Deployment, Gateway, Peering, Platform, Policy, Quota, Route, RouteBackend,
    Site, Store, StoreFailover, StoreKind, StoreScope, Successor, WindowAlignment,
};
use crate::input::fields::{self, Fields, written_duration};
use crate::input::tree::{self, Node};
use crate::input::{InputError, Mistakes};
use crate::profile::Scalar;
use std::collections::BTreeMap;
use std::time::Duration;

/// The version of the form that this reads.
const VERSION: &str = "1.0";
/// Longest duration that a deployment may name.
const HOUR: Duration = Duration::from_secs(3_600);
/// Voters that a group of gateways may have: with fewer none could be lost, and each more makes every decision dearer.
const VOTERS: std::ops::RangeInclusive<u32> = 3..=15;
const STORE_KINDS: [(&str, StoreKind); 2] = [("redis", StoreKind::Redis), ("stub", StoreKind::Stub)];
const STORE_SCOPES: [(&str, StoreScope); 2] = [("site", StoreScope::Site), ("deployment", StoreScope::Deployment)];
const SUCCESSORS: [(&str, Successor); 2] = [("same", Successor::Same), ("new", Successor::New)];
const POLICIES: [(&str, Policy); 3] = [("jwt", Policy::Jwt), ("client-id", Policy::ClientId), ("quota", Policy::Quota)];

const ALIGNMENTS: [(&str, WindowAlignment); 3] = [
    ("first-request", WindowAlignment::FirstRequest),
    ("calendar", WindowAlignment::Calendar),
    ("token-bucket", WindowAlignment::TokenBucket),
];

/// Durations as whole milliseconds in reports.
pub(crate) mod duration_ms {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Ok(Duration::from_millis(u64::deserialize(deserializer)?))
    }
}

/// The deployment that `text` describes.
///
/// # Errors
/// Every mistake with its place in `text`, which is called `source_name` in the messages.
pub fn parse(source_name: &str, text: &str) -> Result<Deployment, InputError> {
    let root = tree::read(source_name, text)?;
    let mut mistakes = Mistakes::new(source_name, text);
    let deployment = deployment(&root, &mut mistakes);
    mistakes.finish(deployment)
}

fn deployment(root: &Node, mistakes: &mut Mistakes<'_>) -> Option<Deployment> {
    let mut keys = Fields::of(root, "a deployment", mistakes)?;
    version(&mut keys, mistakes);
    let name = keys
        .required("name", "a name has 1 to 40 letters, digits and dashes", mistakes)
        .and_then(|node| fields::name(node, "name", 40, mistakes));
    let profile = keys
        .required("profile", "name one that `gatecrash list` shows, or a path ending in `.yaml`", mistakes)
        .and_then(|node| reference(node, "profile", mistakes));
    let gateway = keys
        .required("gateway", "name the gateway under test, such as `gateway: {adapter: reference}`", mistakes)
        .and_then(|node| gateway(node, mistakes));
    let sites =
        keys.required("sites", "a deployment needs 1 to 8 sites", mistakes).and_then(|node| sites(node, mistakes));
    let control_plane = optional(keys.optional("controlPlane"), |node| control_plane(node, mistakes));
    let store = optional(keys.optional("store"), |node| store(node, mistakes));
    let group = keys.optional("peering");
    let peering = optional(group, |node| peering(node, sites.as_deref(), mistakes));
    let site_store =
        keys.optional("siteStore").map_or(Some(false), |node| fields::boolean(node, "siteStore", mistakes));
    let platform = optional(keys.optional("platform"), |node| platform(node, sites.as_deref(), mistakes));
    let analytics = optional(keys.optional("analytics"), |node| analytics(node, mistakes));
    let routes = keys.optional("routes").map_or_else(|| Some(default_routes()), |node| routes(node, mistakes));
    let quota = keys.optional("quota").map_or_else(|| Some(default_quota()), |node| quota(node, mistakes));
    let at = keys.place("platform");
    keys.finish(mistakes);
    if let Some(Some(Platform { autoscale: Some(_), .. })) = &platform
        && group.is_some()
    {
        mistakes.add(
            at,
            "`platform` has `autoscale` and the gateways are a group (`peering`), whose voters are fixed: leave one of them out".to_owned(),
        );
        return None;
    }
    Some(Deployment {
        name: name?,
        profile: profile?,
        gateway: gateway?,
        sites: sites?,
        control_plane: control_plane?,
        store: store?,
        peering: peering?,
        site_store: site_store?,
        platform: platform?,
        analytics: analytics?,
        routes: routes?,
        quota: quota?,
    })
}

/// `Some(None)` for a part that is not there, `None` for one that is wrong.
fn optional<'n, T>(node: Option<&'n Node>, read: impl FnOnce(&'n Node) -> Option<T>) -> Option<Option<T>> {
    node.map_or(Some(None), |node| read(node).map(Some))
}

/// Checks `version`; shared with profiles and adapters.
pub(crate) fn version(keys: &mut Fields<'_>, mistakes: &mut Mistakes<'_>) {
    let Some(node) = keys.required("version", "write `version: \"1.0\"`", mistakes) else { return };
    // `version: 1.0` without quotes is a number; it is clear what is meant.
    let written = match &node.value {
        tree::Value::Number(number) => format!("{number:.1}"),
        tree::Value::Text(text) => text.clone(),
        tree::Value::Null | tree::Value::Boolean(_) | tree::Value::List(_) | tree::Value::Map(_) => String::new(),
    };
    if written != VERSION {
        mistakes.add(node.at, format!("`version` is {}; this gatecrash reads `{VERSION}`", node.value.kind()));
    }
}

/// A name of something that comes with gatecrash, or a path ending in `.yaml`.
fn reference(node: &Node, key: &str, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let written = fields::text(node, key, 400, mistakes)?;
    let is_name = written.chars().all(|character| character.is_ascii_alphanumeric() || character == '-');
    let is_path = written.ends_with(".yaml") && !written.contains(|character: char| character.is_control());
    if is_name || is_path {
        return Some(written);
    }
    mistakes.add(
        node.at,
        format!(
            "`{key}` is {}; it must be a name of letters, digits and dashes, or a path ending in `.yaml`",
            node.value.kind()
        ),
    );
    None
}

fn gateway(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<Gateway> {
    let mut keys = Fields::of(node, "`gateway`", mistakes)?;
    let adapter = keys
        .required("adapter", "name one that comes with gatecrash, or a path ending in `.yaml`", mistakes)
        .and_then(|node| reference(node, "adapter", mistakes));
    let settings = keys.optional("settings").map_or_else(|| Some(BTreeMap::new()), |node| settings(node, mistakes));
    let defects = keys.optional("defects").map_or_else(|| Some(Vec::new()), |node| defects(node, mistakes));
    keys.finish(mistakes);
    Some(Gateway { adapter: adapter?, settings: settings?, defects: defects? })
}

/// Which settings are legal is the adapter's to say: [`crate::adapter::Adapter::check_settings`].
fn settings(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<BTreeMap<String, Scalar>> {
    let tree::Value::Map(entries) = &node.value else {
        mistakes.add(node.at, format!("`settings` is a map of names and values, not {}", node.value.kind()));
        return None;
    };
    fields::distinct(entries.iter().map(|(key, _)| (&key.text, key.at)), "setting", mistakes);
    entries.iter().map(|(key, node)| Some((key.text.clone(), fields::scalar(node, &key.text, mistakes)?))).collect()
}

fn defects(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<Vec<String>> {
    let items = fields::list(node, "defects", 0..=100, "a gateway has", mistakes)?;
    let names: Vec<String> = items.iter().filter_map(|item| fields::text(item, "defects", 80, mistakes)).collect();
    fields::distinct(names.iter().zip(items).map(|(name, item)| (name, item.at)), "defect", mistakes);
    (names.len() == items.len()).then_some(names)
}

fn sites(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<Vec<Site>> {
    let items = fields::list(node, "sites", 1..=8, "a deployment needs", mistakes)?;
    let mut names = Vec::new();
    let mut sites = Vec::new();
    for item in items {
        let Some(mut keys) = Fields::of(item, "a site", mistakes) else { continue };
        let name = keys
            .required("name", "a name has 1 to 20 letters, digits and dashes", mistakes)
            .and_then(|node| fields::name(node, "name", 20, mistakes));
        if let Some(name) = &name {
            names.push((name.clone(), keys.place("name")));
        }
        let zones = keys.optional("zones").map_or_else(|| Some(vec!["a".to_owned()]), |node| zones(node, mistakes));
        let replicas = keys
            .required("replicas", "a site without a gateway is none: 1 to 64", mistakes)
            .and_then(|node| fields::whole(node, "replicas", 1..=64, "a site needs", mistakes));
        let signing = keys
            .optional("signing")
            .map_or_else(|| Some("shared".to_owned()), |node| fields::name(node, "signing", 40, mistakes));
        keys.finish(mistakes);
        if let (Some(name), Some(zones), Some(replicas), Some(signing)) = (name, zones, replicas, signing) {
            sites.push(Site { name, zones, replicas, signing });
        }
    }
    fields::distinct(names.into_iter(), "site", mistakes);
    (sites.len() == items.len()).then_some(sites)
}

fn zones(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<Vec<String>> {
    let items = fields::list(node, "zones", 1..=8, "a site needs", mistakes)?;
    let names: Vec<String> = items.iter().filter_map(|item| fields::name(item, "zones", 20, mistakes)).collect();
    if names.len() < items.len() {
        return None;
    }
    fields::distinct(names.iter().zip(items).map(|(name, item)| (name, item.at)), "zone", mistakes);
    Some(names)
}

fn control_plane(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<ControlPlane> {
    let mut keys = Fields::of(node, "`controlPlane`", mistakes)?;
    let poll_interval = keys.optional("pollInterval").map_or(Some(Duration::from_secs(5)), |node| {
        fields::duration(node, "pollInterval", Duration::from_millis(10)..=HOUR, mistakes)
    });
    let ingress_timeout = keys.optional("ingressTimeout").map_or(Some(Duration::from_secs(30)), |node| {
        fields::duration(node, "ingressTimeout", Duration::from_millis(100)..=HOUR, mistakes)
    });
    keys.finish(mistakes);
    Some(ControlPlane { poll_interval: poll_interval?, ingress_timeout: ingress_timeout? })
}

fn store(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<Store> {
    let mut keys = Fields::of(node, "`store`", mistakes)?;
    let kind = keys
        .required("kind", "known are `redis` and `stub`", mistakes)
        .and_then(|node| fields::word(node, "kind", &STORE_KINDS, mistakes));
    let scope = keys
        .optional("scope")
        .map_or(Some(StoreScope::Site), |node| fields::word(node, "scope", &STORE_SCOPES, mistakes));
    let failover = optional(keys.optional("failover"), |node| store_failover(node, kind, mistakes));
    keys.finish(mistakes);
    Some(Store { kind: kind?, scope: scope?, failover: failover? })
}

fn store_failover(node: &Node, kind: Option<StoreKind>, mistakes: &mut Mistakes<'_>) -> Option<StoreFailover> {
    let mut keys = Fields::of(node, "`failover`", mistakes)?;
    let legal = Duration::from_millis(500)..=Duration::from_secs(60);
    let down_after = keys
        .optional("downAfter")
        .map_or(Some(Duration::from_secs(5)), |node| fields::duration(node, "downAfter", legal, mistakes));
    keys.finish(mistakes);
    if kind == Some(StoreKind::Stub) {
        mistakes.add(node.at, "`failover` is for `kind: redis`: the stub has no second node".to_owned());
        return None;
    }
    Some(StoreFailover { down_after: down_after? })
}

/// Left out, its number is IBM's (a primary is missed for 10 s).
fn peering(node: &Node, sites: Option<&[Site]>, mistakes: &mut Mistakes<'_>) -> Option<Peering> {
    let mut keys = Fields::of(node, "`peering`", mistakes)?;
    let legal = Duration::from_secs(1)..=Duration::from_secs(600);
    let failover = keys
        .optional("failover")
        .map_or(Some(Duration::from_secs(10)), |node| fields::duration(node, "failover", legal, mistakes));
    keys.finish(mistakes);
    let voters: u32 = sites?.iter().map(|site| site.replicas).sum();
    if !VOTERS.contains(&voters) {
        let (least, most) = (VOTERS.start(), VOTERS.end());
        mistakes.add(
            node.at,
            format!("`peering` has {voters} voters, the replicas of all sites; a group has {least} to {most}"),
        );
        return None;
    }
    Some(Peering { failover: failover? })
}

/// Left out, its numbers are those that Kubernetes has for a liveness probe.
fn platform(node: &Node, sites: Option<&[Site]>, mistakes: &mut Mistakes<'_>) -> Option<Platform> {
    let mut keys = Fields::of(node, "`platform`", mistakes)?;
    let longest = |seconds| Duration::from_millis(100)..=Duration::from_secs(seconds);
    let probe_period = keys
        .optional("probePeriod")
        .map_or(Some(Duration::from_secs(10)), |node| fields::duration(node, "probePeriod", longest(3_600), mistakes));
    let probe_timeout = keys
        .optional("probeTimeout")
        .map_or(Some(Duration::from_secs(1)), |node| fields::duration(node, "probeTimeout", longest(60), mistakes));
    let probe_threshold = keys
        .optional("probeThreshold")
        .map_or(Some(3), |node| fields::whole(node, "probeThreshold", 1..=100, "legal are", mistakes));
    let successor = keys
        .optional("successor")
        .map_or(Some(Successor::New), |node| fields::word(node, "successor", &SUCCESSORS, mistakes));
    let autoscale = optional(keys.optional("autoscale"), |node| autoscale(node, sites, mistakes));
    let at = keys.place("probeTimeout");
    keys.finish(mistakes);
    let (probe_period, probe_timeout) = (probe_period?, probe_timeout?);
    if probe_timeout > probe_period {
        let (timeout, period) = (written_duration(probe_timeout), written_duration(probe_period));
        mistakes.add(
            at,
            format!("`probeTimeout` is {timeout}; it must not be longer than `probePeriod`, which is {period}"),
        );
        return None;
    }
    Some(Platform {
        probe_period,
        probe_timeout,
        probe_threshold: probe_threshold?,
        successor: successor?,
        autoscale: autoscale?,
    })
}

/// Left out, its times are those of Kubernetes' horizontal pod autoscaler.
fn autoscale(node: &Node, sites: Option<&[Site]>, mistakes: &mut Mistakes<'_>) -> Option<Autoscale> {
    let mut keys = Fields::of(node, "`autoscale`", mistakes)?;
    let least = sites.into_iter().flatten().map(|site| site.replicas).max().unwrap_or(1);
    let max_replicas =
        keys.required("maxReplicas", "say how many replicas a site may have at most", mistakes).and_then(|node| {
            fields::whole(node, "maxReplicas", least..=64, "legal, as no site may start with more, are", mistakes)
        });
    let cpu_percent = keys
        .optional("cpuPercent")
        .map_or(Some(50), |node| fields::whole(node, "cpuPercent", 1..=100, "legal are", mistakes));
    let cpu_request_millicores = keys
        .optional("cpuRequestMillicores")
        .map_or(Some(100), |node| fields::whole(node, "cpuRequestMillicores", 10..=64_000, "legal are", mistakes));
    let mut time = |key, default, legal| {
        keys.optional(key).map_or(Some(default), |node| fields::duration(node, key, legal, mistakes))
    };
    let hour = Duration::from_secs(3_600);
    let period = time("period", Duration::from_secs(15), Duration::from_secs(1)..=hour);
    let stabilization = time("stabilization", Duration::from_secs(300), Duration::from_secs(1)..=hour);
    keys.finish(mistakes);
    Some(Autoscale {
        max_replicas: max_replicas?,
        cpu_percent: cpu_percent?,
        cpu_request_millicores: cpu_request_millicores?,
        period: period?,
        stabilization: stabilization?,
    })
}

/// Left out, its numbers are small: a run has to fill the buffer.
fn analytics(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<Analytics> {
    let mut keys = Fields::of(node, "`analytics`", mistakes)?;
    let buffer_events = keys
        .optional("bufferEvents")
        .map_or(Some(200), |node| fields::whole(node, "bufferEvents", 1..=1_000_000, "legal are", mistakes));
    let batch_events = keys
        .optional("batchEvents")
        .map_or(Some(20), |node| fields::whole(node, "batchEvents", 1..=10_000, "legal are", mistakes));
    let flush_interval = keys.optional("flushInterval").map_or(Some(Duration::from_secs(5)), |node| {
        fields::duration(node, "flushInterval", Duration::from_millis(100)..=Duration::from_secs(600), mistakes)
    });
    let at = keys.place("batchEvents");
    keys.finish(mistakes);
    let (buffer_events, batch_events) = (buffer_events?, batch_events?);
    if batch_events > buffer_events {
        mistakes.add(
            at,
            format!(
                "`batchEvents` is {batch_events}; it must not be more than `bufferEvents`, which is {buffer_events}"
            ),
        );
        return None;
    }
    Some(Analytics { buffer_events, batch_events, flush_interval: flush_interval? })
}

fn routes(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<Vec<Route>> {
    let items = fields::list(node, "routes", 1..=32, "a deployment needs", mistakes)?;
    let mut names = Vec::new();
    let mut paths = Vec::new();
    let mut routes = Vec::new();
    for item in items {
        let Some(mut keys) = Fields::of(item, "a route", mistakes) else { continue };
        let name = keys
            .required("name", "a name has 1 to 40 letters, digits and dashes", mistakes)
            .and_then(|node| fields::name(node, "name", 40, mistakes));
        let path = keys.required("path", "a path begins with `/`", mistakes).and_then(|node| path(node, mistakes));
        let policies = keys.optional("policies").map_or_else(|| Some(Vec::new()), |node| policies(node, mistakes));
        names.extend(name.clone().map(|name| (name, keys.place("name"))));
        paths.extend(path.clone().map(|path| (path, keys.place("path"))));
        keys.finish(mistakes);
        if let (Some(name), Some(path), Some(policies)) = (name, path, policies) {
            routes.push(Route { name, path, policies, backend: RouteBackend::Local });
        }
    }
    fields::distinct(names.into_iter(), "route", mistakes);
    fields::distinct(paths.into_iter(), "path", mistakes);
    (routes.len() == items.len()).then_some(routes)
}

fn path(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let written = fields::text(node, "path", 100, mistakes)?;
    let plain = |character: char| character.is_ascii_alphanumeric() || "/-_.~".contains(character);
    let is_plain = written.starts_with('/') && written.len() > 1 && !written.ends_with('/');
    if is_plain && written.chars().all(plain) {
        return Some(written);
    }
    mistakes.add(
        node.at,
        format!(
            "`path` is {}; a path begins with `/`, does not end with it, and has letters, digits and `-_.~`",
            node.value.kind()
        ),
    );
    None
}

fn policies(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<Vec<Policy>> {
    let items = fields::list(node, "policies", 0..=3, "a route has", mistakes)?;
    let found: Vec<Policy> =
        items.iter().filter_map(|item| fields::word(item, "policies", &POLICIES, mistakes)).collect();
    if found.len() < items.len() {
        return None;
    }
    let written = |policy: &Policy| POLICIES.iter().find(|(_, other)| other == policy).map_or("", |(word, _)| word);
    fields::distinct(found.iter().map(written).zip(items).map(|(word, item)| (word, item.at)), "policy", mistakes);
    Some(found)
}

fn quota(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<Quota> {
    let mut keys = Fields::of(node, "`quota`", mistakes)?;
    let default = default_quota();
    let limit = keys
        .optional("limit")
        .map_or(Some(default.limit), |node| fields::whole(node, "limit", 1..=1_000_000, "legal are", mistakes));
    let window = keys.optional("window").map_or(Some(default.window), |node| {
        fields::duration(node, "window", Duration::from_millis(100)..=HOUR, mistakes)
    });
    let alignment = keys
        .optional("alignment")
        .map_or(Some(default.alignment), |node| fields::word(node, "alignment", &ALIGNMENTS, mistakes));
    keys.finish(mistakes);
    Some(Quota { limit: limit?, window: window?, alignment: alignment? })
}

/// The quota of a deployment that says nothing: 100 requests in 10 s from the first request.
fn default_quota() -> Quota {
    Quota { limit: 100, window: Duration::from_secs(10), alignment: WindowAlignment::FirstRequest }
}

/// The routes of a deployment that says nothing: one for each kind of check.
fn default_routes() -> Vec<Route> {
    let route = |name: &str, policies: &[Policy]| Route {
        name: name.to_owned(),
        path: format!("/{name}"),
        policies: policies.to_vec(),
        backend: RouteBackend::Local,
    };
    vec![
        route("plain", &[Policy::Jwt]),
        route("metered", &[Policy::Jwt, Policy::Quota]),
        route("partner", &[Policy::ClientId]),
        route("open", &[]),
    ]
}

#[cfg(test)]
mod tests {
    use super::{ALIGNMENTS, POLICIES, STORE_KINDS, STORE_SCOPES, SUCCESSORS, VOTERS, parse};
    use crate::deployment::{
        Analytics, Autoscale, ControlPlane, Deployment, Gateway, Peering, Platform, Policy, Quota, Route, RouteBackend,
        Site, Store, StoreFailover, StoreKind, StoreScope, Successor, WindowAlignment,
    };
    use crate::input::fields::written_duration;
    use crate::profile::Scalar;
    use proptest::prelude::*;
    use std::time::Duration;
    use test_case::test_case;

    const HEAD: &str = "version: \"1.0\"\nname: edge\nprofile: flex-managed\ngateway: {adapter: reference}\n";

    #[test]
    fn defaults_are_filled_in() {
        let deployment = parse("edge.yaml", &format!("{HEAD}sites:\n  - {{name: eu, replicas: 2}}\n")).unwrap();
        assert_eq!(deployment.sites[0].zones, ["a"]);
        assert_eq!(deployment.sites[0].signing, "shared");
        assert_eq!((deployment.control_plane, deployment.store, deployment.site_store), (None, None, false));
        assert_eq!((deployment.platform, deployment.analytics), (None, None));
        assert_eq!(deployment.quota.limit, 100);
        assert_eq!(deployment.quota.window, Duration::from_secs(10));
        assert_eq!(deployment.quota.alignment, WindowAlignment::FirstRequest);
        let routes: Vec<(&str, &[Policy])> =
            deployment.routes.iter().map(|route| (route.path.as_str(), route.policies.as_slice())).collect();
        assert_eq!(
            routes,
            [
                ("/plain", [Policy::Jwt].as_slice()),
                ("/metered", &[Policy::Jwt, Policy::Quota]),
                ("/partner", &[Policy::ClientId]),
                ("/open", &[]),
            ]
        );
    }

    #[test]
    fn everything_can_be_said() {
        let text = format!(
            "{}  settings: {{contracts: peered, deep: true, count: 3, configCache: on}}\n  defects: [quota.reset-on-restart]\n\
             sites:\n  - {{name: eu, replicas: 1, zones: [a, b], signing: eu}}\n\
             controlPlane: {{pollInterval: 500ms, ingressTimeout: 1m}}\nstore: {{kind: stub, scope: deployment}}\nsiteStore: true\n\
             routes: [{{name: r, path: /r/x, policies: [jwt]}}]\nquota: {{limit: 5, window: 1m, alignment: calendar}}\n",
            HEAD.replace("{adapter: reference}", "\n  adapter: reference")
        );
        let deployment = parse("edge.yaml", &text).unwrap();
        assert_eq!(deployment.gateway.settings["configCache"], Scalar::Text("on".to_owned()));
        assert_eq!(deployment.gateway.settings["deep"], Scalar::Boolean(true));
        assert_eq!(deployment.gateway.settings["count"], Scalar::Number(3.0));
        assert_eq!(deployment.gateway.defects, ["quota.reset-on-restart"]);
        let control_plane = deployment.control_plane.unwrap();
        assert_eq!(control_plane.poll_interval, Duration::from_millis(500));
        assert_eq!(control_plane.ingress_timeout, Duration::from_secs(60));
        assert_eq!(deployment.store.unwrap().scope, StoreScope::Deployment);
        assert!(deployment.site_store);
        assert_eq!(deployment.quota.alignment, WindowAlignment::Calendar);
    }

    #[test]
    fn a_platform_that_says_nothing_probes_as_kubernetes_does() {
        let platform =
            |text: &str| parse("edge.yaml", &format!("{HEAD}{SITE}platform: {text}\n")).unwrap().platform.unwrap();
        let (period, timeout) = (Duration::from_secs(10), Duration::from_secs(1));
        let default = Platform {
            probe_period: period,
            probe_timeout: timeout,
            probe_threshold: 3,
            successor: Successor::New,
            autoscale: None,
        };
        assert_eq!(platform("{}"), default);
        let all = platform("{probePeriod: 5s, probeTimeout: 5s, probeThreshold: 5, successor: same}");
        assert_eq!((all.probe_period, all.probe_timeout), (Duration::from_secs(5), Duration::from_secs(5)));
        assert_eq!((all.probe_threshold, all.successor), (5, Successor::Same));
    }

    #[test]
    fn times_of_the_platform_scale_and_its_threshold_does_not() {
        let deployment = parse("edge.yaml", &format!("{HEAD}{SITE}platform: {{probePeriod: 20s}}\n")).unwrap();
        let scaled = deployment.scaled(0.1).platform.unwrap();
        assert_eq!((scaled.probe_period, scaled.probe_timeout), (Duration::from_secs(2), Duration::from_millis(100)));
        assert_eq!(scaled.probe_threshold, 3);
    }

    #[test]
    fn a_platform_that_scales_does_so_as_kubernetes_does_and_its_times_scale() {
        let read = |text: &str| {
            let text = format!("{HEAD}{SITE}platform: {{autoscale: {text}}}\n");
            parse("edge.yaml", &text).unwrap().scaled(0.1).autoscale().cloned()
        };
        let default = Autoscale {
            max_replicas: 3,
            cpu_percent: 50,
            cpu_request_millicores: 100,
            period: Duration::from_millis(1_500),
            stabilization: Duration::from_secs(30),
        };
        assert_eq!(read("{maxReplicas: 3}"), Some(default));
        let all = read("{maxReplicas: 11, cpuPercent: 80, cpuRequestMillicores: 500, period: 10s, stabilization: 60s}");
        let all = all.unwrap();
        assert_eq!((all.max_replicas, all.cpu_percent, all.cpu_request_millicores), (11, 80, 500));
        assert_eq!((all.period, all.stabilization), (Duration::from_secs(1), Duration::from_secs(6)));
    }

    #[test]
    fn a_store_that_fails_over_has_two_nodes_and_three_sentinels_and_its_time_does_not_scale() {
        let read = |text: &str| parse("edge.yaml", &format!("{HEAD}{SITE}store: {text}\n")).unwrap().scaled(0.1);
        let one = read("{kind: redis}");
        assert_eq!((one.fails_over(), one.store_nodes_of("eu").len(), one.sentinels_of("eu").len()), (false, 1, 0));
        let two = read("{kind: redis, failover: {}}");
        assert_eq!(two.store_nodes_of("eu"), ["eu-store", "eu-store-2"]);
        assert_eq!(two.sentinels_of("eu"), ["eu-store-sentinel-1", "eu-store-sentinel-2", "eu-store-sentinel-3"]);
        let down_after = two.store.and_then(|store| store.failover).map(|failover| failover.down_after);
        assert_eq!(down_after, Some(Duration::from_secs(5)));
    }

    #[test]
    fn analytics_that_says_nothing_has_a_small_buffer_and_only_its_interval_scales() {
        let analytics =
            |text: &str| parse("edge.yaml", &format!("{HEAD}{SITE}analytics: {text}\n")).unwrap().scaled(0.1).analytics;
        let said = |buffer_events, batch_events, ms| {
            Some(Analytics { buffer_events, batch_events, flush_interval: Duration::from_millis(ms) })
        };
        assert_eq!(analytics("{}"), said(200, 20, 500));
        assert_eq!(analytics("{bufferEvents: 5000, batchEvents: 50, flushInterval: 1m}"), said(5000, 50, 6000));
    }

    #[test]
    fn a_mistake_is_shown_whole() {
        let error = parse("edge.yaml", &format!("{HEAD}sites:\n  - name: eu\n    replicas: 0\n")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "edge.yaml:7:15: `replicas` is 0; a site needs 1 to 64\n   |\n 7 |     replicas: 0\n   |               ^"
        );
    }

    const SITE: &str = "sites: [{name: eu, replicas: 2}]\n";

    #[test_case("", "edge.yaml:1:1: a deployment has no `sites`; a deployment needs 1 to 8 sites" ; "no sites")]
    #[test_case("sites: []\n", "5:8: `sites` is empty; a deployment needs 1 to 8" ; "empty sites")]
    #[test_case("sites:\n", "5:1: `sites` is empty" ; "null sites")]
    #[test_case("sites: [{name: eu}]\n", "5:9: a site has no `replicas`; a site without a gateway is none: 1 to 64" ; "site without a gateway")]
    #[test_case("sites: [{name: eu, replicas: 65}]\n", "5:30: `replicas` is 65; a site needs 1 to 64" ; "too many replicas")]
    #[test_case("sites: [{name: eu, replicas: 1.5}]\n", "`replicas` is 1.5; a site needs 1 to 64" ; "half a replica")]
    #[test_case("sites: [{name: eu, replicas: two}]\n", "`replicas` is `two`; a site needs 1 to 64" ; "replicas in words")]
    #[test_case("sites: [{name: eu, replicas: -1}]\n", "`replicas` is -1; a site needs 1 to 64" ; "negative replicas")]
    #[test_case("sites: [{name: eu, replicas: 1, zones: []}]\n", "`zones` is empty; a site needs 1 to 8" ; "no zones")]
    #[test_case("sites: [{name: eu, replicas: 1, zones: [a, a]}]\n", "5:44: zone `a` is there twice, first on line 5" ; "a zone twice")]
    #[test_case("sites: [{name: eu/1, replicas: 1}]\n", "`name` is `eu/1`; a name has 1 to 20 letters, digits and dashes and begins with a letter" ; "site name")]
    #[test_case("sites: [{name: 1, replicas: 1}]\n", "`name` is 1; it must be text: put it in quotes" ; "a number as a name")]
    #[test_case("sites:\n  - {name: eu, replicas: 1}\n  - {name: eu, replicas: 1}\n", "7:12: site `eu` is there twice, first on line 6" ; "duplicate site")]
    #[test_case("sites: [{name: eu, replicas: 1, color: red}]\n", "5:33: unknown key `color` in a site; known are `name`, `zones`, `replicas` and `signing`" ; "unknown key in a site")]
    #[test_case("sites: {eu: 2}\n", "5:8: `sites` is a map; it must be a list" ; "sites as a map")]
    #[test_case("sites: [eu]\n", "5:9: a site is a map of keys and values, not `eu`" ; "a site as a word")]
    fn sites(text: &str, expected: &str) {
        refuses(&format!("{HEAD}{text}"), expected);
    }

    #[test_case("controlplane: {}\n", "6:1: unknown key `controlplane` in a deployment; known are `version`, `name`, `profile`, `gateway`, `sites`, `controlPlane`, `store`, `peering`, `siteStore`, `platform`, `analytics`, `routes` and `quota`" ; "unknown key")]
    #[test_case("name: other\n", "6:1: `name` is there twice, first on line 2" ; "duplicate key")]
    #[test_case("controlPlane: {pollInterval: 10}\n", "6:30: `pollInterval` is 10; a duration is a number and a unit: `500ms`, `10s`, `1m`, `1h`" ; "duration without a unit")]
    #[test_case("controlPlane: {pollInterval: 2h}\n", "`pollInterval` is `2h`; legal are 10ms to 1h" ; "duration out of range")]
    #[test_case("quota: {window: 1 day}\n", "`window` is `1 day`; a duration is" ; "duration syntax")]
    #[test_case("quota: {limit: 0}\n", "6:16: `limit` is 0; legal are 1 to 1000000" ; "no quota")]
    #[test_case("quota: {alignment: sliding}\n", "`alignment` is `sliding`; known are `first-request`, `calendar` and `token-bucket`" ; "alignment")]
    #[test_case("store: {kind: memcached}\n", "`kind` is `memcached`; known are `redis` and `stub`" ; "store kind")]
    #[test_case("store: {kind: redis, scope: world}\n", "`scope` is `world`; known are `site` and `deployment`" ; "store scope")]
    #[test_case("store: redis\n", "6:8: `store` is a map of keys and values, not `redis`" ; "store as a word")]
    #[test_case("peering: true\n", "6:10: `peering` is a map of keys and values, not true" ; "peering as a word")]
    #[test_case("peering: {timeout: 1s}\n", "6:11: unknown key `timeout` in `peering`; known are `failover`" ; "unknown key of peering")]
    #[test_case("peering: {failover: 10ms}\n", "6:21: `failover` is `10ms`; legal are 1s to 10m" ; "a failover that is too quick")]
    #[test_case("peering: {}\n", "6:10: `peering` has 2 voters, the replicas of all sites; a group has 3 to 15" ; "a group of two")]
    #[test_case("siteStore: yes\n", "6:12: `siteStore` is `yes`; legal are `true` and `false`" ; "yes is not a boolean")]
    #[test_case("platform: true\n", "6:11: `platform` is a map of keys and values, not true" ; "platform as a word")]
    #[test_case("platform: {period: 5s}\n", "6:12: unknown key `period` in `platform`; known are `probePeriod`, `probeTimeout`, `probeThreshold`, `successor` and `autoscale`" ; "unknown key of the platform")]
    #[test_case("platform: {probePeriod: 50ms}\n", "6:25: `probePeriod` is `50ms`; legal are 100ms to 1h" ; "probes that are too often")]
    #[test_case("platform: {probeTimeout: 2m}\n", "6:26: `probeTimeout` is `2m`; legal are 100ms to 1m" ; "a probe that takes too long")]
    #[test_case("platform: {probeTimeout: 6s, probePeriod: 5s}\n", "6:26: `probeTimeout` is 6s; it must not be longer than `probePeriod`, which is 5s" ; "a probe that outlasts its period")]
    #[test_case("platform: {probePeriod: 500ms}\n", "6:11: `probeTimeout` is 1s; it must not be longer than `probePeriod`, which is 500ms" ; "a default that outlasts the period")]
    #[test_case("platform: {probeThreshold: 0}\n", "6:28: `probeThreshold` is 0; legal are 1 to 100" ; "no threshold")]
    #[test_case("store: {kind: stub, failover: {}}\n", "6:31: `failover` is for `kind: redis`: the stub has no second node" ; "a stub that fails over")]
    #[test_case("store: {kind: redis, failover: {downAfter: 1ms}}\n", "`downAfter` is `1ms`; legal are 500ms to 1m" ; "a store that is lost at once")]
    #[test_case("platform: {autoscale: {}}\n", "6:23: `autoscale` has no `maxReplicas`; say how many replicas a site may have at most" ; "a platform that scales without end")]
    #[test_case("platform: {autoscale: {maxReplicas: 1}}\n", "6:37: `maxReplicas` is 1; legal, as no site may start with more, are 2 to 64" ; "fewer at most than at the start")]
    #[test_case("platform: {autoscale: {maxReplicas: 3, cpuPercent: 120}}\n", "`cpuPercent` is 120; legal are 1 to 100" ; "a target above the request")]
    #[test_case("platform: {autoscale: {maxReplicas: 3, period: 1ms}}\n", "`period` is `1ms`; legal are 1s to 1h" ; "decisions that are too often")]
    #[test_case("platform: {autoscale: {maxReplicas: 5}}\npeering: {}\n", "whose voters are fixed: leave one of them out" ; "a group that scales")]
    #[test_case("platform: {successor: fresh}\n", "6:23: `successor` is `fresh`; known are `same` and `new`" ; "successor")]
    #[test_case("analytics: true\n", "6:12: `analytics` is a map of keys and values, not true" ; "analytics as a word")]
    #[test_case("analytics: {buffer: 5}\n", "6:13: unknown key `buffer` in `analytics`; known are `bufferEvents`, `batchEvents` and `flushInterval`" ; "unknown key of analytics")]
    #[test_case("analytics: {bufferEvents: 0}\n", "6:27: `bufferEvents` is 0; legal are 1 to 1000000" ; "no buffer")]
    #[test_case("analytics: {bufferEvents: 10}\n", "6:12: `batchEvents` is 20; it must not be more than `bufferEvents`, which is 10" ; "a default batch that the buffer cannot hold")]
    #[test_case("analytics: {flushInterval: 1h}\n", "`flushInterval` is `1h`; legal are 100ms to 10m" ; "a flush that is too late")]
    #[test_case("routes: []\n", "`routes` is empty; a deployment needs 1 to 32" ; "no routes")]
    #[test_case("routes: [{name: a, path: a}]\n", "6:26: `path` is `a`; a path begins with `/`" ; "relative path")]
    #[test_case("routes: [{name: a, path: /a, policies: [oauth]}]\n", "6:41: `policies` is `oauth`; known are `jwt`, `client-id` and `quota`" ; "unknown policy")]
    #[test_case("routes: [{name: a, path: /a, policies: [jwt, jwt]}]\n", "policy `jwt` is there twice" ; "policy twice")]
    #[test_case("routes: [{name: a, path: /a}, {name: a, path: /b}]\n", "6:38: route `a` is there twice, first on line 6" ; "duplicate route")]
    #[test_case("routes: [{name: a, path: /a}, {name: b, path: /a}]\n", "path `/a` is there twice" ; "duplicate path")]
    fn parts(text: &str, expected: &str) {
        refuses(&format!("{HEAD}{SITE}{text}"), expected);
    }

    #[test_case("", "a deployment is a map of keys and values, not empty" ; "empty file")]
    #[test_case("# nothing\n", "a deployment is a map of keys and values, not empty" ; "only a comment")]
    #[test_case("version: 2.0\nname: x\n", "1:10: `version` is 2; this gatecrash reads `1.0`" ; "other version")]
    #[test_case("version: \"1.0\"\nname: x\nprofile: a/b\ngateway: {}\nsites: []\n", "3:10: `profile` is `a/b`; it must be a name of letters, digits and dashes, or a path ending in `.yaml`" ; "profile path")]
    #[test_case("version: \"1.0\"\nname: x\nprofile: a\ngateway: {}\nsites: []\n", "4:10: `gateway` has no `adapter`; name one that comes with gatecrash, or a path ending in `.yaml`" ; "no adapter")]
    #[test_case("version: \"1.0\"\nname: x\nprofile: a\ngateway: {adapter: a, settings: {x: [1]}}\nsites: []\n", "4:37: `x` is a list; it must be a word, a number or a boolean" ; "setting as a list")]
    #[test_case("version: \"1.0\"\n\tname: x\n", "2:2: tabs disallowed" ; "tab")]
    fn heads(text: &str, expected: &str) {
        refuses(text, expected);
    }

    fn refuses(text: &str, expected: &str) {
        let error = parse("edge.yaml", text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n--- lacks\n{expected}");
    }

    #[test]
    fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
        let text = format!(
            "{HEAD}quota: {{limit: 0, window: x}}\nsites: [{{name: eu, replicas: 0}}, {{name: eu, replicas: 99}}]\nextra: 1\n"
        );
        let error = parse("edge.yaml", &text).unwrap_err();
        let places: Vec<(u64, u64)> =
            error.mistakes.iter().map(|mistake| (mistake.at.line, mistake.at.column)).collect();
        assert_eq!(places, [(5, 16), (5, 27), (6, 30), (6, 41), (6, 55), (7, 1)]);
    }

    /// The form as written; defaults are written out.
    fn written(deployment: &Deployment) -> String {
        fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
            words.iter().find(|(_, other)| other == value).unwrap().0
        }
        let mut json = serde_json::to_value(deployment).unwrap();
        json["version"] = "1.0".into();
        json["quota"]["window"] = written_duration(deployment.quota.window).into();
        json["quota"]["alignment"] = word(&ALIGNMENTS, &deployment.quota.alignment).into();
        if let Some(control_plane) = &deployment.control_plane {
            json["controlPlane"]["pollInterval"] = written_duration(control_plane.poll_interval).into();
            json["controlPlane"]["ingressTimeout"] = written_duration(control_plane.ingress_timeout).into();
        }
        if let Some(store) = &deployment.store {
            json["store"]["kind"] = word(&STORE_KINDS, &store.kind).into();
            json["store"]["scope"] = word(&STORE_SCOPES, &store.scope).into();
            if let Some(failover) = &store.failover {
                json["store"]["failover"]["downAfter"] = written_duration(failover.down_after).into();
            }
        }
        if let Some(peering) = &deployment.peering {
            json["peering"]["failover"] = written_duration(peering.failover).into();
        }
        if let Some(platform) = &deployment.platform {
            json["platform"]["probePeriod"] = written_duration(platform.probe_period).into();
            json["platform"]["probeTimeout"] = written_duration(platform.probe_timeout).into();
            json["platform"]["successor"] = word(&SUCCESSORS, &platform.successor).into();
            if let Some(autoscale) = &platform.autoscale {
                json["platform"]["autoscale"]["period"] = written_duration(autoscale.period).into();
                json["platform"]["autoscale"]["stabilization"] = written_duration(autoscale.stabilization).into();
            }
        }
        if let Some(analytics) = &deployment.analytics {
            json["analytics"]["flushInterval"] = written_duration(analytics.flush_interval).into();
        }
        serde_saphyr::to_string(&json).unwrap()
    }

    fn word() -> impl Strategy<Value = String> {
        "[a-zA-Z][a-zA-Z0-9-]{0,12}"
    }

    fn scalars() -> impl Strategy<Value = Scalar> {
        prop_oneof![
            any::<bool>().prop_map(Scalar::Boolean),
            any::<i32>().prop_map(|number| Scalar::Number(f64::from(number))),
            "[ -~]{0,12}".prop_map(Scalar::Text),
        ]
    }

    fn deployments() -> impl Strategy<Value = Deployment> {
        let millis = |range| Strategy::prop_map(range, Duration::from_millis);
        let sites = prop::collection::btree_map(
            word(),
            (prop::collection::btree_set(word(), 1..=8), 1_u32..=64, word()),
            1..=8,
        );
        let policies = prop::sample::subsequence(POLICIES.to_vec(), 0..=3);
        let routes = prop::collection::btree_map(word(), policies, 1..=32);
        let control_plane = prop::option::of((millis(10_u64..3_600_000), millis(100..3_600_000)));
        let failover = prop::option::of(millis(500_u64..60_000));
        let store =
            prop::option::of((prop::sample::select(&STORE_KINDS), prop::sample::select(&STORE_SCOPES), failover));
        let quota = (1_u32..=1_000_000, millis(100..3_600_000), prop::sample::select(&ALIGNMENTS));
        let platform = prop::option::of((
            millis(60_000_u64..3_600_000),
            millis(100_u64..60_000),
            1_u32..=100,
            prop::sample::select(&SUCCESSORS),
            prop::option::of((1_u32..=100, 10_u32..=64_000, millis(1_000..3_600_000), millis(1_000..3_600_000))),
        ));
        let analytics = prop::option::of((10_000_u32..=1_000_000, 1_u32..=10_000, millis(100..600_000)));
        let gateway = (
            word(),
            prop::collection::btree_map(word(), scalars(), 0..4),
            prop::collection::btree_set("[a-z]{1,9}\\.[a-z-]{1,9}", 0..4),
        );
        let peering = prop::option::of(millis(1_000_u64..600_000));
        let sites = (sites, any::<bool>(), platform, analytics, peering);
        (word(), word(), gateway, sites, control_plane, store, routes, quota).prop_map(
            |(
                name,
                profile,
                (adapter, settings, defects),
                (sites, site_store, platform, analytics, peering),
                control_plane,
                store,
                routes,
                quota,
            )| {
                // As many voters as a group may have.
                let voters: u32 = sites.values().map(|(_, replicas, _)| *replicas).sum();
                let peering = peering.filter(|_| VOTERS.contains(&voters)).map(|failover| Peering { failover });
                let fixed = peering.is_some();
                Deployment {
                    peering,
                    name,
                    profile,
                    gateway: Gateway { adapter, settings, defects: defects.into_iter().collect() },
                    sites: sites
                        .into_iter()
                        .map(|(name, (zones, replicas, signing))| Site {
                            name,
                            zones: zones.into_iter().collect(),
                            replicas,
                            signing,
                        })
                        .collect(),
                    control_plane: control_plane
                        .map(|(poll_interval, ingress_timeout)| ControlPlane { poll_interval, ingress_timeout }),
                    store: store.map(|((_, kind), (_, scope), after): (_, (&str, StoreScope), _)| {
                        let failover = Option::filter(after, |_| kind == StoreKind::Redis);
                        Store { kind, scope, failover: failover.map(|down_after| StoreFailover { down_after }) }
                    }),
                    site_store,
                    platform: platform.map(|(probe_period, probe_timeout, probe_threshold, (_, successor), scales)| {
                        let autoscale =
                            scales.filter(|_| !fixed).map(|(cpu_percent, request, period, stabilization)| Autoscale {
                                max_replicas: 64,
                                cpu_percent,
                                cpu_request_millicores: request,
                                period,
                                stabilization,
                            });
                        Platform { probe_period, probe_timeout, probe_threshold, successor, autoscale }
                    }),
                    analytics: analytics.map(|(buffer_events, batch_events, flush_interval)| Analytics {
                        buffer_events,
                        batch_events,
                        flush_interval,
                    }),
                    routes: routes
                        .into_iter()
                        .map(|(name, policies)| Route {
                            path: format!("/{name}"),
                            name,
                            policies: policies.into_iter().map(|(_, policy)| policy).collect(),
                            backend: RouteBackend::Local,
                        })
                        .collect(),
                    quota: Quota { limit: quota.0, window: quota.1, alignment: quota.2.1 },
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read(deployment in deployments()) {
            let text = written(&deployment);
            match parse("edge.yaml", &text) {
                Ok(read) => prop_assert_eq!(read, deployment),
                Err(error) => prop_assert!(false, "{error}\n{text}"),
            }
        }

        #[test]
        fn no_text_panics(text in "[ -~\\n\\t\u{e9}]{0,200}") {
            let _ = parse("edge.yaml", &text);
        }

        #[test]
        fn no_damage_panics(deployment in deployments(), cut in any::<prop::sample::Index>(), with in "[ -~\\n]{0,5}") {
            let mut text = written(&deployment);
            let mut at = cut.index(text.len());
            while !text.is_char_boundary(at) {
                at = at.saturating_sub(1);
            }
            text.replace_range(at..at, &with);
            let _ = parse("edge.yaml", &text);
        }
    }
}
