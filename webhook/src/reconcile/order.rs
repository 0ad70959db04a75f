// SPDX-License-Identifier: Apache-2.0
//! What the reconciler wants written, and what became of it.

use std::sync::Arc;

use gateherald_model::owner::Gateway;

use super::{GatewayKey, ServiceKey, judgement::Need};

/// What the reconciler does about drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It writes.
    Repair,
    /// It only tells.
    Report,
}

/// How much it may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Writes under way at once.
    pub in_flight: usize,
    /// Writes per second.
    pub per_second: u32,
}

/// A write that is to be tried once.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Which Service.
    pub service: ServiceKey,
    /// Which object of that name.
    pub uid: String,
    /// The resourceVersion that it was decided for.
    pub version: String,
    /// What it lacks.
    pub need: Need,
    /// The Gateway that decided, and what was known of it.
    pub gateway: Option<(GatewayKey, Arc<Gateway>)>,
    /// Whether the API server must be asked first if the Gateway is still the same: the Service may have been written by a
    /// replica that knows a newer one.
    pub confirm: bool,
}

/// What became of an [`Order`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was written; the Service has this resourceVersion now.
    Written(String),
    /// Somebody else wrote first.
    Conflict,
    /// The Service is gone, or another one has its name.
    Gone,
    /// The Gateway is not what it was decided with.
    Outdated,
    /// It could not be written.
    Failed,
}

impl Done {
    /// Whether the Service is another one now. A write that an admission plugin took back leaves the resourceVersion as it
    /// was, and no event follows.
    pub fn changed(&self, order: &Order) -> bool {
        matches!(self, Self::Written(version) if *version != order.version)
    }
}
