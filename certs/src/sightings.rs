// SPDX-License-Identifier: Apache-2.0
//! Since when the live bundle has held each certificate, as one observer saw it.

/// The certificates `C` of the newest bundle that was seen, each with the instant `T` since when it was never missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sightings<C, T> {
    since: Vec<(C, T)>,
}

impl<C, T> Default for Sightings<C, T> {
    fn default() -> Self {
        Self { since: Vec::new() }
    }
}

impl<C: PartialEq, T: Copy> Sightings<C, T> {
    /// After another look at `now`. Every look counts: a certificate that was missing once starts anew.
    #[must_use]
    pub fn look(&self, bundle: impl IntoIterator<Item = C>, now: T) -> Self {
        let since = bundle.into_iter().map(|certificate| {
            let since = self.since(&certificate).unwrap_or(now);
            (certificate, since)
        });
        Self { since: since.collect() }
    }

    /// Since when the certificate is there; `None`: it is not.
    pub fn since(&self, certificate: &C) -> Option<T> {
        self.since.iter().find(|(other, _)| other == certificate).map(|(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_counts_from_its_first_look_until_it_is_missing() {
        let mut sightings = Sightings::default();
        for (now, bundle, since_a, since_b) in [
            (1, vec!["a"], Some(1), None),
            (2, vec!["b", "a"], Some(1), Some(2)),
            (3, vec!["b"], None, Some(2)),
            (4, vec!["a", "b"], Some(4), Some(2)),
            (5, vec![], None, None),
        ] {
            sightings = sightings.look(bundle, now);
            assert_eq!((sightings.since(&"a"), sightings.since(&"b")), (since_a, since_b), "{now}");
        }
    }
}
