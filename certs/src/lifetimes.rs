// SPDX-License-Identifier: Apache-2.0
//! How long certificates live, and whether a rotation has room in that.
//!
//! ```text
//!  CA      ├─ made ──────────────── 2/3: its successor is made ── published ── settle ── promoted ────────┤ expires
//!  successor                        ├────────────────────────────────────────────────────┤
//!  the CA in the bundle until                                         promotion + leaf + clock skew ┤
//! ```

use jiff::SignedDuration;
use thiserror::Error;

/// The lifetimes; all replicas should be given the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// A CA's, from the instant it is made.
    pub ca: SignedDuration,
    /// A leaf's, from the instant it is made.
    pub leaf: SignedDuration,
    /// How long a CA must have been in the live bundle until every API server knows it.
    pub settle: SignedDuration,
    /// By how much a machine's clock may be wrong, ahead or behind.
    pub clock_skew: SignedDuration,
}

/// Why lifetimes cannot work. The texts name the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LifetimesError {
    /// A leaf of a machine whose clock is behind would expire before it is renewed.
    #[error("--leaf-lifetime must be at least {least:#}: six times --max-clock-skew, and 3s")]
    LeafTooShort {
        /// The shortest that works.
        least: SignedDuration,
    },
    /// A duration is negative.
    #[error("--ca-settle and --max-clock-skew must not be negative")]
    Negative,
    /// Leaves of the old CA would be served when it expires.
    #[error(
        "--ca-lifetime must be at least {least:#}: three times the sum of --leaf-lifetime, twice --ca-settle, and twice --max-clock-skew"
    )]
    CaTooShort {
        /// The shortest that works.
        least: SignedDuration,
    },
    /// Beyond what dates can express.
    #[error("--ca-lifetime, --leaf-lifetime, --ca-settle and --max-clock-skew must be at most {LONGEST:#}")]
    TooLong,
}

/// A hundred years: far from the end of what dates can express.
const LONGEST: SignedDuration = SignedDuration::from_hours(100 * 365 * 24);

impl Lifetimes {
    /// One year, seven days, one minute, five minutes.
    pub const DEFAULT: Self = Self {
        ca: SignedDuration::from_hours(365 * 24),
        leaf: SignedDuration::from_hours(7 * 24),
        settle: SignedDuration::from_mins(1),
        clock_skew: SignedDuration::from_mins(5),
    };

    /// Refuses a combination that cannot rotate without failed calls.
    pub fn check(&self) -> Result<(), LifetimesError> {
        let Self { ca, leaf, settle, clock_skew } = *self;
        if settle.is_negative() || clock_skew.is_negative() {
            return Err(LifetimesError::Negative);
        }
        if [ca, leaf, settle, clock_skew].iter().any(|duration| *duration > LONGEST) {
            return Err(LifetimesError::TooLong);
        }
        // The last third of a leaf's life is for its renewal: it ends early where the signer's clock is behind and the
        // API server's ahead. Certificates count whole seconds.
        let least = self.apart() * 3 + SignedDuration::from_secs(3);
        if leaf < least {
            return Err(LifetimesError::LeafTooShort { least });
        }
        // The last third of a CA's life begins with its successor. In it the successor settles and is promoted, every
        // replica settles and changes its leaf, and what it signed before ends.
        let least = (leaf + settle * 2 + self.apart()) * 3;
        if ca < least { Err(LifetimesError::CaTooShort { least }) } else { Ok(()) }
    }

    /// By how much certificates are valid before they are made: for a verifier whose clock is behind as far as the
    /// signer's is ahead.
    pub fn backdate(&self) -> SignedDuration {
        self.apart()
    }

    /// By how much the clocks of two machines may differ.
    pub fn apart(&self) -> SignedDuration {
        self.clock_skew * 2
    }
}

#[cfg(test)]
mod tests;
