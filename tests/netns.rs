// SPDX-License-Identifier: Apache-2.0
//! Tests with real frames between network namespaces.

mod netns_announcer;
mod netns_conflicts;
mod netns_debug_port;
mod netns_failover;
mod netns_faults;
mod netns_lab;
mod netns_leases;
mod netns_links;
mod netns_local;
mod netns_moves;
mod netns_ndp;
mod netns_outage;
mod netns_ownership;
mod netns_policies;
mod netns_privilege;
mod netns_selection;
mod netns_sharing;
mod netns_squatter;
mod netns_stopping;
mod netns_story;
