// SPDX-License-Identifier: Apache-2.0
//! A real cluster: pods on machines with kubelets, the chart installed by Helm, frames on a LAN.

mod cluster_changes;
mod cluster_images;
mod cluster_installation;
mod cluster_plugin;
mod cluster_rights;
