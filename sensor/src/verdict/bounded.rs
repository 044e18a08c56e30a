//! What is remembered for a while, of which there is never too much: the oldest makes room.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use foldhash::fast::RandomState;

/// Asks for memory with the first entry, and never again.
pub(super) struct Bounded<K, V> {
    entries: HashMap<K, Entry<V>, RandomState>,
    /// As they came; may name such as are gone, by another turn.
    order: VecDeque<(u64, K)>,
    turn: u64,
    max: usize,
}

struct Entry<V> {
    turn: u64,
    value: V,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self { entries: HashMap::default(), order: VecDeque::new(), turn: 0, max }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|entry| entry.value)
    }

    /// Remembers this as the newest, instead of what was known by the same key. Returns whom it took the
    /// place of.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.entries.capacity() == 0 {
            // Twice as many: places of removed entries are then swept up in place, instead of into more.
            self.entries.reserve(2 * (self.max + 1));
            self.order.reserve(2 * self.max);
        }
        self.entries.remove(&key);
        let made_room = if self.entries.len() >= self.max { self.pop_oldest() } else { None };
        if self.order.len() >= 2 * self.max {
            let entries = &self.entries;
            self.order.retain(|(turn, key)| is_of(entries.get(key), *turn));
        }
        self.turn += 1;
        self.order.push_back((self.turn, key));
        self.entries.insert(key, Entry { turn: self.turn, value });
        made_room
    }

    /// Forgets the oldest ones, as long as they are `over`.
    pub(super) fn forget_while(&mut self, over: impl Fn(&V) -> bool) {
        while let Some((turn, key)) = self.order.front() {
            let entry = self.entries.get(key);
            if is_of(entry, *turn) && !entry.is_some_and(|entry| over(&entry.value)) {
                break;
            }
            self.pop_front();
        }
    }

    fn pop_oldest(&mut self) -> Option<V> {
        while !self.order.is_empty() {
            let oldest = self.pop_front();
            if oldest.is_some() {
                return oldest;
            }
        }
        None
    }

    /// The entry that the front of the order names, if it is still there.
    fn pop_front(&mut self) -> Option<V> {
        let (turn, key) = self.order.pop_front()?;
        is_of(self.entries.get(&key), turn).then(|| self.remove(&key)).flatten()
    }

    #[cfg(test)]
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|entry| &entry.value)
    }

    /// How much is remembered in each place, and how much may be.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> [(usize, usize); 2] {
        [(self.entries.len(), self.max), (self.order.len(), 2 * self.max)]
    }
}

fn is_of<V>(entry: Option<&Entry<V>>, turn: u64) -> bool {
    entry.is_some_and(|entry| entry.turn == turn)
}

#[cfg(test)]
mod tests {
    use super::Bounded;

    #[test]
    fn the_oldest_makes_room_and_is_told() {
        let mut bounded = Bounded::new(2);
        assert_eq!(bounded.insert("a", 1), None);
        assert_eq!(bounded.insert("b", 2), None);
        assert_eq!(bounded.insert("c", 3), Some(1));
        assert_eq!([bounded.get(&"a"), bounded.get(&"b"), bounded.get(&"c")], [None, Some(&2), Some(&3)]);
    }

    #[test]
    fn what_is_remembered_anew_is_the_newest_and_takes_nobodys_place() {
        let mut bounded = Bounded::new(2);
        bounded.insert("a", 1);
        bounded.insert("b", 2);
        assert_eq!(bounded.insert("a", 3), None);
        assert_eq!(bounded.insert("c", 4), Some(2), "its former turn does not count");
        assert_eq!(bounded.get(&"a"), Some(&3));
    }

    #[test]
    fn what_was_removed_makes_room_for_nobody_and_for_everybody() {
        let mut bounded = Bounded::new(2);
        bounded.insert("a", 1);
        bounded.insert("b", 2);
        assert_eq!(bounded.remove(&"a"), Some(1));
        assert_eq!(bounded.insert("c", 3), None);
        assert_eq!(bounded.insert("d", 4), Some(2));
    }

    #[test]
    fn what_comes_and_goes_for_long_asks_for_no_more_room() {
        let mut bounded = Bounded::new(100);
        bounded.insert(0_u32, 0);
        let (entries, order) = (bounded.entries.capacity(), bounded.order.capacity());
        for number in 0..100_000 {
            bounded.insert(number, number);
            if number % 3 == 0 {
                bounded.remove(&number);
            }
        }
        // Places of removed entries do not count as room until they are swept up.
        assert!(bounded.entries.capacity() <= entries && bounded.order.capacity() == order);
        assert!(bounded.remembered().iter().all(|(len, max)| len <= max), "{:?}", bounded.remembered());
        let mut left = bounded.values().copied().collect::<Vec<_>>();
        left.sort_unstable();
        let newest = (0..100_000).filter(|number| number % 3 != 0).rev().take(99);
        assert_eq!(left, newest.collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>());
    }

    #[test]
    fn what_is_over_is_forgotten_from_the_oldest_on() {
        let mut bounded = Bounded::new(4);
        for (key, value) in [("a", 1), ("b", 2), ("c", 9), ("d", 1)] {
            bounded.insert(key, value);
        }
        bounded.remove(&"a");
        bounded.forget_while(|value| *value < 5);
        assert_eq!(["b", "c", "d"].map(|key| bounded.get(&key)), [None, Some(&9), Some(&1)]);
    }
}
