//! Speaks to the control listeners of fixtures: our own control path, which no fault touches.

use bytes::Bytes;
use gatecrash_model::fixture::{Backend, Configuration, Contract, FaultRequest, SignRequest, StreamLine};
use http_body_util::{BodyExt, Empty};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Port of control listeners.
pub const CONTROL_PORT: u16 = 8090;
/// How long one control request may take.
const WITHIN: Duration = Duration::from_secs(5);

/// A fixture did not do what it was asked over its control listener.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No answer, or the connection broke.
    #[error("`{request}` was not answered")]
    Unanswered {
        /// Method and address.
        request: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Answered, but not with success.
    #[error("`{request}` was answered {status}: {body}")]
    Refused {
        /// Method and address.
        request: String,
        /// Status.
        status: u16,
        /// Body, as far as it is text.
        body: String,
    },
}

/// Control of one fixture.
#[derive(Clone, Debug)]
pub struct Control {
    http: reqwest::Client,
    address: SocketAddr,
}

impl Control {
    /// Control of the fixture at `address`.
    #[must_use]
    pub fn new(http: reqwest::Client, address: IpAddr) -> Self {
        Self { http, address: SocketAddr::new(address, CONTROL_PORT) }
    }

    /// Address of the control listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<serde_json::Value, ControlError> {
        let url = format!("http://{}{path}", self.address);
        let request = format!("{method} {url}");
        let mut builder = self.http.request(method, url).timeout(WITHIN);
        if let Some(body) = body {
            builder = builder.json(body);
        }
        let unanswered = |source| ControlError::Unanswered { request: request.clone(), source };
        let response = builder.send().await.map_err(unanswered)?;
        let status = response.status();
        let text = response.text().await.map_err(unanswered)?;
        if !status.is_success() {
            return Err(ControlError::Refused { request, status: status.as_u16(), body: text });
        }
        Ok(serde_json::from_str(&text).unwrap_or(serde_json::Value::Null))
    }

    fn version(answer: &serde_json::Value) -> u32 {
        answer
            .get("version")
            .and_then(serde_json::Value::as_u64)
            .and_then(|version| u32::try_from(version).ok())
            .unwrap_or_default()
    }

    /// Sets or heals a fixture fault.
    ///
    /// # Errors
    /// If the fixture does not answer with success.
    pub async fn fault(&self, request: &FaultRequest) -> Result<(), ControlError> {
        self.send(reqwest::Method::PUT, "/control/fault", Some(request)).await.map(drop)
    }

    /// Publishes a configuration; returns its version.
    ///
    /// # Errors
    /// If the control plane does not answer with success.
    pub async fn publish(&self, configuration: &Configuration) -> Result<u32, ControlError> {
        Ok(Self::version(&self.send(reqwest::Method::PUT, "/control/configuration", Some(configuration)).await?))
    }

    /// Puts a copy of an earlier version back; returns its version.
    ///
    /// # Errors
    /// If the control plane does not answer with success: it never had that version.
    pub async fn restore(&self, version: u32) -> Result<u32, ControlError> {
        let body = serde_json::json!({ "version": version });
        Ok(Self::version(&self.send(reqwest::Method::POST, "/control/restore", Some(&body)).await?))
    }

    /// Sets the contracts; returns their version.
    ///
    /// # Errors
    /// If the control plane does not answer with success.
    pub async fn contracts(&self, contracts: &[Contract]) -> Result<u32, ControlError> {
        Ok(Self::version(&self.send(reqwest::Method::PUT, "/control/contracts", Some(&contracts)).await?))
    }

    /// A token with any flaw, from the identity provider stub.
    ///
    /// # Errors
    /// If the stub does not answer with a token.
    pub async fn sign(&self, request: &SignRequest) -> Result<String, ControlError> {
        let answer = self.send(reqwest::Method::POST, "/control/sign", Some(request)).await?;
        let token = answer.get("token").and_then(serde_json::Value::as_str).map(str::to_owned);
        token.ok_or_else(|| ControlError::Refused {
            request: "POST /control/sign".to_owned(),
            status: 200,
            body: "no `token` in the answer".to_owned(),
        })
    }

    /// Has the identity provider publish the key `kid`.
    ///
    /// # Errors
    /// If it does not answer with success.
    pub async fn publish_key(&self, kid: &str) -> Result<(), ControlError> {
        self.send(reqwest::Method::PUT, &format!("/control/keys/{kid}"), None::<&()>).await.map(drop)
    }

    /// Has the identity provider publish the key `kid` no longer.
    ///
    /// # Errors
    /// If it does not answer with success: the key was not published.
    pub async fn remove_key(&self, kid: &str) -> Result<(), ControlError> {
        self.send(reqwest::Method::DELETE, &format!("/control/keys/{kid}"), None::<&()>).await.map(drop)
    }

    /// Wipes a site's configuration store.
    ///
    /// # Errors
    /// If the site store does not answer with success.
    pub async fn wipe_configuration(&self) -> Result<(), ControlError> {
        self.send(reqwest::Method::DELETE, "/control/configuration", None::<&()>).await.map(drop)
    }

    /// Sets the backends of an ingress.
    ///
    /// # Errors
    /// If the ingress does not answer with success.
    pub async fn backends(&self, backends: &[Backend]) -> Result<(), ControlError> {
        self.send(reqwest::Method::PUT, "/control/backends", Some(&backends)).await.map(drop)
    }

    /// Whether the control listener answers.
    pub async fn is_healthy(&self) -> bool {
        self.send(reqwest::Method::GET, "/control/health", None::<&()>).await.is_ok()
    }

    /// Follows the event stream from its first line, giving each line to `line`, until the stream ends or breaks.
    /// Returns why it ended.
    pub async fn follow(&self, mut line: impl FnMut(StreamLine)) -> String {
        let connect = tokio::time::timeout(WITHIN, tokio::net::TcpStream::connect(self.address)).await;
        let stream = match connect {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "no connection within 5 s".to_owned(),
        };
        let (mut sender, connection) =
            match hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await {
                Ok(pair) => pair,
                Err(error) => return error.to_string(),
            };
        let request =
            hyper::Request::get("/control/events").header("host", self.address.to_string()).body(Empty::<Bytes>::new());
        let Ok(request) = request else { return "the request could not be made".to_owned() };
        let exchange = async {
            let mut body = match sender.send_request(request).await {
                Ok(response) => response.into_body(),
                Err(error) => return error.to_string(),
            };
            let mut rest: Vec<u8> = Vec::new();
            loop {
                // Heartbeats come every 100 ms: silence is the end of the stream, not a quiet one.
                let frame = match tokio::time::timeout(WITHIN, body.frame()).await {
                    Ok(Some(Ok(frame))) => frame,
                    Ok(Some(Err(error))) => return error.to_string(),
                    Ok(None) => return "the stream ended".to_owned(),
                    Err(_) => return "no heartbeat for 5 s".to_owned(),
                };
                let Ok(data) = frame.into_data() else { continue };
                rest.extend_from_slice(&data);
                let mut from = 0;
                while let Some(end) = rest.iter().skip(from).position(|byte| *byte == b'\n') {
                    let text = rest.get(from..from + end).unwrap_or_default();
                    match serde_json::from_slice::<StreamLine>(text) {
                        Ok(parsed) => line(parsed),
                        Err(error) => return format!("a line of the stream does not parse: {error}"),
                    }
                    from += end + 1;
                }
                rest.drain(..from);
            }
        };
        tokio::select! {
            why = exchange => why,
            ended = connection => ended.map_or_else(|error| error.to_string(), |()| "the connection ended".to_owned()),
        }
    }
}
