// SPDX-License-Identifier: Apache-2.0
//! IPv6 addresses on the wire, against the neighbour discovery of a real kernel.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use gateherald_lab::frame::{Mac, Membership, Ndp, solicited_node};
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Frame, LanHost, Sniffer};
use gateherald_tests::vips::Site;
use serde_json::json;

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Waits until the kernel of `host` says this about a neighbour.
async fn knows(host: &LanHost, address: Ipv6Addr, wanted: &[&str]) -> anyhow::Result<()> {
    until(&format!("the kernel knows {address} as {wanted:?}"), LONG, async || {
        let line = host.neighbor(address.into())?;
        Ok(if wanted.iter().all(|part| line.contains(part)) { Look::Found(()) } else { Look::NotYet(line) })
    })
    .await
}

/// The messages about `address` in a capture, with the time.
fn about(wire: &Sniffer, address: Ipv6Addr) -> Vec<(Duration, Ndp)> {
    let frames = wire.frames();
    let read = frames.iter().filter_map(|frame| Some((frame.at, frame.ndp()?)));
    read.filter(|(_, ndp)| ndp.target == address).collect()
}

#[test]
fn a_kernel_finds_an_ipv6_address_on_exactly_one_node_through_a_switch_that_snoops() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "six", 2).await?;
        site.lan.snoop()?;
        let vip = site.lan.address6(0x200);
        let wire = site.lan.sniff()?;
        site.service_of_families("web", &[vip.into(), site.lan.address(200).into()]).await?;
        let client = site.lan.client();
        client.send_datagram(vip.into())?;
        until("the kernel has found the address", LONG, async || {
            let line = client.neighbor(vip.into())?;
            if line.contains("lladdr") {
                return Ok(Look::Found(()));
            }
            client.send_datagram(vip.into())?;
            Ok(Look::NotYet(line))
        })
        .await?;
        let owner = site.owner6(vip).await?;
        let mac = site.nodes[owner].mac();
        knows(client, vip, &[&mac.to_string()]).await?;
        assert_eq!(site.claim_holder(vip).await?.as_deref(), Some(site.nodes[owner].name()));
        site.owner(site.lan.address(200)).await?;
        // N23: three announcements in all, more than a second apart.
        let announcements = || {
            let told = about(&wire, vip).into_iter();
            told.filter(|(_, ndp)| ndp.announces(vip)).collect::<Vec<_>>()
        };
        until("three announcements", LONG, async || {
            let count = announcements().len();
            Ok(if count >= 3 { Look::Found(()) } else { Look::NotYet(count.to_string()) })
        })
        .await?;
        let announced = announcements();
        assert!(
            announced.windows(2).all(|pair| pair[1].0.saturating_sub(pair[0].0) > Duration::from_secs(1))
        );
        for (_, ndp) in about(&wire, vip).iter().filter(|(_, ndp)| ndp.kind == 136) {
            assert_eq!((ndp.source, ndp.link_layer), (mac, Some(mac)), "one owner: {ndp}");
            assert_eq!((ndp.hop_limit, ndp.code, ndp.checksum_error), (255, 0, 0), "{ndp}");
            assert_eq!(ndp.flags & (ROUTER | OVERRIDE), OVERRIDE, "{ndp}");
            assert!(ndp.from.is_unicast_link_local(), "{ndp}");
        }
        Ok(())
    })
}

#[test]
fn a_kernel_that_checks_reachability_is_answered_and_one_that_wants_the_address_gets_none()
-> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "nud", 1).await?;
        let (vip, client) = (site.lan.address6(0x200), site.lan.client());
        site.service_of_families("web", &[vip.into()]).await?;
        assert_eq!(site.owner6(vip).await?, 0);
        let mac = site.nodes[0].mac();
        // N3: the kernel asks the known neighbour alone.
        let wire = client.sniff()?;
        client.netns().ip(&format!("neigh replace {vip} lladdr {mac} dev eth0 nud probe"))?;
        let asked = |frame: &Frame| frame.ndp().is_some_and(|ndp| ndp.asks(vip) && ndp.destination == mac);
        wire.wait_for(LONG, asked).await?;
        knows(client, vip, &[&mac.to_string(), "REACHABLE"]).await?;
        let answered = |frame: &Frame| {
            frame.ndp().is_some_and(|ndp| ndp.answers(vip) && ndp.flags == SOLICITED | OVERRIDE)
        };
        wire.wait_for(LONG, answered).await?;
        // N4: a host that is given the address asks first, is told, and does not use it.
        let host = site.lan.add_host("squatter")?;
        let heard = host.sniff()?;
        host.netns().ip(&format!("addr add {vip}/64 dev eth0"))?;
        until("the host gives up", LONG, async || {
            let text = host.netns().ip(&format!("-6 addr show dev eth0 to {vip}"))?;
            Ok(if text.contains("dadfailed") { Look::Found(()) } else { Look::NotYet(text) })
        })
        .await?;
        let everybody = |frame: &Frame| {
            let told = frame.ndp().filter(|ndp| ndp.announces(vip) && ndp.source == mac);
            told.is_some_and(|ndp| ndp.to == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1))
        };
        heard.wait_for(LONG, everybody).await?;
        assert_eq!(site.owner6(vip).await?, 0);
        assert!((site.metric(0, "conflicts_total", "").await?).abs() < 0.5, "to ask is no conflict");
        Ok(())
    })
}

#[test]
fn broken_solicitations_are_not_answered_and_each_counts_by_its_own_name() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "rules", 1).await?;
        let vip = site.lan.address6(0x200);
        site.service_of_families("web", &[vip.into()]).await?;
        assert_eq!(site.owner6(vip).await?, 0);
        let client = site.lan.client();
        let right = client.solicit(vip);
        let (unspecified, same_group) = (Ipv6Addr::UNSPECIFIED, site.lan.address6(0x200).to_bits() | 1 << 32);
        let tagged = |vlan: u16| {
            let bytes = right.bytes();
            [&bytes[..12], &[0x81, 0], &vlan.to_be_bytes(), &bytes[12..]].concat()
        };
        let wire = client.sniff()?;
        for (case, reason, frame) in [
            ("N5", "bad-probe", Ndp { from: unspecified, ..right }.bytes()),
            ("N7", "hop-limit", Ndp { hop_limit: 254, ..right }.bytes()),
            ("N8", "bad-checksum", Ndp { checksum_error: 1, ..right }.bytes()),
            ("N9", "bad-code", Ndp { code: 1, ..right }.bytes()),
            ("N12", "bad-option", endless_option(&right)),
            ("N14", "", Ndp { target: same_group.into(), ..right }.bytes()),
            ("N20", "", Ndp { kind: 133, ..right }.bytes()),
            ("N25", "", tagged(7)),
            ("SLLA of a group", "bad-sender", Ndp { link_layer: Some(Mac::BROADCAST), ..right }.bytes()),
        ] {
            let before = answers(&wire, vip);
            client.send(&frame)?;
            site.owner6(vip).await?;
            let others = about(&wire, same_group.into()).iter().filter(|(_, ndp)| ndp.kind == 136).count();
            assert_eq!(others, 0, "{case}");
            if !reason.is_empty() {
                let label = format!("reason=\"{reason}\"");
                assert!(site.metric(0, "frames_dropped_total", &label).await? >= 1.0, "{case}");
            }
            let asked = about(&wire, vip).iter().filter(|(_, ndp)| *ndp == right).count();
            assert!(answers(&wire, vip) - before <= asked, "{case}");
        }
        // N2: without a link-layer address the frame's own source is answered.
        client.send(&Ndp { link_layer: None, ..right }.bytes())?;
        let answered =
            |frame: &Frame| frame.ndp().is_some_and(|ndp| ndp.answers(vip) && ndp.to == client.ip6());
        wire.wait_for(LONG, answered).await?;
        Ok(())
    })
}

fn answers(wire: &Sniffer, address: Ipv6Addr) -> usize {
    about(wire, address).iter().filter(|(_, ndp)| ndp.answers(address)).count()
}

/// The frame with an option that has no length, and the checksum that belongs to it.
fn endless_option(frame: &Ndp) -> Vec<u8> {
    let mut bytes = frame.bytes();
    bytes[79] = 0;
    // One 16-bit word of the message became smaller by one, so its checksum becomes larger by one.
    let sum = u16::from_be_bytes([bytes[56], bytes[57]]);
    let (sum, carry) = sum.overflowing_add(1);
    bytes[56..58].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
    bytes
}

#[test]
fn a_node_listens_to_an_addresses_group_while_it_owns_it() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "mld", 1).await?;
        // Both have the same last 24 bits, and so one group.
        let vip = site.lan.address6(0x200);
        let twin = Ipv6Addr::from(vip.to_bits() | 1 << 32);
        let group = solicited_node(vip);
        assert_eq!(solicited_node(twin), group);
        let wire = site.lan.sniff()?;
        let reported =
            |membership: Membership| move |frame: &Frame| frame.memberships().contains(&membership);
        site.service_of_families("web", &[vip.into(), twin.into()]).await?;
        wire.wait_for(LONG, reported(Membership::Joined(group))).await?;
        site.owner6(vip).await?;
        site.owner6(twin).await?;
        let service = site.services().get("web").await?;
        let write = gateherald_lab::standin::address_allocator::write::<IpAddr>;
        write(&lab.client(), &service, &[twin.into()]).await?;
        site.claimed_by(vip, None).await?;
        site.owner6(twin).await?;
        assert!(!wire.frames().iter().any(reported(Membership::Left(group))), "the twin still needs it");
        write(&lab.client(), &service, &[]).await?;
        wire.wait_for(LONG, reported(Membership::Left(group))).await?;
        Ok(())
    })
}

#[test]
fn when_the_holder_of_an_ipv6_address_stops_a_kernel_learns_the_heir() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "heir", 2).await?;
        let (vip, client) = (site.lan.address6(0x200), site.lan.client());
        site.service_of_families("web", &[vip.into()]).await?;
        let owner = site.owner6(vip).await?;
        client.send_datagram(vip.into())?;
        knows(client, vip, &[&site.nodes[owner].mac().to_string()]).await?;
        let wire = site.lan.sniff()?;
        assert!(site.announcers[owner].process().terminate().await?.success());
        // The heir's announcement replaces what the kernel knew.
        knows(client, vip, &[&site.nodes[1 - owner].mac().to_string()]).await?;
        assert_eq!(site.owner6(vip).await?, 1 - owner);
        let told = about(&wire, vip);
        let first_of_heir =
            told.iter().position(|(_, ndp)| ndp.kind == 136 && ndp.source == site.nodes[1 - owner].mac());
        let after = &told[first_of_heir.unwrap_or(told.len())..];
        assert!(after.iter().all(|(_, ndp)| ndp.kind == 135 || ndp.source != site.nodes[owner].mac()));
        site.vip_is(1 - owner, vip, "state", &json!("owned")).await?;
        assert!(
            site.metric(1 - owner, "conflicts_total", "").await?.abs() < 0.5,
            "a handover is no conflict"
        );
        Ok(())
    })
}
