// SPDX-License-Identifier: Apache-2.0
//! `/config`: what the process runs with, defaults included.

use serde::Serialize;

use super::VERSION;
use crate::{
    args::{Announcing, Args, Balancing, CiliumPolicies, Outage},
    claims::Config,
};
use gateherald_model::announcement::{CILIUM_CLASS, GATEHERALD_CLASS};

/// The page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    version: u32,
    program: &'static str,
    node: String,
    namespace: String,
    owner_config_map: String,
    admin_listen: String,
    debug_listen: String,
    kubeconfig: Option<String>,
    log_level: String,
    claims: Claims,
    announcing: What,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    lease_duration_seconds: u32,
    renew_period_milliseconds: u128,
    /// A renewal keeps the node fresh for so long: the lease duration less the margin.
    fresh_for_milliseconds: u128,
    hedge_after_milliseconds: u128,
    on_api_outage: &'static str,
    rebalance: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct What {
    cilium_policies: &'static str,
    cilium_namespace: String,
    external_ip_cidrs: Vec<String>,
    load_balancer_classes: Vec<String>,
    honor_exclude_label: bool,
}

pub(super) fn page(args: &Args, log_level: String) -> Page {
    Page {
        version: VERSION,
        program: env!("CARGO_PKG_VERSION"),
        node: args.node_name.clone(),
        namespace: args.namespace.clone(),
        owner_config_map: args.owner_configmap.clone(),
        admin_listen: args.admin_listen.to_string(),
        debug_listen: args.debug_listen.to_string(),
        kubeconfig: args.kube.kubeconfig.as_ref().map(|path| path.display().to_string()),
        log_level,
        claims: claims(&args.config(), args),
        announcing: what(&args.announcing),
    }
}

fn claims(config: &Config, args: &Args) -> Claims {
    Claims {
        lease_duration_seconds: config.duration_seconds,
        renew_period_milliseconds: config.renew_period.as_millis(),
        fresh_for_milliseconds: config.freshness().as_millis(),
        hedge_after_milliseconds: config.hedge_after().as_millis(),
        on_api_outage: match args.timing.on_api_outage {
            Outage::Hold => "hold",
            Outage::Fence => "fence",
        },
        rebalance: match args.timing.rebalance {
            Balancing::Off => "off",
            Balancing::Slow => "slow",
        },
    }
}

fn what(announcing: &Announcing) -> What {
    let classes = [CILIUM_CLASS, GATEHERALD_CLASS].into_iter().map(str::to_owned);
    What {
        cilium_policies: match announcing.cilium_policies {
            CiliumPolicies::Auto => "auto",
            CiliumPolicies::Always => "always",
            CiliumPolicies::Never => "never",
        },
        cilium_namespace: announcing.cilium_namespace.clone(),
        external_ip_cidrs: announcing.external_ip_cidrs.iter().map(ToString::to_string).collect(),
        load_balancer_classes: classes.chain(announcing.load_balancer_classes.iter().cloned()).collect(),
        honor_exclude_label: announcing.honor_exclude_label,
    }
}

#[cfg(test)]
mod tests;
