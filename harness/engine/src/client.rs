//! Sends one checked request, and says what became of it: [`classify`] is the one table from
//! transport results to effects.

use bytes::Bytes;
use gatecrash_model::operation::{Definite, Effect, Indefinite};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::io;
use std::time::Duration;

/// Largest body that is read; what is longer counts as malformed.
const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// What came back from the transport.
#[derive(Debug)]
pub enum Transport {
    /// A whole answer.
    Answer {
        /// Status.
        status: StatusCode,
        /// Headers.
        headers: hyper::HeaderMap,
        /// Whole body.
        body: Bytes,
        /// `CLOCK_MONOTONIC` at the end of the head.
        first_byte: u64,
    },
    /// No connection was made.
    NotConnected(io::ErrorKind),
    /// The connection broke after it was made, or the answer was not whole; the status if its head came.
    Broken(Option<StatusCode>),
    /// What came was not HTTP, or too long.
    Malformed,
    /// Nothing, or not all, came in time.
    Timeout,
}

/// Whether an operation happened, from what the transport and the gateway said. A status below 400 is `ok`;
/// 4xx is the gateway's own refusal (`failed`); 5xx is `unknown`, because the gateway may have passed the
/// request on before it gave up; `reject_status` (a profile may say 503) is a refusal too.
#[must_use]
pub fn classify(transport: &Transport, reject_status: u16) -> Effect {
    match transport {
        Transport::Answer { status, .. } => {
            let status = status.as_u16();
            if status < 400 {
                Effect::Ok
            } else if status == reject_status || status < 500 {
                Effect::Failed(Definite::Rejected)
            } else {
                Effect::Unknown(Indefinite::GatewayError)
            }
        }
        Transport::NotConnected(io::ErrorKind::ConnectionRefused) => Effect::Failed(Definite::Refused),
        Transport::NotConnected(io::ErrorKind::TimedOut) => Effect::Failed(Definite::ConnectTimeout),
        Transport::NotConnected(_) | Transport::Broken(_) => Effect::Unknown(Indefinite::Broken),
        Transport::Malformed => Effect::Unknown(Indefinite::Malformed),
        Transport::Timeout => Effect::Unknown(Indefinite::Timeout),
    }
}

/// A pool of keep-alive connections. Copies share it. Never retries: what is sent is sent once. A request with `Connection: close` has a connection of
/// its own: it takes none out of the pool.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    single: Pool<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// A client whose connects give up after `connect_timeout`.
    #[must_use]
    pub fn new(connect_timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect_timeout));
        let single = Pool::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .pool_max_idle_per_host(0)
            .build(connector.clone());
        let pool = Pool::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self { pool, single }
    }

    /// Sends a request and reads the whole answer, within `timeout`.
    pub async fn send(&self, request: Request<Full<Bytes>>, timeout: Duration) -> Transport {
        let closes = request.headers().get(hyper::header::CONNECTION).is_some_and(|value| value == "close");
        let pool = if closes { &self.single } else { &self.pool };
        let exchange = async {
            let response = match pool.request(request).await {
                Ok(response) => response,
                Err(error) => return failure(&error),
            };
            let first_byte = crate::clock::monotonic_ns();
            let (head, body) = response.into_parts();
            match Limited::new(body, LARGEST_BODY).collect().await {
                Ok(body) => {
                    Transport::Answer { status: head.status, headers: head.headers, body: body.to_bytes(), first_byte }
                }
                Err(error) if error.is::<http_body_util::LengthLimitError>() => Transport::Malformed,
                Err(_) => Transport::Broken(Some(head.status)),
            }
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Transport::Timeout)
    }
}

fn failure(error: &hyper_util::client::legacy::Error) -> Transport {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut kind = None;
    let mut parse = false;
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>() {
            kind = Some(io.kind());
        }
        if let Some(hyper) = current.downcast_ref::<hyper::Error>() {
            parse |= hyper.is_parse();
        }
        cause = current.source();
    }
    if error.is_connect() {
        return Transport::NotConnected(kind.unwrap_or(io::ErrorKind::Other));
    }
    if parse { Transport::Malformed } else { Transport::Broken(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Transport {
        let status = StatusCode::from_u16(status).unwrap();
        Transport::Answer { status, headers: hyper::HeaderMap::new(), body: Bytes::new(), first_byte: 0 }
    }

    #[test]
    fn the_table() {
        assert_eq!(classify(&answer(200), 429), Effect::Ok);
        assert_eq!(classify(&answer(404), 429), Effect::Failed(Definite::Rejected));
        assert_eq!(classify(&answer(429), 429), Effect::Failed(Definite::Rejected));
        assert_eq!(classify(&answer(503), 503), Effect::Failed(Definite::Rejected));
        assert_eq!(classify(&answer(503), 429), Effect::Unknown(Indefinite::GatewayError));
        assert_eq!(
            classify(&Transport::NotConnected(io::ErrorKind::ConnectionRefused), 429),
            Effect::Failed(Definite::Refused)
        );
        assert_eq!(
            classify(&Transport::NotConnected(io::ErrorKind::TimedOut), 429),
            Effect::Failed(Definite::ConnectTimeout)
        );
        assert_eq!(
            classify(&Transport::NotConnected(io::ErrorKind::ConnectionReset), 429),
            Effect::Unknown(Indefinite::Broken)
        );
        assert_eq!(classify(&Transport::Broken(None), 429), Effect::Unknown(Indefinite::Broken));
        assert_eq!(classify(&Transport::Malformed, 429), Effect::Unknown(Indefinite::Malformed));
        assert_eq!(classify(&Transport::Timeout, 429), Effect::Unknown(Indefinite::Timeout));
    }

    /// Answers 200 to whatever comes on any connection, and tells each time on which one, from 1.
    fn counting(listener: tokio::net::TcpListener) -> tokio::sync::mpsc::UnboundedReceiver<u32> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (tell, told) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            for number in 1.. {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let tell = tell.clone();
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    // Each request is small enough to come at once.
                    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                        let _nobody_asks = tell.send(number);
                        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        told
    }

    #[tokio::test]
    async fn what_closes_its_connection_takes_none_that_is_kept() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut told = counting(listener);
        let client = Client::new(Duration::from_secs(1));
        for (closes, connection) in [(false, 1), (true, 2), (false, 1), (true, 3), (false, 1)] {
            let mut request = Request::get(format!("http://{address}/"));
            if closes {
                request = request.header("connection", "close");
            }
            let request = request.body(Full::default()).unwrap();
            let transport = client.send(request, Duration::from_secs(5)).await;
            assert!(matches!(transport, Transport::Answer { .. }), "{transport:?}");
            assert_eq!(told.recv().await, Some(connection), "closes: {closes}");
        }
    }

    #[tokio::test]
    async fn a_refused_connect_is_definite() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let request = Request::get(format!("http://{address}/")).body(Full::default()).unwrap();
        let transport = Client::new(Duration::from_secs(1)).send(request, Duration::from_secs(1)).await;
        assert_eq!(classify(&transport, 429), Effect::Failed(Definite::Refused));
    }
}
