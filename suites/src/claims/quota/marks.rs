//! What the quota experiments tell their claims besides the marks that everybody knows.

/// A quota window is this long; subject: key; value: milliseconds. Stands before the `window` mark of each round,
/// so that a history says by itself how long the windows were that it was made with.
pub(crate) const QUOTA_WINDOW_MS: &str = "quota-window-ms";

/// The data of a store were made wrong; subject: store; value: how many of its keys, so 0 proves nothing.
pub(crate) const STORE_CORRUPTED: &str = "store-corrupted";
