//! How does an event of epoll find what it belongs to? By a slot and its generation: a slot that was used again in
//! between is not mistaken for its former holder.

/// Where a value lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

/// What the 64 bits of an epoll event stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// There are commands.
    Wake,
    /// The earliest timer is due.
    Alarm,
    /// A listener has connections.
    Listener(Key),
    /// A side (0 dialler, 1 target) of a connection.
    Side(Key, usize),
}

/// Generations use the bits that the kind leaves.
const GENERATIONS: u32 = 1 << 30;

impl Token {
    pub(super) fn bits(self) -> u64 {
        let (kind, key) = match self {
            Self::Wake => return u64::MAX,
            Self::Alarm => return u64::MAX - 1,
            Self::Listener(key) => (0, key),
            Self::Side(key, 0) => (1, key),
            Self::Side(key, _) => (2, key),
        };
        (u64::from(key.index) << 32) | (u64::from(key.generation) << 2) | kind
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        if bits == u64::MAX {
            return Self::Wake;
        }
        if bits == u64::MAX - 1 {
            return Self::Alarm;
        }
        let index = u32::try_from(bits >> 32).unwrap_or(u32::MAX);
        let generation = u32::try_from((bits & u64::from(u32::MAX)) >> 2).unwrap_or(u32::MAX);
        let key = Key { index, generation };
        match bits & 3 {
            0 => Self::Listener(key),
            1 => Self::Side(key, 0),
            _ => Self::Side(key, 1),
        }
    }
}

/// Values under keys that are never mistaken for one another.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop()
            && let Some((generation, slot)) = self.slots.get_mut(index as usize)
        {
            *slot = Some(value);
            return Key { index, generation: *generation };
        }
        // One slot per open connection: file descriptors run out long before 2^32.
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push((0, Some(value)));
        Key { index, generation: 0 }
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize) {
            Some((generation, slot)) if *generation == key.generation => slot.as_mut(),
            Some(_) | None => None,
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, slot) = self.slots.get_mut(key.index as usize)?;
        if *generation != key.generation {
            return None;
        }
        let value = slot.take()?;
        *generation = (*generation + 1) % GENERATIONS;
        self.free.push(key.index);
        Some(value)
    }

    /// The keys of all values for which `wanted` holds.
    pub(super) fn keys(&self, wanted: impl Fn(&T) -> bool) -> Vec<Key> {
        let keyed = self.slots.iter().enumerate().filter(|(_, (_, slot))| slot.as_ref().is_some_and(&wanted));
        keyed
            .map(|(index, (generation, _))| Key {
                index: u32::try_from(index).unwrap_or(u32::MAX),
                generation: *generation,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_used_again_is_not_its_former_holder() {
        let mut slots = Slots::new();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_ne!(first, second);
        assert_eq!((slots.get(first).copied(), slots.remove(first)), (None, None));
        assert_eq!(slots.get(second).copied(), Some("second"));
        assert_eq!(slots.keys(|_| true), vec![second]);
    }

    #[test]
    fn tokens_survive_the_kernel() {
        let key = Key { index: 70_000, generation: GENERATIONS - 1 };
        for token in [Token::Wake, Token::Alarm, Token::Listener(key), Token::Side(key, 0), Token::Side(key, 1)] {
            assert_eq!(Token::from_bits(token.bits()), token);
        }
    }
}
