//! Checked operations: each writes its invocation and its completion.

use super::cached::Resource;
use super::secrets::Token;
use super::told::Told;
use super::topology::{self, FIXTURE_PORT, LinkKey};
use super::{Lab, LabError};
use crate::client::{Transport, classify};
use crate::clock::{both, monotonic_ns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{CALIBRATION, CLIENT, IDENTITY, Policy};
use gatecrash_model::fixture::{CLIENT_ID_HEADER, CLIENT_SECRET_HEADER, DELAY_HEADER, OP_HEADER, STATUS_HEADER};
use gatecrash_model::history::EventKind;
use gatecrash_model::history::event::cached;
use gatecrash_model::operation::{Answer, Credential, Effect, Indefinite, Operation, Verb};
use http_body_util::Full;
use hyper::Request;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Who is addressed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A replica directly, over the client's own link to it.
    Replica(String),
    /// The ingress of a site.
    Ingress(String),
    /// The calibration's forwarder: no gateway.
    Calibration,
    /// The identity provider, over the client's own link to it.
    Identity,
}

impl Target {
    /// Name of the component.
    #[must_use]
    pub fn component(&self) -> String {
        match self {
            Self::Replica(name) => name.clone(),
            Self::Ingress(site) => format!("{site}-ingress"),
            Self::Calibration => CALIBRATION.to_owned(),
            Self::Identity => IDENTITY.to_owned(),
        }
    }
}

/// A call of a route.
#[derive(Clone, Debug)]
pub struct Call {
    /// Stream that it belongs to.
    pub stream: String,
    /// Who is addressed.
    pub target: Target,
    /// Name of the route.
    pub route: String,
    /// Client id, and so the quota key.
    pub key: String,
    /// What the request carries.
    pub credential: Credential,
    /// The token, where it is not the lab's own for this site and client.
    pub token: Option<Token>,
    /// How long it may take; `None`: 5 s scaled, at least 1 s.
    pub timeout: Option<Duration>,
    /// How long the upstream waits before it answers; zero: not at all.
    pub upstream_delay: Duration,
    /// What the upstream answers; 0: 200.
    pub upstream_status: u16,
    /// Whether its connection closes after it: no later request uses it, and it uses none that was there.
    pub close: bool,
    /// What below the route is asked for that a cache may keep; `None`: the route itself, of which nothing may be kept.
    pub resource: Option<Resource>,
}

impl Call {
    /// A call with a valid credential.
    #[must_use]
    pub fn new(stream: &str, target: Target, route: &str, key: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            target,
            route: route.to_owned(),
            key: key.to_owned(),
            credential: Credential::Valid,
            token: None,
            timeout: None,
            upstream_delay: Duration::ZERO,
            upstream_status: 0,
            close: false,
            resource: None,
        }
    }

    /// The same call, its connection closed after it.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The same call for what a cache may keep below the route.
    #[must_use]
    pub fn of(mut self, resource: &Resource) -> Self {
        self.resource = Some(resource.clone());
        self
    }

    /// The same call with this credential.
    #[must_use]
    pub fn with(mut self, credential: Credential) -> Self {
        self.credential = credential;
        self
    }

    /// The same call with this token.
    #[must_use]
    pub fn token(mut self, token: &Token) -> Self {
        self.token = Some(token.clone());
        self
    }

    /// The same call, answered by the upstream after so long.
    #[must_use]
    pub fn answered_after(mut self, delay: Duration) -> Self {
        self.upstream_delay = delay;
        self
    }

    /// The same call, answered by the upstream with this status.
    #[must_use]
    pub fn answered_with(mut self, status: u16) -> Self {
        self.upstream_status = status;
        self
    }

    /// The same call with this timeout.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// What became of an operation.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its id in the history.
    pub op: u32,
    /// Whether it happened.
    pub effect: Effect,
    /// What the client saw.
    pub answer: Answer<String>,
    /// From the intended start to the end.
    pub latency: Duration,
}

/// An operation that is ready to be sent.
pub(super) struct Prepared {
    pub(super) op: u32,
    pub(super) operation: Operation<String>,
    pub(super) request: Request<Full<Bytes>>,
    pub(super) timeout: Duration,
    /// Name of what is asked for that a cache may keep.
    pub(super) resource: Option<String>,
}

impl Lab {
    /// Sends one checked call and waits for its end.
    pub async fn call(&self, call: Call) -> Outcome {
        let intended = monotonic_ns();
        let prepared = self.prepare(&call).await;
        self.send(prepared, intended).await.0
    }

    /// Sends one checked call, waits for its end, and writes what the headers of its answer tell a client besides: marks of
    /// [`gatecrash_model::history::event::told`], subject: the operation.
    pub async fn call_told(&self, call: Call) -> (Outcome, Told) {
        let intended = monotonic_ns();
        let prepared = self.prepare(&call).await;
        let (outcome, transport) = self.send(prepared, intended).await;
        let told = Told::of(&transport, self.adapter().reset_unit, both().0);
        told.write(self, outcome.op);
        (outcome, told)
    }

    /// How long a call may take unless it says otherwise.
    #[must_use]
    pub fn default_timeout(&self) -> Duration {
        self.scaled(Duration::from_secs(5)).max(Duration::from_secs(1))
    }

    pub(super) fn target_address(&self, target: &Target) -> Option<SocketAddr> {
        let key = match target {
            Target::Replica(name) => LinkKey::new(CLIENT, name, topology::data_port(self.adapter())),
            Target::Ingress(site) => LinkKey::new(CLIENT, &format!("{site}-ingress"), FIXTURE_PORT),
            Target::Calibration => LinkKey::new(CLIENT, CALIBRATION, FIXTURE_PORT),
            Target::Identity => LinkKey::new(CLIENT, IDENTITY, FIXTURE_PORT),
        };
        self.state().links.get(&key).map(crate::link::Link::address)
    }

    pub(super) fn site_of(&self, target: &Target) -> String {
        match target {
            Target::Replica(name) => {
                let state = self.state();
                let found = state.replicas.iter().find(|entry| entry.replica.name == *name);
                found.map(|entry| entry.replica.site.clone()).unwrap_or_default()
            }
            Target::Ingress(site) => site.clone(),
            Target::Calibration | Target::Identity => String::new(),
        }
    }

    pub(super) async fn prepare(&self, call: &Call) -> Prepared {
        let op = self.next_op();
        let site = self.site_of(&call.target);
        let (address, target) = (self.target_address(&call.target), call.target.component());
        let found = self.deployment().routes.iter().find(|route| route.name == call.route);
        let path = found.map_or_else(|| format!("/{}", call.route), |route| route.path.clone());
        let policies = found.map(|route| route.policies.clone()).unwrap_or_default();
        // An address that does not exist is never dialled: port 1 of loopback refuses.
        let host = address.map_or_else(|| "127.0.0.1:1".to_owned(), |address| address.to_string());
        let mut builder = match &call.resource {
            None => Request::get(format!("http://{host}{path}?op={op}")).header("cache-control", "no-store"),
            Some(resource) => resource.ask(&host, &path),
        };
        builder = builder.header(OP_HEADER, op);
        if !call.upstream_delay.is_zero() {
            let delay_ms = u64::try_from(call.upstream_delay.as_millis()).unwrap_or(u64::MAX);
            builder = builder.header(DELAY_HEADER, delay_ms);
        }
        if call.upstream_status != 0 {
            builder = builder.header(STATUS_HEADER, call.upstream_status);
        }
        if call.close {
            builder = builder.header("connection", "close");
        }
        let mut digest = String::new();
        let carries_token = match call.credential {
            Credential::Missing | Credential::UnknownClient | Credential::NotNeeded => false,
            Credential::Valid
            | Credential::RemovedClient
            | Credential::Expired
            | Credential::AlgNone
            | Credential::Forged
            | Credential::Revoked
            | Credential::OtherMaterial => true,
        };
        if policies.contains(&Policy::Jwt) && carries_token {
            let token = match &call.token {
                Some(token) => Some(token.clone()),
                None => self.token(&site, &call.key).await.ok(),
            };
            if let Some(token) = token {
                builder = builder.header("authorization", format!("Bearer {}", token.text()));
                token.digest().clone_into(&mut digest);
            }
        }
        if policies.contains(&Policy::ClientId) && call.credential != Credential::Missing {
            let secret = self.clients().iter().find(|client| client.id == call.key).map(|client| client.secret.clone());
            builder =
                builder.header(CLIENT_ID_HEADER, &call.key).header(CLIENT_SECRET_HEADER, secret.unwrap_or_default());
        }
        let operation = Operation {
            stream: call.stream.clone(),
            verb: Verb::Call,
            target,
            site,
            route: call.route.clone(),
            key: call.key.clone(),
            token: digest,
            credential: call.credential,
        };
        let request = builder.body(Full::default()).unwrap_or_default();
        let timeout = call.timeout.unwrap_or_else(|| self.default_timeout());
        Prepared { op, operation, request, timeout, resource: call.resource.as_ref().map(|found| found.name.clone()) }
    }

    /// Sends what was prepared; latency counts from `intended` (a `CLOCK_MONOTONIC` stamp).
    pub(super) async fn send(&self, prepared: Prepared, intended: u64) -> (Outcome, Transport) {
        let Prepared { op, operation, request, timeout, resource } = prepared;
        let clock = self.inner.recorder.clock();
        let process = self.inner.next_process.fetch_add(1, Ordering::Relaxed);
        if let Some(resource) = &resource {
            self.mark(cached::ASKED, resource, i64::from(op));
        }
        let sent = monotonic_ns();
        let late_us = u32::try_from(sent.saturating_sub(intended) / 1000).unwrap_or(u32::MAX);
        // What has no site passes no gateway.
        let of_gateway = !operation.site.is_empty();
        self.inner.recorder.at(clock.of_monotonic(sent), EventKind::Invoked { op, process, late_us, operation });
        let transport = tokio::select! {
            transport = self.inner.client.send(request, timeout) => transport,
            () = self.inner.stop.cancelled() => Transport::Timeout,
        };
        let ended = monotonic_ns();
        let abandoned = self.inner.stop.is_cancelled() && matches!(transport, Transport::Timeout);
        let effect = if abandoned {
            Effect::Unknown(Indefinite::Abandoned)
        } else {
            classify(&transport, self.adapter().reject_status)
        };
        let answer = self.answer(&transport, sent);
        if answer.status != 0 && of_gateway {
            self.is_answered(op);
        }
        let completed = EventKind::Completed { op, effect, answer: answer.clone() };
        self.inner.recorder.at(clock.of_monotonic(ended), completed);
        if resource.is_some() {
            super::cached::write(self, op, &transport);
        }
        let latency = Duration::from_nanos(ended.saturating_sub(intended));
        (Outcome { op, effect, answer, latency }, transport)
    }

    fn answer(&self, transport: &Transport, sent: u64) -> Answer<String> {
        match transport {
            Transport::Answer { status, headers, first_byte, .. } => {
                let header = |name: &Option<String>| {
                    let value = name.as_ref().and_then(|name| headers.get(name))?;
                    value.to_str().ok().map(str::to_owned)
                };
                Answer {
                    status: status.as_u16(),
                    replica: header(&self.adapter().replica_header).unwrap_or_default(),
                    version: header(&self.adapter().version_header)
                        .and_then(|version| version.parse().ok())
                        .unwrap_or_default(),
                    first_byte_us: u32::try_from(first_byte.saturating_sub(sent) / 1000).unwrap_or(u32::MAX),
                }
            }
            Transport::Broken(Some(status)) => Answer { status: status.as_u16(), ..Answer::default() },
            Transport::Broken(None) | Transport::NotConnected(_) | Transport::Malformed | Transport::Timeout => {
                Answer::default()
            }
        }
    }

    fn token_operation(
        &self,
        stream: &str,
        verb: Verb,
        target: &Target,
        client: &str,
        token: &str,
    ) -> Operation<String> {
        Operation {
            stream: stream.to_owned(),
            verb,
            target: target.component(),
            site: self.site_of(target),
            route: String::new(),
            key: client.to_owned(),
            token: token.to_owned(),
            credential: Credential::Valid,
        }
    }

    fn endpoint_request(&self, target: &Target, path: &str, client: &str, form: &str, op: u32) -> Request<Full<Bytes>> {
        let address = self.target_address(target);
        let host = address.map_or_else(|| "127.0.0.1:1".to_owned(), |address| address.to_string());
        let secret = self
            .clients()
            .iter()
            .find(|known| known.id == client)
            .map(|known| known.secret.clone())
            .unwrap_or_default();
        let basic = STANDARD.encode(format!("{client}:{secret}"));
        Request::post(format!("http://{host}{path}"))
            .header("authorization", format!("Basic {basic}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header(OP_HEADER, op)
            .body(Full::from(form.to_owned()))
            .unwrap_or_default()
    }

    /// Asks a replica for a token (RFC 6749 section 4.4). Where the gateway issues none, the identity
    /// provider stub signs one, and the operation is written as its answer.
    pub async fn issue(&self, stream: &str, replica: &str, client: &str) -> (Outcome, Option<Token>) {
        let op = self.next_op();
        let target = Target::Replica(replica.to_owned());
        let operation = self.token_operation(stream, Verb::IssueToken, &target, client, "");
        let Some(endpoint) = self.adapter().token.as_ref().filter(|_| self.has(Capability::TokenIssue)) else {
            return self.issue_by_stub(op, operation, client).await;
        };
        let request = self.endpoint_request(&target, &endpoint.path, client, "grant_type=client_credentials", op);
        let prepared = Prepared { op, operation, request, timeout: self.default_timeout(), resource: None };
        let (outcome, transport) = self.send(prepared, monotonic_ns()).await;
        let token = match transport {
            Transport::Answer { status, body, .. } if status.is_success() => {
                let parsed: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
                parsed.and_then(|answer| {
                    answer.get("access_token").and_then(serde_json::Value::as_str).map(str::to_owned)
                })
            }
            Transport::Answer { .. }
            | Transport::NotConnected(_)
            | Transport::Broken(_)
            | Transport::Malformed
            | Transport::Timeout => None,
        };
        (outcome, token.map(|text| Token::new(self.seed(), text)))
    }

    async fn issue_by_stub(&self, op: u32, operation: Operation<String>, client: &str) -> (Outcome, Option<Token>) {
        let recorder = &self.inner.recorder;
        let began = self.now();
        let site = operation.site.clone();
        recorder.now(EventKind::Invoked { op, process: op, late_us: 0, operation });
        let token = self.token(&site, client).await.ok();
        let effect = if token.is_some() { Effect::Ok } else { Effect::Unknown(Indefinite::Broken) };
        let answer = Answer { status: if token.is_some() { 200 } else { 0 }, ..Answer::default() };
        recorder.now(EventKind::Completed { op, effect, answer: answer.clone() });
        (Outcome { op, effect, answer, latency: self.inner.kit.clock.since(began) }, token)
    }

    /// Revokes a token at a replica (RFC 7009). The mark `revoked` is written when the 200 was received.
    pub async fn revoke(&self, stream: &str, replica: &str, token: &Token) -> Outcome {
        let path = self.adapter().revocation.as_ref().map_or("/oauth/revoke", |endpoint| &endpoint.path);
        self.revoke_at(stream, &Target::Replica(replica.to_owned()), path, token).await
    }

    /// Revokes a token at the identity provider (RFC 7009), over a link that no gateway uses. Marked as [`Lab::revoke`] does.
    pub async fn revoke_at_provider(&self, stream: &str, token: &Token) -> Outcome {
        self.revoke_at(stream, &Target::Identity, "/revoke", token).await
    }

    async fn revoke_at(&self, stream: &str, target: &Target, path: &str, token: &Token) -> Outcome {
        let op = self.next_op();
        let client = "client-1";
        let operation = self.token_operation(stream, Verb::RevokeToken, target, client, token.digest());
        let form = format!("token={}", token.text());
        let request = self.endpoint_request(target, path, client, &form, op);
        let prepared = Prepared { op, operation, request, timeout: self.default_timeout(), resource: None };
        let (outcome, _) = self.send(prepared, monotonic_ns()).await;
        if outcome.answer.status == 200 {
            self.mark(gatecrash_model::history::event::mark::REVOKED, token.digest(), 0);
        }
        outcome
    }

    /// Names of routes by what guards them: the first with all of `with` and none of `without`.
    ///
    /// # Errors
    /// `Unknown` if the deployment has no such route.
    pub fn route(&self, with: &[Policy], without: &[Policy]) -> Result<String, LabError> {
        let found = self.deployment().route_with(with, without).map(|route| route.name.clone());
        found.ok_or_else(|| LabError::Unknown(format!("route with {with:?} and without {without:?}")))
    }
}
