// SPDX-License-Identifier: Apache-2.0
//! The command line: the one place where flags and environment are read.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use gateherald_runtime::{election::ElectionArgs, kubernetes::KubeArgs, logging::LogArgs};
use ipnet::IpNet;

use crate::claims::{Config, OnOutage, Rebalance};

/// Answers ARP and NDP for the addresses of Kubernetes Services, on exactly one node at a time.
#[derive(Debug, Clone, Parser)]
#[command(name = "gateherald-announcer", version)]
pub struct Args {
    /// Name of the Node that this runs on
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,

    /// Namespace of the Leases, the one of the release
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,

    /// `ConfigMap` that owns every Lease, so that uninstalling removes them
    #[arg(long, default_value = "gateherald-owner", value_name = "NAME")]
    pub owner_configmap: String,

    /// Where /live, /ready and /metrics are served; an IPv6 address may go without brackets
    #[arg(long, default_value = "0.0.0.0:9471", value_name = "ADDRESS", value_parser = listening)]
    pub admin_listen: SocketAddr,

    /// Where /vips is served
    #[arg(long, default_value_t = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9472)), value_name = "ADDRESS")]
    pub debug_listen: SocketAddr,

    /// How long an address can have no owner after a crash.
    #[command(flatten)]
    pub timing: Timing,

    /// What is announced.
    #[command(flatten)]
    pub announcing: Announcing,

    /// Which announcer tells of the whole cluster.
    #[command(flatten)]
    pub election: ElectionArgs,

    /// The API server.
    #[command(flatten)]
    pub kube: KubeArgs,

    /// The diagnostic log.
    #[command(flatten)]
    pub log: LogArgs,

    /// Something else than announcing.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else the program does; the flags above stand before it.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Apply policies of a file, delete those of an earlier version of it, and exit
    ApplyPolicies(ApplyArgs),
}

/// Policies to apply.
#[derive(Debug, Clone, ClapArgs)]
pub struct ApplyArgs {
    /// JSON list of objects with `name` and `spec`
    #[arg(long, value_name = "PATH")]
    pub file: PathBuf,

    /// `ClusterRole` that owns the policies: they go with it
    #[arg(long, value_name = "NAME")]
    pub owner: String,

    /// Seconds to wait for the kind to be served
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub timeout: u16,
}

/// Lease times; whether they fit together is for [`crate::claims::Config::validate`] to say.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct Timing {
    /// Seconds after which a silent node has lost its addresses
    #[arg(long, default_value_t = 4, value_name = "SECONDS", value_parser = whole_seconds)]
    pub lease_duration: u32,

    /// Pause between renewals of the node's session, like `1s` or `500ms`
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = duration)]
    pub renew_period: Duration,

    /// What happens to held addresses while the API server is away: `hold` answers on until another host is heard, `fence`
    /// falls silent
    #[arg(long, value_enum, default_value_t = Outage::Hold, value_name = "WHAT")]
    pub on_api_outage: Outage,

    /// Whether addresses move without need: `slow` is one every 10 s, to the node that has fewest
    #[arg(long, value_enum, default_value_t = Balancing::Off, value_name = "HOW")]
    pub rebalance: Balancing,

    /// Whether an address that no announcer has had before is probed for first, so that one that another host uses is left
    /// alone; `off` makes such an address answer about 25 ms sooner
    #[arg(long, value_enum, default_value_t = Switch::On, value_name = "WHETHER")]
    pub duplicate_address_probe: Switch,
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// What happens to held addresses while the API server is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Outage {
    /// They are answered for until another host is heard.
    Hold,
    /// They fall silent when the session's deadline has passed.
    Fence,
}

/// Whether addresses move without need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Balancing {
    /// No.
    Off,
    /// One at a time.
    Slow,
}

/// What may be announced.
#[derive(Debug, Clone, ClapArgs)]
pub struct Announcing {
    /// Whether policies of Cilium's kind are honoured; `auto`: unless Cilium announces itself
    #[arg(long, value_enum, default_value_t = CiliumPolicies::Auto, value_name = "WHEN")]
    pub cilium_policies: CiliumPolicies,

    /// Namespace of the `ConfigMap` cilium-config and of Cilium's Leases
    #[arg(long, default_value = "kube-system", value_name = "NAMESPACE")]
    pub cilium_namespace: String,

    /// Networks in which external IPs are announced for policies of Cilium's kind; none by default
    #[arg(long, value_delimiter = ',', value_name = "CIDR,…")]
    pub external_ip_cidrs: Vec<IpNet>,

    /// Further values of spec.loadBalancerClass that are announced
    #[arg(long, value_delimiter = ',', value_name = "CLASS,…")]
    pub load_balancer_classes: Vec<String>,

    /// Announce nothing from Nodes labelled node.kubernetes.io/exclude-from-external-load-balancers
    #[arg(long)]
    pub honor_exclude_label: bool,
}

/// When policies of Cilium's kind are honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CiliumPolicies {
    /// When nothing says that Cilium answers for them itself.
    Auto,
    /// In any case.
    Always,
    /// In no case.
    Never,
}

impl Args {
    /// The claims' part of it.
    pub fn config(&self) -> Config {
        Config {
            node: self.node_name.clone(),
            duration_seconds: self.timing.lease_duration,
            renew_period: self.timing.renew_period,
            on_outage: match self.timing.on_api_outage {
                Outage::Hold => OnOutage::Hold,
                Outage::Fence => OnOutage::Fence,
            },
            rebalance: match self.timing.rebalance {
                Balancing::Off => Rebalance::Off,
                Balancing::Slow => Rebalance::Slow,
            },
            probe_new: self.timing.duplicate_address_probe == Switch::On,
        }
    }
}

/// `192.0.2.1:9471`, `[2001:db8::1]:9471` or, as a manifest joins a node's address and a port, `2001:db8::1:9471`.
fn listening(text: &str) -> Result<SocketAddr, String> {
    let joined = || {
        let (address, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port.parse().ok()?))
    };
    let explain = || format!("{text:?} is no address with a port, like 192.0.2.1:9471");
    text.parse().ok().or_else(joined).ok_or_else(explain)
}

/// `2`, `2s` or `1500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let number =
        |digits: &str| digits.parse::<u32>().map_err(|_| format!("{text:?} is no duration like 1s or 500ms"));
    Ok(match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => Duration::from_millis(number(digits)?.into()),
        (None, Some(digits)) => Duration::from_secs(number(digits)?.into()),
        (None, None) => Duration::from_secs(number(text)?.into()),
    })
}

/// `4` or `4s`; a Lease tells whole seconds only.
fn whole_seconds(text: &str) -> Result<u32, String> {
    let digits = text.strip_suffix('s').unwrap_or(text);
    digits.parse().map_err(|_| format!("{text:?} is no whole number of seconds, like 4 or 4s"))
}

#[cfg(test)]
mod tests;
