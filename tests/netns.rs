// SPDX-License-Identifier: Apache-2.0
//! Tests with real frames between network namespaces.

mod netns_announcer;
mod netns_lab;
