// SPDX-License-Identifier: Apache-2.0
//! Whether Cilium answers for its policies itself, so that nobody else may. Pure.
//!
//! Two announcers for one address would both be right by their own rules: Cilium's Leases and ours know nothing of one
//! another. So its policies are only honoured once its configuration and its Leases have shown that it does not.

use std::{collections::BTreeMap, time::Duration};

/// 15 s, the default duration of Cilium's Leases: a living one is renewed within it.
pub const OBSERVATION: Duration = Duration::from_secs(15);
/// The prefix of the Leases by which Cilium's agents share announcing.
pub const LEASE_PREFIX: &str = "cilium-l2announce-";

/// What is done about policies of Cilium's kind, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Stance {
    /// They are honoured.
    Honoured,
    /// Not yet: nothing has been seen that could forbid it, for less than [`OBSERVATION`].
    #[default]
    Undecided,
    /// What would decide it cannot be read.
    Unreadable(String),
    /// `cilium-config` says that Cilium's agents announce.
    ConfiguredInCilium,
    /// This Lease is kept alive by a Cilium agent.
    LeaseRenewed(String),
    /// The command line says so.
    Never,
}

impl Stance {
    /// The stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Honoured => "Honoured",
            Self::Undecided => "Undecided",
            Self::Unreadable(_) => "Unreadable",
            Self::ConfiguredInCilium => "ConfiguredInCilium",
            Self::LeaseRenewed(_) => "LeaseRenewed",
            Self::Never => "Never",
        }
    }
}

impl std::fmt::Display for Stance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Honoured => f.write_str("policies of Cilium's kind are honoured"),
            Self::Undecided => f.write_str("watching whether Cilium announces itself"),
            Self::Unreadable(why) => write!(f, "cannot tell whether Cilium announces itself: {why}"),
            Self::ConfiguredInCilium => {
                f.write_str("Cilium announces itself: cilium-config has enable-l2-announcements: \"true\"")
            }
            Self::LeaseRenewed(lease) => {
                write!(f, "Cilium announces itself: it keeps the Lease {lease} alive")
            }
            Self::Never => f.write_str("policies of Cilium's kind are not honoured: --cilium-policies=never"),
        }
    }
}

/// The signs of Cilium's own announcing. Times are readings of one monotonic clock.
#[derive(Debug, Default)]
pub struct Signs {
    configured: Option<bool>,
    leases: BTreeMap<String, Sign>,
    /// Since when the Leases have been seen without a gap.
    since: Option<Duration>,
}

#[derive(Debug)]
struct Sign {
    version: String,
    duration: Duration,
    /// When it last changed before our eyes; that it exists proves nothing.
    changed: Option<Duration>,
}

impl Signs {
    /// What `enable-l2-announcements` in `cilium-config` says; false without that object.
    pub fn configured(&mut self, enabled: bool) {
        self.configured = Some(enabled);
    }

    /// All of Cilium's Leases: name, resourceVersion and duration.
    pub fn leases(&mut self, all: impl IntoIterator<Item = (String, String, Duration)>, now: Duration) {
        self.since.get_or_insert(now);
        let mut old = std::mem::take(&mut self.leases);
        for (name, version, duration) in all {
            let known = old.remove(&name);
            let changed = match &known {
                Some(sign) if sign.version != version => Some(now),
                Some(sign) => sign.changed,
                None => None,
            };
            self.leases.insert(name, Sign { version, duration, changed });
        }
    }

    /// One of Cilium's Leases was created or changed.
    pub fn lease(&mut self, name: String, version: String, duration: Duration, now: Duration) {
        self.leases.insert(name, Sign { version, duration, changed: Some(now) });
    }

    /// One of Cilium's Leases is gone.
    pub fn gone(&mut self, name: &str) {
        self.leases.remove(name);
    }

    /// What follows, and when that can change by itself.
    pub fn judge(&self, now: Duration) -> (Stance, Option<Duration>) {
        match self.configured {
            None => return (Stance::Undecided, None),
            Some(true) => return (Stance::ConfiguredInCilium, None),
            Some(false) => {}
        }
        let alive = self.leases.iter().filter_map(|(name, sign)| {
            let until = sign.changed? + sign.duration;
            (until > now).then_some((until, name))
        });
        if let Some((until, name)) = alive.max() {
            return (Stance::LeaseRenewed(name.clone()), Some(until));
        }
        match self.since.map(|since| since + OBSERVATION) {
            None => (Stance::Undecided, None),
            Some(until) if until > now => (Stance::Undecided, Some(until)),
            Some(_) => (Stance::Honoured, None),
        }
    }
}

#[cfg(test)]
mod tests;
