// SPDX-License-Identifier: Apache-2.0
//! A node: a namespace with a LAN interface and a management interface, a Node object, and the announcer.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::Client;

use crate::admin::{self, Response};
use crate::chart::NAMESPACE;
use crate::control_plane::API_ADDRESS;
use crate::frame::Mac;
use crate::harness::Bench;
use crate::kubeconfig;
use crate::lan::{LAN_LABEL, Lan, NODE_INTERFACE, Port, Segment};
use crate::netns::Netns;
use crate::patience::{self, LONG, Look};
use crate::process::Process;
use crate::programs::program;
use crate::sniffer::Sniffer;
use crate::standin::kubelet;

/// The announcer's ServiceAccount.
pub const ANNOUNCER_ACCOUNT: &str = "gateherald-announcer";
/// The API server as programs in a cluster reach it, on a node that has [`Node::balance`].
pub const SERVICE_URL: &str = "https://10.96.0.1:443";
const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const ADMIN_PORT: u16 = 9471;
/// Where an announcer serves `/vips`, on its node.
pub(crate) const DEBUG_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9472);

/// What a node shall be.
#[derive(Clone, Debug, Default)]
pub struct NodeSpec {
    /// The Node's name.
    pub name: String,
    /// Labels beside `kubernetes.io/hostname`, `kubernetes.io/os` and [`LAN_LABEL`].
    pub labels: BTreeMap<String, String>,
}

/// A node.
pub struct Node {
    name: String,
    netns: Netns,
    segment: Segment,
    port: Port,
    management: Ipv4Addr,
    kubeconfig: Option<PathBuf>,
    bench: Arc<Bench>,
    api: Client,
}

impl Node {
    pub(crate) async fn create(
        bench: Arc<Bench>,
        api: Client,
        segment: &Segment,
        lan: &str,
        spec: NodeSpec,
    ) -> anyhow::Result<Self> {
        let netns = Netns::new(&spec.name)?;
        let port = segment.plug(&netns, &spec.name, NODE_INTERFACE)?;
        let management = bench.plane.attach(&netns, "mgmt0")?;
        let mut labels = spec.labels;
        labels.insert(LAN_LABEL.to_owned(), lan.to_owned());
        kubelet::register(api.clone(), &spec.name, &labels, port.ip).await?;
        let kubeconfig = bench.plane.kubeconfig_of(NAMESPACE, ANNOUNCER_ACCOUNT).await.ok();
        Ok(Self {
            name: spec.name,
            netns,
            segment: segment.clone(),
            port,
            management,
            kubeconfig,
            bench,
            api,
        })
    }

    /// The Node object's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ethernet address of its LAN interface.
    pub fn mac(&self) -> Mac {
        self.port.mac
    }

    /// Its address on the LAN, which is also the InternalIP of the Node object.
    pub fn ip(&self) -> Ipv4Addr {
        self.port.ip
    }

    /// Its IPv6 address on the LAN.
    pub fn ip6(&self) -> Ipv6Addr {
        self.port.ip6
    }

    /// Its address on the management network.
    pub fn management_ip(&self) -> Ipv4Addr {
        self.management
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The kubeconfig of its announcer, with exactly the rights that the chart grants.
    ///
    /// # Errors
    /// When the chart was not installed when the node was made.
    pub fn kubeconfig(&self) -> anyhow::Result<&PathBuf> {
        self.kubeconfig
            .as_ref()
            .context("the chart is not installed, so there is no ServiceAccount for the announcer")
    }

    /// As [`Node::kubeconfig`], for the API server at another URL, such as a [`crate::gate::Gate`]'s.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn kubeconfig_through(&self, url: &str) -> anyhow::Result<PathBuf> {
        let own = self.kubeconfig()?;
        let copy = own.with_extension(format!("through-{}", self.bench.plane.next_number()));
        kubeconfig::elsewhere(own, url, &copy)
    }

    /// Each new connection from here to [`SERVICE_URL`] goes to one of the API servers at these ports, by chance, as by
    /// kube-proxy.
    ///
    /// # Errors
    /// With what `ip` or `nft` wrote.
    pub fn balance(&self, ports: [u16; 2]) -> anyhow::Result<()> {
        let [first, second] = ports;
        // The source address is chosen before the destination is changed.
        self.netns.ip(&format!("route add {SERVICE_ADDRESS}/32 dev mgmt0"))?;
        self.netns.nft(&format!(
            "table ip balance {{
                chain output {{
                    type nat hook output priority -100;
                    ip daddr {SERVICE_ADDRESS} tcp dport 443 dnat to numgen random mod 2 map {{
                        0 : {API_ADDRESS} . {first}, 1 : {API_ADDRESS} . {second}
                    }}
                }}
            }}"
        ))
    }

    /// From here on what this node sends to the API server at `port` vanishes, or arrives again.
    ///
    /// # Errors
    /// With what `nft` wrote.
    pub fn black_hole(&self, port: u16, vanishes: bool) -> anyhow::Result<()> {
        let rule = format!("ip daddr {API_ADDRESS} tcp dport {port} drop");
        let rule = if vanishes { rule } else { String::new() };
        // Declared first, so that there is something to delete.
        self.netns.nft(&format!(
            "table ip hole {{}}
            delete table ip hole
            table ip hole {{
                chain output {{
                    type filter hook output priority 0
                    {rule}
                }}
            }}"
        ))
    }

    /// Another place that claims to be this node: a network namespace of its own with links of its own, as a container gets
    /// that was not given the host's network.
    ///
    /// # Errors
    /// When the kernel refuses a link.
    pub fn twin(&self) -> anyhow::Result<Self> {
        let netns = Netns::new(&format!("{}-twin", self.name))?;
        let port = self.segment.plug(&netns, &format!("{}-twin", self.name), NODE_INTERFACE)?;
        let management = self.bench.plane.attach(&netns, "mgmt0")?;
        Ok(Self {
            name: self.name.clone(),
            netns,
            segment: self.segment.clone(),
            port,
            management,
            kubeconfig: self.kubeconfig.clone(),
            bench: Arc::clone(&self.bench),
            api: self.api.clone(),
        })
    }

    /// Takes the LAN cable out: the carrier goes; the management network stays.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut_link(&self) -> anyhow::Result<()> {
        self.segment.set_link(&self.port, false)
    }

    /// Puts the LAN cable back.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn restore_link(&self) -> anyhow::Result<()> {
        self.segment.set_link(&self.port, true)
    }

    /// Cuts the LAN off silently: frames go nowhere, and the interface keeps its carrier.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn isolate(&self) -> anyhow::Result<()> {
        self.segment.set_member(&self.port, false)
    }

    /// Ends what [`Node::isolate`] began.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn rejoin(&self) -> anyhow::Result<()> {
        self.segment.set_member(&self.port, true)
    }

    /// Gives the LAN interface another Ethernet address, as a driver or an administrator may.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn change_mac(&mut self, mac: Mac) -> anyhow::Result<()> {
        self.netns.ip(&format!("link set {NODE_INTERFACE} address {mac}"))?;
        self.port.mac = mac;
        Ok(())
    }

    /// Takes the LAN interface out of the machine and puts another one in its place: another index, Ethernet address and
    /// address, the same name.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn replace_link(&mut self) -> anyhow::Result<()> {
        self.netns.ip(&format!("link del {NODE_INTERFACE}"))?;
        self.port = self.segment.plug(&self.netns, &self.name, NODE_INTERFACE)?;
        Ok(())
    }

    /// Makes the LAN interface a member of a bridge `master` of the node, which has the addresses from then on and an
    /// Ethernet address of its own.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enslave_link(&self, master: &str, mac: Mac) -> anyhow::Result<()> {
        let (ip, ip6) = (self.port.ip, self.port.ip6);
        self.netns.add_bridge(master, mac)?;
        for line in [
            format!("addr flush dev {NODE_INTERFACE} scope global"),
            format!("link set {NODE_INTERFACE} master {master}"),
            format!("addr add {ip}/24 dev {master}"),
            format!("addr add {ip6}/64 dev {master} nodad"),
            format!("link set {master} up"),
        ] {
            self.netns.ip(&line)?;
        }
        Ok(())
    }

    /// Plugs the node into a second LAN; the result is the Ethernet address of `interface`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn plug_into(&self, lan: &Lan, interface: &str) -> anyhow::Result<Mac> {
        Ok(lan.segment().plug_beside(&self.netns, &self.name, interface)?.mac)
    }

    /// Takes the management interface down, or up: without it the node does not reach the API server.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_management_link(&self, up: bool) -> anyhow::Result<()> {
        self.netns.ip(&format!("link set mgmt0 {}", if up { "up" } else { "down" })).map(drop)
    }

    /// Captures the ARP frames that reach or leave its LAN interface.
    ///
    /// # Errors
    /// When the capture can't be started.
    pub fn sniff(&self) -> anyhow::Result<Sniffer> {
        Sniffer::on(&self.netns, NODE_INTERFACE)
    }

    /// Sets and removes (`None`) labels of the Node object.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn label(&self, labels: &[(&str, Option<&str>)]) -> anyhow::Result<()> {
        kubelet::label(self.api.clone(), &self.name, labels).await
    }

    /// Sets a condition of the Node object, such as `NetworkUnavailable`.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn set_condition(&self, kind: &str, status: bool) -> anyhow::Result<()> {
        kubelet::set_condition(self.api.clone(), &self.name, kind, status).await
    }

    /// Deletes the Node object.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn delete_object(&self) -> anyhow::Result<()> {
        kubelet::delete(self.api.clone(), &self.name).await
    }

    /// Starts the announcer with `args` beside the usual ones, and waits until it is ready.
    ///
    /// # Errors
    /// When it exits or is not ready within a minute.
    pub async fn run_announcer(&self, args: &[&str]) -> anyhow::Result<Announcer> {
        let announcer = self.start_announcer(args)?;
        announcer.wait_ready().await?;
        Ok(announcer)
    }

    /// As [`Node::run_announcer`], without waiting.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_announcer(&self, args: &[&str]) -> anyhow::Result<Announcer> {
        self.start_announcer_as(&Privilege::NetRaw, self.kubeconfig()?, args)
    }

    /// Starts any command on the node, by `sh -c`, as root. It finds in its environment `NODE_NAME`, `NODE_IP` and `INTERFACE`
    /// (the node's on the LAN), `KUBECONFIG` (an administrator's), `SHARED` (a directory that all nodes see), and `env`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_command(&self, command: &str, env: &[(&str, String)]) -> anyhow::Result<Process> {
        let args = vec!["-c".to_owned(), command.to_owned()];
        let mut spec =
            self.bench.spec(&format!("{}.command", self.name), PathBuf::from("sh"), args, &self.netns);
        let shared = self.bench.plane.state().path().join("shared");
        std::fs::create_dir_all(&shared)?;
        let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let usual = [
            ("NODE_NAME", self.name.clone()),
            ("NODE_IP", self.port.ip.to_string()),
            ("INTERFACE", NODE_INTERFACE.to_owned()),
            ("KUBECONFIG", path(self.bench.plane.kubeconfig())),
            ("SHARED", path(&shared)),
        ];
        let env = usual.iter().chain(env).map(|(name, value)| ((*name).to_owned(), value.clone()));
        spec.env = env.collect();
        Process::start(spec)
    }

    /// Starts the announcer with other privileges or another identity.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_announcer_as(
        &self,
        privilege: &Privilege,
        kubeconfig: &std::path::Path,
        args: &[&str],
    ) -> anyhow::Result<Announcer> {
        let mut command: Vec<String> = Vec::new();
        command.push("--no-new-privs".to_owned());
        command.push(match privilege {
            // What the DaemonSet grants: drop ALL, add NET_RAW.
            Privilege::NetRaw => "--bounding-set=-all,+net_raw".to_owned(),
            Privilege::None => "--bounding-set=-all".to_owned(),
        });
        command.push(program("gateherald-announcer")?.to_string_lossy().into_owned());
        let kubeconfig = kubeconfig.to_string_lossy();
        let usual = ["--node-name", &self.name, "--namespace", NAMESPACE, "--kubeconfig", &kubeconfig];
        let admin = ["--log-format", "text", "--admin-listen", "0.0.0.0:9471"];
        command.extend(usual.iter().chain(&admin).chain(args).map(|&arg| arg.to_owned()));
        let name = format!("{}.announcer", self.name);
        let spec = self.bench.spec(&name, PathBuf::from("setpriv"), command, &self.netns);
        let process = Process::start(spec)?;
        Ok(Announcer { process, netns: self.netns.clone(), admin: (self.management, ADMIN_PORT).into() })
    }
}

/// What a started announcer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Root in the container with the one capability that the chart gives.
    NetRaw,
    /// Root without any capability.
    None,
}

/// A running announcer. Dropping it sends SIGTERM, later SIGKILL.
#[derive(Debug)]
pub struct Announcer {
    process: Process,
    netns: Netns,
    admin: SocketAddr,
}

impl Announcer {
    /// The process: to terminate, kill, freeze, thaw, restart, and read its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Waits until /ready answers 200.
    ///
    /// # Errors
    /// When it exits or is not ready within a minute.
    pub async fn wait_ready(&self) -> anyhow::Result<()> {
        wait_ready(&self.process, &self.netns, self.admin, LONG).await
    }

    /// GETs a path of the admin port: `/ready`, `/live`, `/metrics`.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn get(&self, path: &str) -> anyhow::Result<Response> {
        admin::get(&self.netns, self.admin, path).await
    }

    /// GETs a path of the debug port, which listens on the node's loopback only: `/vips`.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn debug(&self, path: &str) -> anyhow::Result<Response> {
        admin::get(&self.netns, DEBUG_ADDRESS, path).await
    }

    /// What `/vips` says, as JSON.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn vips(&self) -> anyhow::Result<serde_json::Value> {
        let response = self.debug("/vips").await?;
        serde_json::from_str(&response.body).with_context(|| format!("/vips: {}", response.body))
    }
}

/// Waits until `/ready` at `admin` answers 200.
pub(crate) async fn wait_ready(
    process: &Process,
    netns: &Netns,
    admin: SocketAddr,
    within: Duration,
) -> anyhow::Result<()> {
    patience::until(&format!("{} is ready", process.name()), within, async || {
        if !process.is_running() {
            bail!("{} exited\n{}", process.name(), process.log_tail(20));
        }
        Ok(match admin::get(netns, admin, "/ready").await {
            Ok(response) if response.status == 200 => Look::Found(()),
            Ok(response) => Look::NotYet(format!("{} {}", response.status, response.body.trim())),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await
}
