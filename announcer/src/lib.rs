// SPDX-License-Identifier: Apache-2.0
//! Answers ARP and NDP for the addresses of Services, on exactly one node at a time.
//!
//! ```text
//!  policies, Services, Nodes        netlink          Lease watch, answers to writes
//!      (io::objects)              (io::links)              (io::leases)
//!            │                      │     │                     │
//!            └──▶ evaluating task ◀─┘     │                     ▼
//!                 (desired, cilium) ── plan ─────────▶ claims task (claiming, claims)
//!                        │                │                     │ rights, acknowledged
//!                      reach              ▼                     │ before the next write
//!                        └─────────▶ answering thread ◀─────────┘
//!                                 (io::answering, responder, schedule)
//!                                         │ ▲
//!                                         ▼ │  packet sockets, one per interface and protocol
//!                                         LAN
//! ```
//!
//! Each state has one writer: the evaluating task has what was seen, the claims task what is owned, the answering
//! thread the sockets and the rights by which it judges every frame. Pure: `asking`, `cilium`, `claims`, `desired`, `office`,
//! `peers`, `responder`, `schedule`, `standoff`, `telling`. Only `io` touches the kernel and the API server.

pub mod args;
pub mod asking;
pub mod cilium;
pub mod claiming;
pub mod claims;
pub mod debug;
pub mod desired;
pub mod evaluating;
pub mod io;
pub mod metrics;
pub mod notices;
pub mod office;
pub mod peers;
pub mod provision;
pub mod responder;
pub mod run;
pub mod schedule;
pub mod seat;
pub mod standoff;
pub mod telling;
pub mod verdict;
