// SPDX-License-Identifier: Apache-2.0
//! The lab's own LAN: what the other suites rely on when they judge the announcer.

use std::net::Ipv4Addr;
use std::time::Duration;

use gateherald_lab::frame::{Arp, Mac};
use gateherald_lab::netns::Netns;
use gateherald_lab::patience::LONG;

#[test]
fn a_node_answers_for_its_own_address_and_the_capture_names_it() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let lan = lab.lan("own")?;
        let node = lan.add_node().await?;
        let wire = lan.sniff()?;
        let answer = lan.client().ask(node.ip(), LONG).await?;
        assert_eq!(answer.sender_mac, node.mac());
        let seen = wire.wait_for(LONG, |frame| frame.arp().is_some_and(|arp| arp.answers(node.ip()))).await?;
        assert_eq!((seen.port.as_str(), seen.source()), (node.name(), node.mac()));
        assert!(
            lan.client().ask(lan.address(200), Duration::from_millis(300)).await.is_err(),
            "nobody has this address"
        );
        Ok(())
    })
}

#[test]
fn each_frame_of_a_lan_is_captured_once() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let lan = lab.lan("once")?;
        let (_first, _second) = (lan.add_node().await?, lan.add_node().await?);
        let wire = lan.sniff()?;
        let request = lan.client().request(lan.address(201));
        for _ in 0..3 {
            lan.client().send(&request.bytes())?;
        }
        let last = Arp { target_ip: lan.address(202), ..request };
        lan.client().send(&last.bytes())?;
        wire.wait_for(LONG, |frame| frame.arp() == Some(last)).await?;
        let copies = wire.frames().iter().filter(|frame| frame.arp() == Some(request)).count();
        assert_eq!(copies, 3);
        assert!(wire.frames().iter().all(|frame| frame.port == "client"));
        Ok(())
    })
}

/// Neighbours know the API server and the router by it, and keep what they know for a dozen seconds after it is wrong.
#[test]
fn a_bridge_keeps_its_ethernet_address_whoever_is_plugged_in() -> anyhow::Result<()> {
    let netns = Netns::new("bridge")?;
    netns.add_bridge("br0", Mac([0x52, 0x54, 0, 0, 0, 2]))?;
    let before = netns.ip("-br link show br0")?;
    netns.ip("link add lower type veth peer name other")?;
    netns.ip("link set lower address 52:54:00:00:00:01 master br0")?;
    assert_eq!(netns.ip("-br link show br0")?, before);
    Ok(())
}

#[test]
fn a_cut_link_takes_the_lan_away_and_leaves_the_management_network() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let lan = lab.lan("cut")?;
        let node = lan.add_node().await?;
        lan.client().ask(node.ip(), LONG).await?;
        node.cut_link()?;
        assert!(node.netns().ip("-o link show ens18")?.contains("NO-CARRIER"));
        assert!(lan.client().ask(node.ip(), Duration::from_millis(300)).await.is_err());
        node.netns().enter(|| {
            Ok(std::net::TcpStream::connect((gateherald_lab::control_plane::API_ADDRESS, 6443)).map(drop)?)
        })?;
        node.restore_link()?;
        let answer = lan.client().ask(node.ip(), LONG).await?;
        assert_eq!(answer.sender_mac, node.mac());
        Ok(())
    })
}

#[test]
fn an_isolated_node_keeps_its_carrier_and_hears_nothing() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let lan = lab.lan("alone")?;
        let node = lan.add_node().await?;
        lan.client().ask(node.ip(), LONG).await?;
        node.isolate()?;
        assert!(node.netns().ip("-o link show ens18")?.contains("LOWER_UP"));
        assert!(lan.client().ask(node.ip(), Duration::from_millis(300)).await.is_err());
        node.rejoin()?;
        lan.client().ask(node.ip(), LONG).await.map(drop)
    })
}

#[test]
fn arping_of_iputils_agrees_with_the_capture() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let lan = lab.lan("arping")?;
        let node = lan.add_node().await?;
        let good = lan.client().arping(node.ip(), &["-c", "1", "-w", "5"]).await?;
        let text = String::from_utf8_lossy(&good.stdout);
        assert!(good.status.success() && text.contains(&node.mac().to_string().to_uppercase()), "{text}");
        let silent: Ipv4Addr = lan.address(200);
        let bad = lan.client().arping(silent, &["-c", "1", "-w", "1"]).await?;
        assert!(!bad.status.success());
        Ok(())
    })
}
