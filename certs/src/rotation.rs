// SPDX-License-Identifier: Apache-2.0
//! The rules by which several replicas, without a leader, replace the CA that they share. Pure.
//!
//! | step | writes | when |
//! |---|---|---|
//! | prepare | the Secret: a new CA in the second slot | a third of the current CA's life is left |
//! | (merge) | the bundle: both CAs | whoever sees the second CA in the Secret |
//! | publish | the Secret: when that was | the live bundle holds the second CA |
//! | promote | the Secret: the slots change places | *this* replica has seen it there for as long as a bundle takes to settle |
//! | (sign) | nothing: each replica serves a leaf of the new CA | *this* replica has seen the new CA there that long |
//! | (withdraw) | the bundle without the old CA | promotion + life of a leaf + clock skew |
//! | drop | the Secret: an empty second slot | the live bundle does not hold the old CA any more |
//!
//! Every write is a compare-and-swap, so a step is done once; every step can be found in the Secret and in the live
//! bundle, so any replica goes on where another stopped. How long a CA has settled is measured by each replica itself,
//! on a clock that cannot be set: the times in the Secret come from other machines' clocks, and only ever delay a step.
//!
//! A served leaf so verifies at every API server whose view of the bundle is younger than the settling time:
//! - The current CA in the Secret was in the bundle that long before it became current, and a replica that starts uses no
//!   other. A replica that runs changes to a CA only when it has seen that itself, also when the Secret was replaced by hand.
//! - Nobody takes a CA out of the bundle while a leaf of it may be served: merges keep the CAs of others, and withdrawal
//!   comes after the last leaf that could have been signed before the promotion.

use jiff::{SignedDuration, Timestamp};

use crate::{
    authority::Validity,
    lifetimes::Lifetimes,
    slots::{Role, Second, Slots},
};

/// A certificate authority as far as rotation cares.
pub trait Ca: Clone + PartialEq {
    /// When it is valid.
    fn validity(&self) -> Validity;
}

/// How long the live bundle has held a CA without a break, as far as this replica saw; `None`: it does not hold it.
pub type Ages<'a, A> = &'a dyn Fn(&A) -> Option<SignedDuration>;

/// What to do about the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something changes or this much time has passed.
    Wait(SignedDuration),
    /// Put a new CA into the second slot.
    Prepare,
    /// Note that the second CA is in the live bundle.
    Publish,
    /// Make the second CA the current one.
    Promote,
    /// Empty the second slot.
    Drop,
    /// No CA can be used: make a new one.
    StartOver,
}

/// What to do about the leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signing<A> {
    /// Serve on, until something changes or this much time has passed.
    Keep(SignedDuration),
    /// Serve a new leaf, signed by this CA.
    By(A),
}

/// The leaf that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served<A> {
    /// Who signed it.
    pub authority: A,
    /// When it is valid.
    pub validity: Validity,
}

/// What the live bundle should be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted<A> {
    /// It must hold these.
    pub required: Vec<A>,
    /// It must not hold these.
    pub retired: Vec<A>,
}

/// The longest wait: clocks are set now and then, and a wait does not follow.
pub const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// The next step; `live` is `None` as long as the live bundle was not seen.
pub fn step<A: Ca>(
    slots: &Slots<A>,
    live: Option<Ages<'_, A>>,
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Step {
    let over = |authority: &A| authority.validity().is_over(now);
    if over(&slots.current) {
        return if successor(slots).is_some_and(|next| !over(next)) {
            Step::Promote
        } else {
            Step::StartOver
        };
    }
    let Some(Second { authority, role }) = &slots.second else {
        return wait_until(renewal(&slots.current, lifetimes), now).unwrap_or(Step::Prepare);
    };
    let Some(live) = live else { return Step::Wait(LOOK_AGAIN) };
    match (role, live(authority)) {
        (Role::Successor { .. }, _) if over(authority) => Step::Prepare,
        // The merge is under way.
        (Role::Successor { .. }, None) => Step::Wait(LOOK_AGAIN),
        (Role::Successor { published_at: None }, Some(_)) => Step::Publish,
        (Role::Successor { .. }, Some(age)) => wait(lifetimes.settle - age).unwrap_or(Step::Promote),
        (Role::Predecessor { drop_after }, age) => match (is_retired(slots, now, lifetimes), age) {
            (true, None) => Step::Drop,
            // The withdrawal is under way.
            (true, Some(_)) => Step::Wait(LOOK_AGAIN),
            // Two instants matter: from the first on it is not required any more.
            (false, _) => {
                let left = now.duration_until(*drop_after);
                wait(left - lifetimes.apart()).or_else(|| wait(left)).unwrap_or(Step::Wait(LOOK_AGAIN))
            }
        },
    }
}

/// Which leaf to serve.
pub fn signing<A: Ca>(
    slots: &Slots<A>,
    served: Option<&Served<A>>,
    live: Option<Ages<'_, A>>,
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Signing<A> {
    // An expired CA signs nothing: another is about to take its place.
    let current = || {
        let over = slots.current.validity().is_over(now);
        if over { Signing::Keep(LOOK_AGAIN) } else { Signing::By(slots.current.clone()) }
    };
    let Some(served) = served.filter(|served| !served.validity.is_over(now)) else { return current() };
    // A leaf never outlives its CA: one that already ends with it cannot be renewed.
    let extensible = served.validity.not_after < served.authority.validity().not_after;
    let renewal = served.validity.renew_at(lifetimes.backdate());
    let until_renewal = now.duration_until(if extensible { renewal } else { served.validity.not_after });
    let mut left = until_renewal;
    if served.authority != slots.current {
        let age = |authority: &A| live.and_then(|live| live(authority));
        match age(&slots.current) {
            Some(age) if age >= lifetimes.settle => return current(),
            // Nothing to lose: the leaf that is served verifies nowhere.
            Some(_) if age(&served.authority).is_none() => return current(),
            Some(age) => left = left.min(lifetimes.settle - age),
            None => {}
        }
    }
    if until_renewal.is_positive() {
        return Signing::Keep(left.min(LOOK_AGAIN));
    }
    Signing::By(served.authority.clone())
}

/// What the bundle should be like while these slots are known and a leaf of `served` is.
pub fn trust<A: Ca>(
    slots: &Slots<A>,
    served: Option<&A>,
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Trusted<A> {
    let mut trusted = Trusted { required: vec![slots.current.clone()], retired: Vec::new() };
    if let Some(Second { authority, role }) = &slots.second {
        match role {
            Role::Predecessor { .. } if is_retired(slots, now, lifetimes) => {
                trusted.retired.push(authority.clone());
            }
            // A replica whose clock is ahead may have withdrawn it already.
            Role::Predecessor { drop_after } if now.duration_until(*drop_after) <= lifetimes.apart() => {}
            _ => trusted.required.push(authority.clone()),
        }
    }
    if let Some(served) = served {
        trusted.retired.retain(|retired| retired != served);
        if !trusted.required.contains(served) {
            trusted.required.push(served.clone());
        }
    }
    // An expired CA verifies nothing, and a merge would take it out again.
    trusted.required.retain(|authority| !authority.validity().is_over(now));
    trusted
}

/// What to write in place of a Secret that is missing or broken: what this process knows, so that nobody's leaf becomes
/// worthless, else what can still be read of it. `None`: neither can sign.
pub fn recover<A: Ca>(
    known: Option<&Slots<A>>,
    readable: Option<Slots<A>>,
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Option<Slots<A>> {
    [known.cloned(), readable].into_iter().flatten().find_map(|slots| {
        let over = |authority: &A| authority.validity().is_over(now);
        match successor(&slots) {
            _ if !over(&slots.current) => Some(slots),
            Some(next) if !over(next) => slots.promoted(now, lifetimes),
            _ => None,
        }
    })
}

impl<A: Ca> Slots<A> {
    /// With a new CA in the second slot.
    #[must_use]
    pub fn prepared(&self, authority: A) -> Self {
        let second = Second { authority, role: Role::Successor { published_at: None } };
        Self { current: self.current.clone(), second: Some(second) }
    }

    /// With the note that the second CA is in the live bundle; `None` without a successor.
    pub fn published(&self, now: Timestamp) -> Option<Self> {
        let authority = successor(self)?.clone();
        let second = Second { authority, role: Role::Successor { published_at: Some(now) } };
        Some(Self { current: self.current.clone(), second: Some(second) })
    }

    /// With the second CA as the current one; `None` without a successor.
    pub fn promoted(&self, now: Timestamp, lifetimes: &Lifetimes) -> Option<Self> {
        let drop_after = now + lifetimes.leaf + lifetimes.clock_skew;
        let second = Second { authority: self.current.clone(), role: Role::Predecessor { drop_after } };
        Some(Self { current: successor(self)?.clone(), second: Some(second) })
    }

    /// With an empty second slot.
    #[must_use]
    pub fn dropped(&self) -> Self {
        Self { current: self.current.clone(), second: None }
    }
}

fn successor<A>(slots: &Slots<A>) -> Option<&A> {
    match &slots.second {
        Some(Second { authority, role: Role::Successor { .. } }) => Some(authority),
        _ => None,
    }
}

/// Whether the predecessor's time in the bundle is over, or its slot is needed: by then it is over too, unless the time in
/// the Secret is wrong.
fn is_retired<A: Ca>(slots: &Slots<A>, now: Timestamp, lifetimes: &Lifetimes) -> bool {
    let Some(Second { authority, role: Role::Predecessor { drop_after } }) = &slots.second else {
        return false;
    };
    now >= *drop_after || authority.validity().is_over(now) || now >= renewal(&slots.current, lifetimes)
}

fn renewal<A: Ca>(authority: &A, lifetimes: &Lifetimes) -> Timestamp {
    authority.validity().renew_at(lifetimes.backdate())
}

fn wait_until(instant: Timestamp, now: Timestamp) -> Option<Step> {
    wait(now.duration_until(instant))
}

fn wait(left: SignedDuration) -> Option<Step> {
    left.is_positive().then(|| Step::Wait(left.min(LOOK_AGAIN)))
}

#[cfg(test)]
mod tests;
