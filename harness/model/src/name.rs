//! Names as small numbers: a history holds millions of events, and each names a replica, a route,
//! a key and a token. Interned, a name is four bytes, and comparing two is comparing integers.

use std::collections::BTreeMap;
use std::sync::Arc;

/// One interned name. Only meaningful with the [`Names`] that made it. `Name::NONE` is the empty text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(u32);

impl Name {
    /// The empty name: "not said".
    pub const NONE: Self = Self(0);

    /// Whether this is the empty name.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Position in the table, from 0 (the empty name); dense, so it can index a `Vec`.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The table behind [`Name`]: text to number and back.
#[derive(Clone, Debug)]
pub struct Names {
    texts: Vec<Arc<str>>,
    numbers: BTreeMap<Arc<str>, Name>,
}

impl Default for Names {
    fn default() -> Self {
        let empty: Arc<str> = Arc::from("");
        Self { texts: vec![Arc::clone(&empty)], numbers: BTreeMap::from([(empty, Name::NONE)]) }
    }
}

impl Names {
    /// The name for `text`, made on first use. At most `u32::MAX` names; past that, [`Name::NONE`].
    pub fn intern(&mut self, text: &str) -> Name {
        if let Some(name) = self.numbers.get(text) {
            return *name;
        }
        let Ok(number) = u32::try_from(self.texts.len()) else {
            return Name::NONE;
        };
        let shared: Arc<str> = Arc::from(text);
        self.texts.push(Arc::clone(&shared));
        self.numbers.insert(shared, Name(number));
        Name(number)
    }

    /// The name for `text`, if it was ever interned. What no event named has no name.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<Name> {
        self.numbers.get(text).copied()
    }

    /// The text of `name`; the empty text for a name of another table.
    #[must_use]
    pub fn text(&self, name: Name) -> &str {
        self.texts.get(name.index()).map_or("", |text| text)
    }

    /// How many names there are, the empty one included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Never true: the empty name is always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}
