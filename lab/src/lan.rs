// SPDX-License-Identifier: Apache-2.0
//! A LAN: a bridge whose own address is the router, nodes, and hosts that ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::Context;
use kube::Client;

use crate::frame::{Arp, Mac, Ndp};
use crate::harness::Bench;
use crate::netns::Netns;
use crate::node::{Node, NodeSpec};
use crate::packet::PacketSocket;
use crate::sniffer::{Ports, Sniffer};

/// The label that each node of a LAN carries, with the LAN's name: a policy's nodeSelector keeps tests apart by it.
pub const LAN_LABEL: &str = "lab.gateherald.io/lan";
/// The interface of a node on its LAN.
pub const NODE_INTERFACE: &str = "ens18";
/// The interface of other hosts on a LAN.
pub const HOST_INTERFACE: &str = "eth0";

/// A broadcast domain `192.168.n.0/24` and `fd00:0:0:n::/64`.
pub struct Lan {
    name: String,
    segment: Segment,
    client: LanHost,
    bench: Arc<Bench>,
    api: Client,
    next_node: AtomicU8,
}

/// The bridge and who is plugged in.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    netns: Netns,
    octet: u8,
    ports: Ports,
    next_host: Arc<AtomicU8>,
}

/// Where a host is plugged in.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) mac: Mac,
    pub(crate) ip: Ipv4Addr,
    pub(crate) ip6: Ipv6Addr,
}

impl Lan {
    pub(crate) fn create(bench: Arc<Bench>, api: Client, name: &str, octet: u8) -> anyhow::Result<Self> {
        let netns = Netns::new(name)?;
        let segment =
            Segment { netns, octet, ports: Ports::default(), next_host: Arc::new(AtomicU8::new(10)) };
        segment.netns.add_bridge("br0", segment.mac(1))?;
        segment.netns.ip(&format!("addr add {}/24 dev br0", segment.address(1)))?;
        segment.netns.ip(&format!("addr add {}/64 dev br0 nodad", segment.address6(1)))?;
        segment.netns.ip("link set br0 up")?;
        let client = LanHost::plug(&segment, "client")?;
        Ok(Self { name: name.to_owned(), segment, client, bench, api, next_node: AtomicU8::new(1) })
    }

    /// Its name: the value of [`LAN_LABEL`] on its nodes, and the prefix of their names.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address 192.168.n.`host`. Hosts and nodes get 10 to 99; take VIPs from 100 on.
    pub fn address(&self, host: u8) -> Ipv4Addr {
        self.segment.address(host)
    }

    /// The address `fd00:0:0:n::host`, by the same rules as [`Lan::address`].
    pub fn address6(&self, host: u16) -> Ipv6Addr {
        self.segment.address6(host)
    }

    /// From here on the switch sends IPv6 groups only to ports that asked for them by MLD.
    ///
    /// # Errors
    /// When the kernel's bridge cannot do that.
    pub fn snoop(&self) -> anyhow::Result<()> {
        // Without a querier on the LAN a bridge floods groups that it should not.
        self.segment.netns.ip("link set br0 type bridge mcast_snooping 1 mcast_querier 1").map(drop)
    }

    /// The nodes' default gateway, which is the bridge itself.
    pub fn router(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// The host `client`, which asks and runs arping.
    pub fn client(&self) -> &LanHost {
        &self.client
    }

    /// Plugs another host in.
    ///
    /// # Errors
    /// When the kernel refuses a link.
    pub fn add_host(&self, name: &str) -> anyhow::Result<LanHost> {
        LanHost::plug(&self.segment, name)
    }

    /// Adds a node `<lan>-n<number>` with a Ready Node object.
    ///
    /// # Errors
    /// When the kernel refuses a link, and those of the API server.
    pub async fn add_node(&self) -> anyhow::Result<Node> {
        let number = self.next_node.fetch_add(1, Ordering::Relaxed);
        self.add_node_with(NodeSpec { name: format!("{}-n{number}", self.name), ..NodeSpec::default() }).await
    }

    /// Adds a node with this name and these labels beside the usual ones.
    ///
    /// # Errors
    /// As [`Lan::add_node`].
    pub async fn add_node_with(&self, spec: NodeSpec) -> anyhow::Result<Node> {
        Node::create(Arc::clone(&self.bench), self.api.clone(), &self.segment, &self.name, spec).await
    }

    /// Captures each ARP frame that a node or host sends on the LAN, once, with the sender's name as its port.
    ///
    /// # Errors
    /// When the capture can't be started.
    pub fn sniff(&self) -> anyhow::Result<Sniffer> {
        Sniffer::on_ports(&self.segment.netns, Arc::clone(&self.segment.ports))
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The namespace of the bridge.
    pub fn netns(&self) -> &Netns {
        &self.segment.netns
    }
}

impl Segment {
    pub(crate) fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, self.octet, host)
    }

    pub(crate) fn address6(&self, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0, 0, u16::from(self.octet), 0, 0, 0, host)
    }

    /// A locally administered prefix that is easy to tell apart in a capture.
    fn mac(&self, host: u8) -> Mac {
        Mac([0x52, 0x54, 0, 0x0a, self.octet, host])
    }

    /// Connects `interface` of `netns` to the bridge, with addresses and the router as its default gateway.
    pub(crate) fn plug(&self, netns: &Netns, name: &str, interface: &str) -> anyhow::Result<Port> {
        let port = self.plug_beside(netns, name, interface)?;
        netns.ip(&format!("route add default via {} dev {interface}", self.address(1)))?;
        Ok(port)
    }

    /// Connects `interface` of `netns` to the bridge, with addresses.
    pub(crate) fn plug_beside(&self, netns: &Netns, name: &str, interface: &str) -> anyhow::Result<Port> {
        let host = self.next_host.fetch_add(1, Ordering::Relaxed);
        let ip = self.address(host);
        let mac = self.mac(host);
        let port = format!("p{host}");
        self.netns.ip(&format!(
            "link add {port} type veth peer name {interface} address {mac} netns {}",
            netns.path()
        ))?;
        let index = self.netns.enter(|| Ok(nix::net::if_::if_nametoindex(port.as_str())?))?;
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).insert(index, name.to_owned());
        self.netns.ip(&format!("link set {port} master br0 up"))?;
        netns.ip(&format!("addr add {ip}/24 dev {interface}"))?;
        let ip6 = self.address6(u16::from(host));
        netns.ip(&format!("addr add {ip6}/64 dev {interface} nodad"))?;
        netns.ip(&format!("link set {interface} up"))?;
        Ok(Port { name: port, mac, ip, ip6 })
    }

    /// Takes the cable out, or puts it back: the other side sees its carrier go and come.
    pub(crate) fn set_link(&self, port: &Port, up: bool) -> anyhow::Result<()> {
        self.netns.ip(&format!("link set {} {}", port.name, if up { "up" } else { "down" })).map(drop)
    }

    /// Takes the port out of the bridge, or puts it back: nothing passes, and the carrier stays.
    pub(crate) fn set_member(&self, port: &Port, member: bool) -> anyhow::Result<()> {
        self.netns
            .ip(&format!("link set {} {}", port.name, if member { "master br0" } else { "nomaster" }))
            .map(drop)
    }
}

/// A host on a LAN that is not a node.
#[derive(Debug)]
pub struct LanHost {
    netns: Netns,
    port: Port,
    socket: Arc<PacketSocket>,
}

impl LanHost {
    fn plug(segment: &Segment, name: &str) -> anyhow::Result<Self> {
        let netns = Netns::new(name)?;
        let port = segment.plug(&netns, name, HOST_INTERFACE)?;
        let socket = Arc::new(PacketSocket::open(&netns, Some(HOST_INTERFACE))?);
        Ok(Self { netns, port, socket })
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> Mac {
        self.port.mac
    }

    /// Its address on the LAN.
    pub fn ip(&self) -> Ipv4Addr {
        self.port.ip
    }

    /// Its IPv6 address on the LAN.
    pub fn ip6(&self) -> Ipv6Addr {
        self.port.ip6
    }

    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Captures the ARP, NDP and MLD frames that reach or leave this host.
    ///
    /// # Errors
    /// When the capture can't be started.
    pub fn sniff(&self) -> anyhow::Result<Sniffer> {
        Sniffer::on(&self.netns, HOST_INTERFACE)
    }

    /// Sends any bytes as a frame: malformed, tagged, with a foreign source.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn send(&self, frame: &[u8]) -> anyhow::Result<()> {
        self.socket.send(frame)
    }

    /// The plain broadcast request of this host for `address`.
    pub fn request(&self, address: Ipv4Addr) -> Arp {
        Arp::request(self.mac(), self.ip(), address)
    }

    /// Asks who has `address`, again every 50 ms, until somebody answers.
    ///
    /// # Errors
    /// When nobody answers `within` the time.
    pub async fn ask(&self, address: Ipv4Addr, within: Duration) -> anyhow::Result<Arp> {
        let sniffer = self.sniff()?;
        let _asking = self.ask_every(Duration::from_millis(50), &[address]);
        let me = self.mac();
        let wanted = |arp: &Arp| arp.answers(address) && arp.destination == me;
        let frame = sniffer.wait_for(within, |frame| frame.arp().as_ref().is_some_and(wanted)).await;
        frame.with_context(|| format!("who has {address}"))?.arp().context("an ARP frame")
    }

    /// The plain solicitation of this host for `address`.
    pub fn solicit(&self, address: Ipv6Addr) -> Ndp {
        Ndp::solicit(self.mac(), self.ip6(), address)
    }

    /// As [`LanHost::ask`], by neighbour discovery.
    ///
    /// # Errors
    /// When nobody answers `within` the time.
    pub async fn ask6(&self, address: Ipv6Addr, within: Duration) -> anyhow::Result<Ndp> {
        let sniffer = self.sniff()?;
        let _asking = self.repeat(Duration::from_millis(50), vec![self.solicit(address).bytes()]);
        let me = self.mac();
        let wanted = |ndp: &Ndp| ndp.answers(address) && ndp.destination == me;
        let frame = sniffer.wait_for(within, |frame| frame.ndp().as_ref().is_some_and(wanted)).await;
        frame.with_context(|| format!("who has {address}"))?.ndp().context("an NDP frame")
    }

    /// Has the host's own kernel find the neighbour, by sending it a datagram.
    ///
    /// # Errors
    /// When there is no route to it.
    pub fn send_datagram(&self, address: IpAddr) -> anyhow::Result<()> {
        self.netns.enter(|| {
            let any: SocketAddr = if address.is_ipv4() {
                (Ipv4Addr::UNSPECIFIED, 0).into()
            } else {
                (Ipv6Addr::UNSPECIFIED, 0).into()
            };
            // Port 9: discard.
            UdpSocket::bind(any)?.send_to(b"?", (address, 9))?;
            Ok(())
        })
    }

    /// What the host's own kernel knows of a neighbour: `ip neigh`'s line, empty when it knows nothing.
    ///
    /// # Errors
    /// With what `ip` wrote, when it fails.
    pub fn neighbor(&self, address: IpAddr) -> anyhow::Result<String> {
        Ok(self.netns.ip(&format!("neigh show to {address} dev {HOST_INTERFACE}"))?.trim().to_owned())
    }

    /// Asks for all `addresses` again and again, until the result is dropped. Look at the answers with a [`Sniffer`] and
    /// [`crate::frame::tenures`].
    pub fn ask_every(&self, period: Duration, addresses: &[Ipv4Addr]) -> Asking {
        self.repeat(period, addresses.iter().map(|&address| self.request(address).bytes()).collect())
    }

    /// Sends frames again and again, until the result is dropped.
    pub fn repeat(&self, period: Duration, frames: Vec<Vec<u8>>) -> Asking {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, socket) = (Arc::clone(&stop), Arc::clone(&self.socket));
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for frame in &frames {
                    // A full queue or a cut link: the next one will do.
                    let _ = socket.send(frame);
                }
                std::thread::sleep(period);
            }
        });
        Asking { stop }
    }

    /// Runs iputils' arping from here; `args` come before the address.
    ///
    /// # Errors
    /// When arping is not installed.
    pub async fn arping(&self, address: Ipv4Addr, args: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new("arping");
        command.args(["-I", HOST_INTERFACE]).args(args).arg(address.to_string());
        let netns = self.netns.clone();
        tokio::task::spawn_blocking(move || netns.output(command))
            .await?
            .context("cannot run arping (iputils-arping)")
    }
}

/// Requests that go on until this is dropped.
#[derive(Debug)]
pub struct Asking {
    stop: Arc<AtomicBool>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
