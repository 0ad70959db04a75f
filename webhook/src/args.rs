// SPDX-License-Identifier: Apache-2.0
//! The command line; nothing else reads flags or the environment.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use gateherald_certs::args::CertificateArgs;
use gateherald_runtime::{election::ElectionArgs, kubernetes::KubeArgs, logging::LogArgs};
use serde::Serialize;

/// Copies the labels of Gateways onto the Services that their controllers generate.
#[derive(Parser, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[command(name = "gateherald-webhook", version)]
pub struct Args {
    /// Address of the admission port (TLS)
    #[arg(long, default_value = "0.0.0.0:8443", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// Address of the admin port (/live, /ready, /metrics, /config)
    #[arg(long, default_value = "0.0.0.0:9470", value_name = "ADDRESS")]
    pub admin_listen: SocketAddr,

    /// Namespace of the release
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,

    /// Service by which the API server reaches this program
    #[arg(long, default_value = "gateherald-webhook", value_name = "NAME")]
    pub service_name: String,

    /// Webhook configuration whose CA bundle this program keeps
    #[arg(long, default_value = "gateherald-webhook", value_name = "NAME")]
    pub webhook_configuration: String,

    /// ConfigMap that owns what this program creates
    #[arg(long, default_value = "gateherald-owner", value_name = "NAME")]
    pub owner_configmap: String,

    /// Certificates.
    #[command(flatten)]
    #[serde(flatten)]
    pub certificates: CertificateArgs,

    /// YAML file with the label rules, read again when it changes; without it the default rules decide
    #[arg(long, value_name = "PATH")]
    pub label_rules: Option<PathBuf>,

    /// Which reviews get an audit line on stdout
    #[arg(long, value_enum, default_value_t = AuditArg::Changes, value_name = "WHICH")]
    pub audit: AuditArg,

    /// Repairing what reviews missed.
    #[command(flatten)]
    #[serde(flatten)]
    pub reconciling: ReconcileArgs,

    /// Seconds from SIGTERM to the end of serving: as long as the API server may go on calling a pod that is no longer ready
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(0..=300))]
    pub drain_seconds: u16,

    /// The API server.
    #[command(flatten)]
    #[serde(flatten)]
    pub kube: KubeArgs,

    /// The diagnostic log.
    #[command(flatten)]
    #[serde(flatten)]
    pub log: LogArgs,

    /// Something else than serving.
    #[command(subcommand)]
    #[serde(skip)]
    pub command: Option<Command>,
}

/// What else the program does; `--namespace` and the flags of API server and log stand before it.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Ask an installation whether it works, and exit with 1 if it does not
    SelfTest(SelfTestArgs),
}

/// What is asked.
#[derive(ClapArgs, Clone, Debug)]
pub struct SelfTestArgs {
    /// Namespace for a Gateway whose Service is created as a dry run; the webhook is not asked without it
    #[arg(long, value_name = "NAMESPACE")]
    pub gateway_namespace: Option<String>,

    /// Label of that Gateway that its Service must get
    #[arg(long, default_value = "gateherald-self-test", value_name = "KEY")]
    pub label: String,

    /// `DaemonSet` that must be ready on all its nodes; none is asked about without it
    #[arg(long, value_name = "NAME")]
    pub announcer: Option<String>,

    /// Seconds to wait for either
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub timeout: u16,
}

/// Which reviews get an audit line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditArg {
    /// Those that changed something or could not.
    Changes,
    /// Those of every Service that a Gateway owns.
    All,
}

/// Flags of the reconciler.
#[derive(ClapArgs, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReconcileArgs {
    /// What is done about Services whose labels are not their Gateway's
    #[arg(long, value_enum, default_value_t = ReconcileArg::Repair, value_name = "MODE")]
    pub reconcile: ReconcileArg,

    /// Most Services that are patched at once
    #[arg(long, default_value_t = 8, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub reconcile_in_flight: u16,

    /// Most Services that are patched per second
    #[arg(long, default_value_t = 200, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub reconcile_rate: u32,

    /// Name of this replica in Lease and Events; the host's name by default
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,

    /// Who of several replicas does it.
    #[command(flatten)]
    #[serde(flatten)]
    pub election: ElectionArgs,
}

/// What is done about drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReconcileArg {
    /// It is repaired.
    Repair,
    /// It is told, by metric and Event.
    Report,
    /// Nobody looks.
    Off,
}
