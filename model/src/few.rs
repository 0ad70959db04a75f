// SPDX-License-Identifier: Apache-2.0
//! A set of few.

use std::{collections::BTreeMap, fmt, slice, vec};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An ordered set that takes no more memory than what is in it: there are several per address, of one or two things each, and a
/// node of a `BTreeSet` has room for eleven. To insert costs as much as there is in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Few<T>(Box<[T]>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Few<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl<T> Few<T> {
    /// In ascending order.
    pub fn iter(&self) -> slice::Iter<'_, T> {
        self.0.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The least.
    pub fn first(&self) -> Option<&T> {
        self.0.first()
    }

    /// Keeps those alone.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        let mut all = std::mem::take(&mut self.0).into_vec();
        all.retain(keep);
        self.0 = all.into_boxed_slice();
    }
}

impl<T: Ord> Few<T> {
    /// Whether it was not there before.
    pub fn insert(&mut self, one: T) -> bool {
        let Err(at) = self.0.binary_search(&one) else { return false };
        let mut all = std::mem::take(&mut self.0).into_vec();
        all.reserve_exact(1);
        all.insert(at, one);
        self.0 = all.into_boxed_slice();
        true
    }

    /// Whether all of it is in the other one.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|one| other.0.binary_search(one).is_ok())
    }
}

impl<T> Few<T> {
    /// Whether it is in it.
    pub fn contains<Q: Ord + ?Sized>(&self, one: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
    {
        self.0.binary_search_by(|other| other.borrow().cmp(one)).is_ok()
    }
}

/// Of keys and values, each key once.
impl<K: Ord, V> Few<(K, V)> {
    /// What is under this key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let at = self.0.binary_search_by(|(own, _)| own.borrow().cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// The keys, in ascending order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// Whether there is anything under this key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
    {
        self.get(key).is_some()
    }
}

impl<K: Ord, V: Ord> From<BTreeMap<K, V>> for Few<(K, V)> {
    fn from(all: BTreeMap<K, V>) -> Self {
        Self(all.into_iter().collect())
    }
}

impl<T: Ord> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut all: Vec<T> = all.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        Self(all.into_boxed_slice())
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for Few<T> {
    fn from(all: [T; N]) -> Self {
        all.into_iter().collect()
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Serialize> Serialize for Few<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de, T: Deserialize<'de> + Ord> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from_iter)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_that_the_standard_library_would_make(
            all in prop::collection::vec(0_u8..20, 0..12),
            more in prop::collection::vec(0_u8..20, 0..6),
            odd: bool,
        ) {
            let mut set: BTreeSet<u8> = all.iter().copied().collect();
            let mut few: Few<u8> = all.iter().copied().collect();
            for one in &more {
                prop_assert_eq!(few.insert(*one), set.insert(*one));
            }
            let others: Few<u8> = more.iter().copied().collect();
            prop_assert!(others.is_subset(&few));
            prop_assert_eq!(few.is_subset(&others), set.iter().all(|one| more.contains(one)));
            prop_assert!((0..20).all(|one: u8| few.contains(&one) == set.contains(&one)));
            few.retain(|one| (*one % 2 == 1) == odd);
            set.retain(|one| (*one % 2 == 1) == odd);
            prop_assert_eq!((few.len(), few.is_empty(), few.first()), (set.len(), set.is_empty(), set.first()));
            prop_assert!(few.into_iter().eq(set));
        }
    }
}
