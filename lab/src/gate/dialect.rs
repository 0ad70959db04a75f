// SPDX-License-Identifier: Apache-2.0
//! Another format of Leases: the number in the annotation, exchanged on its way.

use hyper::body::Bytes;

/// What comes before the number in the JSON of a Lease, as the API server and the programs write it.
const BEFORE: &[u8] = b"\"gateherald.io/format\":\"";

/// Exchanges two formats in a stream of JSON. Lengths stay what they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    digits: [u8; 2],
    /// How much of [`BEFORE`] the last bytes were.
    matched: usize,
}

impl Dialect {
    /// Formats below 10.
    pub(super) fn new(own: u8, other: u8) -> Self {
        Self { digits: [own, other].map(|format| b'0' + format), matched: 0 }
    }

    /// The next bytes of the stream.
    pub(super) fn translated(&mut self, bytes: &[u8]) -> Bytes {
        let [own, other] = self.digits;
        let mut bytes = bytes.to_vec();
        for byte in &mut bytes {
            if self.matched == BEFORE.len() {
                self.matched = 0;
                if *byte == own {
                    *byte = other;
                } else if *byte == other {
                    *byte = own;
                }
            } else if *byte == BEFORE[self.matched] {
                self.matched += 1;
            } else {
                self.matched = usize::from(*byte == BEFORE[0]);
            }
        }
        bytes.into()
    }
}

#[cfg(test)]
mod tests;
