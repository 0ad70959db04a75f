// SPDX-License-Identifier: Apache-2.0
//! The command line: the one place where flags and environment are read.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum, builder::PossibleValuesParser};
use gateherald_model::injection::Outcome;

/// Shows why an address is reachable or not, and which field of which object mends it.
#[derive(Debug, Clone, Parser)]
#[command(name = "kubectl-gateherald", bin_name = "kubectl gateherald", version, max_term_width = 100)]
#[command(after_help = "Examples:
  kubectl gateherald check                           # is everything as it should be?
  kubectl gateherald flow gateway/cd-arp-gw -n prod  # from the Gateway to the interface
  kubectl gateherald vips --watch                    # who has which address

Exit codes: 0 nothing is wrong, 1 something is wrong, 2 it could not be asked.")]
pub struct Args {
    /// Which cluster, whose namespace.
    #[command(flatten)]
    pub global: Global,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command, named as kubectl's.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Cluster")]
pub struct Global {
    /// Kubeconfig file; without it, KUBECONFIG and ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; without it, the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,

    /// Look at this namespace alone; without it, at all of them, and names are looked up in the context's
    #[arg(short, long, global = true, value_name = "NAMESPACE", conflicts_with = "all_namespaces")]
    pub namespace: Option<String>,

    /// Look at all namespaces, which is the default
    #[arg(short = 'A', long, global = true)]
    pub all_namespaces: bool,

    /// Act as this user
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,

    /// Act as a member of this group; may be repeated
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub as_group: Vec<String>,

    /// Give up on a request after so many seconds
    #[arg(long, global = true, default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    pub request_timeout: Duration,

    /// Colours are off when this is set to anything
    #[arg(long, global = true, env = "NO_COLOR", hide = true, value_name = "ANY")]
    pub no_color: Option<String>,

    /// A terminal of this kind has no colours if it is `dumb`
    #[arg(long, global = true, env = "TERM", hide = true, value_name = "KIND")]
    pub term: Option<String>,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Check everything that an address needs, with a code and a page for each thing that is wrong
    #[command(after_help = "Examples:
  kubectl gateherald check
  kubectl gateherald check --wait 2m          # until nothing is wrong, for scripts after an installation
  kubectl gateherald check -o json | jq '.checks[] | select(.outcome == \"failed\")'

Read rights suffice. What needs more (a dry run, a port-forward, the API server's metrics) is skipped without the right, and
the line names it.")]
    Check(CheckArgs),

    /// Show the chain from Gateway to interface, and for each broken link what mends it
    #[command(after_help = "Examples:
  kubectl gateherald flow                            # everything
  kubectl gateherald flow gateway/cd-arp-gw -n prod
  kubectl gateherald flow 192.168.99.128 --watch
  kubectl gateherald flow -o svg > flow.svg
  kubectl gateherald flow --web                      # a live page, for the browser
  kubectl get gateway,svc,nodes,leases,ciliuml2announcementpolicies -A -o yaml | kubectl gateherald flow -f -")]
    Flow(FlowArgs),

    /// List the addresses: whose they are, and who has them
    #[command(after_help = "Examples:
  kubectl gateherald vips
  kubectl gateherald vips -o wide --watch
  kubectl gateherald vips -o name -n prod            # the addresses alone, one a line")]
    Vips(VipsArgs),

    /// Show what files would change: labels, addresses, problems that come and go; nothing is written
    #[command(after_help = "Examples:
  kubectl gateherald preview -f gateway.yaml
  kubectl gateherald preview -f manifests/ --offline # the files are the whole world
  kubectl gateherald preview -f label-rules.yaml     # rules as in the ConfigMap gateherald-label-rules

Exit code 1: problems would come by which an address is silent.")]
    Preview(PreviewArgs),

    /// Ask who answers for an address, by ARP or NDP from this machine's interfaces; the answer when a VIP cannot be pinged
    #[command(after_help = "Examples:
  sudo -E kubectl gateherald probe 192.168.99.128
  sudo -E kubectl gateherald probe fd00:99::128 --interface eth0 --count 5

Exit codes: 0 one host answers, 1 nobody does or several do, 2 it could not be asked. Packet sockets need the capability
NET_RAW, and Linux.")]
    Probe(ProbeArgs),

    /// Move an address to another node, and measure how long nobody held it
    #[command(after_help = "Examples:
  kubectl gateherald move 192.168.99.128 --to worker-2
  kubectl gateherald move 192.168.99.128 --to worker-2 --stay   # and prefer that node from now on")]
    Move(MoveArgs),

    /// Take all addresses off a node before its maintenance, and give it back afterwards
    #[command(after_help = "Examples:
  kubectl gateherald evacuate worker-1
  kubectl gateherald evacuate worker-1 --undo")]
    Evacuate(EvacuateArgs),

    /// Show the webhook's audit trail: which Service got which labels, and which not and why
    #[command(after_help = "Examples:
  kubectl gateherald audit --since 1h
  kubectl gateherald audit --follow -o json --gateway prod/cd-arp-gw
  kubectl gateherald audit --outcome lookup-failed --outcome annotations-full")]
    Audit(AuditArgs),

    /// Remove what Gateherald wrote on Services, after the chart was uninstalled
    #[command(after_help = "Examples:
  kubectl gateherald cleanup --dry-run
  kubectl gateherald cleanup --keep --yes            # leave the labels, forget that they were injected")]
    Cleanup(CleanupArgs),

    /// Candidates for the words on a command line, for kubectl's completion
    #[command(name = "__complete", hide = true)]
    Complete {
        /// The words so far, the last one unfinished.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// Where to look.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Input {
    /// Look at the objects of these files instead of a cluster; `-` is the standard input. Pages of an announcer's /vips count
    #[arg(short, long, value_name = "FILE")]
    pub filename: Vec<PathBuf>,
}

/// Flags of `check`.
#[derive(Debug, Clone, ClapArgs)]
pub struct CheckArgs {
    /// Where to look.
    #[command(flatten)]
    pub input: Input,

    /// How to write the result
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = CheckOutput::Full)]
    pub output: CheckOutput,

    /// Check again until nothing is wrong, for so long at the most, like `90s` or `2m`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
}

/// Formats of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// Every check, grouped
    Full,
    /// What is wrong, one line each
    Short,
    /// Everything, as JSON
    Json,
}

/// Flags of `flow`.
#[derive(Debug, Clone, ClapArgs)]
pub struct FlowArgs {
    /// A Gateway, a Service or an address: `gateway/NAME`, `service/NAME`, `NAME`, `192.168.99.128`; without it, everything
    #[arg(value_name = "SUBJECT")]
    pub subject: Option<String>,

    /// Where to look.
    #[command(flatten)]
    pub input: Input,

    /// How to write it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = FlowOutput::Tree)]
    pub output: FlowOutput,

    /// Show it anew whenever it changes
    #[arg(short, long, conflicts_with = "filename")]
    pub watch: bool,

    /// Only chains with a broken link
    #[arg(long)]
    pub broken: bool,

    /// Serve a page on this machine that shows it live
    #[arg(long, conflicts_with_all = ["filename", "watch", "output", "broken"])]
    pub web: bool,

    /// Where `--web` serves it; port 0 is any that is free
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS", requires = "web")]
    pub listen: SocketAddr,
}

/// Formats of chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FlowOutput {
    /// For the terminal
    Tree,
    /// Graphviz
    Dot,
    /// Mermaid
    Mermaid,
    /// The graph as JSON
    Json,
    /// A picture
    Svg,
    /// A page with the graph, search and details
    Html,
}

/// Flags of `vips`.
#[derive(Debug, Clone, ClapArgs)]
pub struct VipsArgs {
    /// A Gateway, a Service or an address; without it, all addresses
    #[arg(value_name = "SUBJECT")]
    pub subject: Option<String>,

    /// Where to look.
    #[command(flatten)]
    pub input: Input,

    /// How to write them
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = VipsOutput::Table)]
    pub output: VipsOutput,

    /// Write the rows that change, as they change
    #[arg(short, long, conflicts_with = "filename")]
    pub watch: bool,
}

/// Formats of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VipsOutput {
    /// A table
    Table,
    /// A table with pool, session, number of moves, and the first problem
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// The addresses alone
    Name,
}

/// Flags of `preview`.
#[derive(Debug, Clone, ClapArgs)]
pub struct PreviewArgs {
    /// Files or directories with Gateways, Services, policies, pools or label rules; `-` is the standard input
    #[arg(short, long, value_name = "FILE", required = true)]
    pub filename: Vec<PathBuf>,

    /// Ask no cluster: what no file speaks of is not there
    #[arg(long)]
    pub offline: bool,

    /// How to write it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = PreviewOutput::Text)]
    pub output: PreviewOutput,
}

/// Formats of a preview.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PreviewOutput {
    /// For people
    Text,
    /// JSON
    Json,
}

/// Flags of `probe`.
#[derive(Debug, Clone, ClapArgs)]
pub struct ProbeArgs {
    /// The address
    #[arg(value_name = "VIP")]
    pub vip: IpAddr,

    /// Ask on this interface; may be repeated; without it, on every one that is up and speaks ARP
    #[arg(short, long, value_name = "NAME")]
    pub interface: Vec<String>,

    /// How often to ask
    #[arg(short, long, default_value_t = 3, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub count: u16,

    /// How long to listen after each question
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = duration)]
    pub timeout: Duration,

    /// Ask from this node instead, `node/NAME`, through a port-forward to its announcer
    #[arg(long, value_name = "NODE", conflicts_with = "interface")]
    pub from: Option<String>,
}

/// Flags of `move`.
#[derive(Debug, Clone, ClapArgs)]
pub struct MoveArgs {
    /// The address
    #[arg(value_name = "VIP")]
    pub vip: IpAddr,

    /// The node that shall hold it
    #[arg(long, value_name = "NODE")]
    pub to: String,

    /// Prefer that node from now on; without it, the preference is taken away again after the move
    #[arg(long)]
    pub stay: bool,

    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,

    /// Wait so long for the move
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub timeout: Duration,
}

/// Flags of `evacuate`.
#[derive(Debug, Clone, ClapArgs)]
pub struct EvacuateArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: String,

    /// Let it announce again
    #[arg(long)]
    pub undo: bool,

    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,

    /// Wait so long until other nodes have its addresses
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration)]
    pub timeout: Duration,
}

/// Flags of `audit`.
#[derive(Debug, Clone, ClapArgs)]
pub struct AuditArgs {
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,

    /// Only what is younger, like `10m`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<Duration>,

    /// Only the last so many
    #[arg(long, value_name = "NUMBER", conflicts_with = "follow")]
    pub tail: Option<usize>,

    /// Only about this Service, `NAME` or `NAMESPACE/NAME`
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,

    /// Only about Services of this Gateway
    #[arg(long, value_name = "GATEWAY")]
    pub gateway: Option<String>,

    /// Only with this outcome; may be repeated
    #[arg(long, value_name = "OUTCOME", value_parser = PossibleValuesParser::new(Outcome::ALL.iter().map(|outcome| outcome.name())))]
    pub outcome: Vec<String>,

    /// Also dry runs
    #[arg(long)]
    pub dry_runs: bool,

    /// How to write it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = AuditOutput::Table)]
    pub output: AuditOutput,
}

/// Formats of the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuditOutput {
    /// A table
    Table,
    /// The lines as the webhook wrote them
    Json,
}

/// Flags of `cleanup`.
#[allow(clippy::struct_excessive_bools, reason = "flags are what they are")]
#[derive(Debug, Clone, ClapArgs)]
pub struct CleanupArgs {
    /// Only show what would be removed
    #[arg(long)]
    pub dry_run: bool,

    /// Leave labels and annotations that were injected, and forget that they were
    #[arg(long)]
    pub keep: bool,

    /// Even though the webhook is registered
    #[arg(long)]
    pub force: bool,

    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `30`, `30s`, `2m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration like 30s, 2m or 1h");
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    let number: u32 = digits.parse().map_err(|_| bad())?;
    Ok(Duration::from_secs(u64::from(number) * unit))
}

/// As kubectl's `--request-timeout`; 0 would wait for ever.
fn seconds(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() { Err("at least 1 s".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests;
