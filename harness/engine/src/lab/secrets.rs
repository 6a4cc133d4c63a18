//! Clients, signing secrets and tokens of a lab: all derive from the seed, none reaches a history.

use super::{Lab, LabError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatecrash_model::deployment::IDENTITY;
use gatecrash_model::fixture::{Client, SignRequest};
use gatecrash_model::seed::Seed;
use std::fmt;

/// Issuer of all tokens.
pub(super) const ISSUER: &str = "gatecrash-identity";
/// Audience of all tokens.
pub(super) const AUDIENCE: &str = "gatecrash";
/// Lifetime of a valid token; far beyond any experiment.
pub(super) const LIFETIME_S: i64 = 6 * 3600;

/// A bearer token. Its text is never printed; its digest stands for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    digest: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Token").field(&self.digest).finish()
    }
}

impl Token {
    pub(super) fn new(seed: Seed, text: String) -> Self {
        let digest = seed.digest(&text);
        Self { text, digest }
    }

    /// What stands for it in the history.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// `client-1`..`client-20` (credentials and a contract), `former-1`, `former-2` (credentials and a contract that is removed
/// when everything runs), `late-1`..`late-5` (credentials only), `outsider-1`..`outsider-5` (neither: the gateway does not
/// know them).
pub(super) fn clients(seed: Seed) -> Vec<Client> {
    let kinds = [("client", 20, true), ("former", 2, true), ("late", 5, false), ("outsider", 5, false)];
    let mut clients = Vec::new();
    for (kind, count, contract) in kinds {
        for number in 1..=count {
            let id = format!("{kind}-{number}");
            let secret = URL_SAFE_NO_PAD.encode(&seed.stream(&format!("client {id}"))[..18]);
            clients.push(Client { id, secret, contract });
        }
    }
    clients
}

/// Who gateways are to the identity provider when they ask about tokens.
pub(super) fn gateway_client(seed: Seed) -> Client {
    let secret = URL_SAFE_NO_PAD.encode(&seed.stream("client gateway")[..18]);
    Client { id: "gateway".to_owned(), secret, contract: false }
}

/// The signing secret called `material`, base64url without padding.
pub(super) fn signing_secret(seed: Seed, material: &str) -> String {
    URL_SAFE_NO_PAD.encode(seed.stream(&format!("signing {material}")))
}

impl Lab {
    /// A token with any flaw, from the identity provider stub. Not a checked operation.
    ///
    /// # Errors
    /// If the stub does not answer.
    pub async fn sign(&self, request: &SignRequest) -> Result<Token, LabError> {
        Ok(Token::new(self.seed(), self.control(IDENTITY)?.sign(request).await?))
    }

    /// A valid token of `client` with the signing material that `site` has now; the same one until the
    /// site is re-keyed. Not a checked operation: tokens that gateways issue come from [`Lab::issue`].
    ///
    /// # Errors
    /// If the site does not exist or the stub does not answer.
    pub async fn token(&self, site: &str, client: &str) -> Result<Token, LabError> {
        let signing = self.state().signing.get(site).cloned().ok_or_else(|| LabError::Unknown(site.to_owned()))?;
        let key = (signing.clone(), client.to_owned());
        let mut tokens = self.inner.tokens.lock().await;
        if let Some(token) = tokens.get(&key) {
            return Ok(token.clone());
        }
        let request =
            SignRequest { client: client.to_owned(), signing, expires_in_s: LIFETIME_S, ..self.sign_request() };
        let token = self.sign(&request).await?;
        tokens.insert(key, token.clone());
        Ok(token)
    }
}
