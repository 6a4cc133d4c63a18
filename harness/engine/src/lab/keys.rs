//! Signing keys of the identity provider: published, removed, and tokens signed with them. Gateways that check tokens with published keys
//! have the setting `tokens` at `jwks`, by the deployment or by an experiment; then all tokens of the lab are signed so.
//!
//! Keys have numbers; number n is called `key-n`. Key 0 signs what the lab needs for itself and is never removed; key 1 is there from the start
//! for a story to rotate away.

use super::secrets::LIFETIME_S;
use super::{Lab, LabError, Token, setting};
use gatecrash_model::deployment::IDENTITY;
use gatecrash_model::fixture::{KeyForm, SignRequest};
use gatecrash_model::history::event::mark;
use gatecrash_model::profile::Scalar;

/// The setting that says what a gateway checks tokens with.
pub const TOKENS_SETTING: &str = "tokens";
/// Its value for the keys that the identity provider publishes.
pub const JWKS: &str = "jwks";
/// The setting that says for how many seconds, before scaling, fetched keys are fresh.
pub const JWKS_TTL_SETTING: &str = "jwksTtlS";

/// A key that is never published.
const STRANGER: &str = "stranger";
/// Keys that are published from the start.
const AT_START: u32 = 2;

/// What is wrong with the signature of a token that says it is signed with a published key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Another key signed it.
    Stranger,
    /// It is HS256, with the public key in this form as the secret.
    Confused(KeyForm),
}

/// What key `number` is called.
fn name(number: u32) -> String {
    format!("key-{number}")
}

/// Names of the keys that are published when the identity provider starts.
pub(super) fn keys_at_start() -> Vec<String> {
    (0..AT_START).map(name).collect()
}

impl Lab {
    /// Whether gateways check tokens with published keys in this lab.
    fn has_published_keys(&self) -> bool {
        match self.inner.options.settings.get(TOKENS_SETTING) {
            Some(Scalar::Text(word)) => word == JWKS,
            Some(Scalar::Boolean(_) | Scalar::Number(_)) => false,
            None => setting(self.deployment(), self.adapter(), TOKENS_SETTING).as_deref() == Some(JWKS),
        }
    }

    /// What every good token of this lab is signed with, where it is not a secret of its site.
    pub(super) fn sign_request(&self) -> SignRequest {
        SignRequest { key: self.has_published_keys().then(|| name(0)), ..SignRequest::default() }
    }

    /// `request`, signed by somebody who has no key of ours, if that is not what its `signing` says already.
    pub(super) fn forged(&self, request: SignRequest) -> SignRequest {
        match request.key.clone() {
            Some(key) => SignRequest { key: Some(STRANGER.to_owned()), kid: Some(key), ..request },
            None => request,
        }
    }

    /// Has the identity provider publish key `number`, over a way that no fault touches. Marks say when it was told, and when it did.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn publish_key(&self, number: u32) -> Result<(), LabError> {
        self.mark(mark::KEY_PUBLISHING, &name(number), i64::from(number));
        self.control(IDENTITY)?.publish_key(&name(number)).await?;
        self.mark(mark::KEY_PUBLISHED, &name(number), i64::from(number));
        Ok(())
    }

    /// Has the identity provider publish key `number` no longer. Marks say when it was told, and when it did.
    ///
    /// # Errors
    /// If it does not answer, or the key was not published.
    pub async fn remove_key(&self, number: u32) -> Result<(), LabError> {
        self.mark(mark::KEY_REMOVING, &name(number), i64::from(number));
        self.control(IDENTITY)?.remove_key(&name(number)).await?;
        self.mark(mark::KEY_REMOVED, &name(number), i64::from(number));
        Ok(())
    }

    /// A token of `client`, signed with key `number`, valid for longer than any story. A mark says which key it was.
    ///
    /// # Errors
    /// If the identity provider does not answer.
    pub async fn token_of_key(&self, client: &str, number: u32) -> Result<Token, LabError> {
        let request = SignRequest {
            client: client.to_owned(),
            expires_in_s: LIFETIME_S,
            key: Some(name(number)),
            ..SignRequest::default()
        };
        self.signed(&request, i64::from(number)).await
    }

    /// A token of `client` that says it is signed with key `number`, and is not. A mark says that it is forged.
    ///
    /// # Errors
    /// If the identity provider does not answer.
    pub async fn forged_token(&self, client: &str, number: u32, forgery: Forgery) -> Result<Token, LabError> {
        let (key, confused) = match forgery {
            Forgery::Stranger => (STRANGER.to_owned(), None),
            Forgery::Confused(form) => (name(number), Some(form)),
        };
        let request = SignRequest {
            client: client.to_owned(),
            expires_in_s: LIFETIME_S,
            key: Some(key),
            kid: Some(name(number)),
            confused,
            ..SignRequest::default()
        };
        self.signed(&request, FORGED).await
    }

    async fn signed(&self, request: &SignRequest, number: i64) -> Result<Token, LabError> {
        let token = self.sign(request).await?;
        self.mark(mark::TOKEN_KEY, token.digest(), number);
        Ok(token)
    }
}

/// Number of the key of a token that nobody signed who knows the key.
const FORGED: i64 = -1;
