// SPDX-License-Identifier: Apache-2.0
//! Stands in for the part of Cilium's installation that makes `CiliumL2AnnouncementPolicy` known to the API server.

use crate::control_plane::ControlPlane;

const POLICY_KIND: &str = include_str!("cilium/ciliuml2announcementpolicies.yaml");

/// Installs the CRD, and waits until it is served.
///
/// # Errors
/// With kubectl's message.
pub async fn install_policy_kind(plane: &ControlPlane) -> anyhow::Result<()> {
    plane.apply(POLICY_KIND).await?;
    let name = "crd/ciliuml2announcementpolicies.cilium.io";
    plane.kubectl(&["wait", "--for=condition=Established", name, "--timeout=60s"]).await.map(drop)
}
