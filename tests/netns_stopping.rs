// SPDX-License-Identifier: Apache-2.0
//! An announcer that is told to stop while it has a thousand addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use gateherald_lab::chart::NAMESPACE;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Frame, Mac, Options};
use gateherald_tests::audit::{Request, requests_from};
use gateherald_tests::vips::{Site, time_of};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use tokio::time::Instant;

const VIPS: u16 = 1_000;
/// What a busy machine needs to make a thousand Services, and to claim and announce their addresses.
const MINUTES: Duration = Duration::from_mins(5);
/// So often every address is asked for: 2,000 questions a second.
const OFTEN: Duration = Duration::from_millis(500);
/// It takes far less than a second; a machine that compiles beside it may take longer.
const GENEROUS: Duration = Duration::from_secs(10);

/// No session is lost because the machine is busy: what is looked at here does not wait for the end of a lease.
const PATIENT: [&str; 2] = ["--lease-duration", "20"];

/// Who spoke for each address, in turn, and when the one with `mac` did last.
fn spoken(frames: &[Frame], vips: &BTreeSet<Ipv4Addr>, mac: Mac) -> (BTreeMap<Ipv4Addr, Vec<Mac>>, Duration) {
    let (mut voices, mut last) = (BTreeMap::<Ipv4Addr, Vec<Mac>>::new(), Duration::ZERO);
    for frame in frames {
        let Some(arp) = frame.arp().filter(|arp| vips.contains(&arp.sender_ip)) else { continue };
        let of = voices.entry(arp.sender_ip).or_default();
        if of.last() != Some(&arp.source) {
            of.push(arp.source);
        }
        if arp.source == mac {
            last = last.max(frame.at);
        }
    }
    (voices, last)
}

async fn owned(site: &Site<'_>, nodes: &[usize]) -> anyhow::Result<()> {
    until(&format!("nodes {nodes:?} own all addresses"), MINUTES, async || {
        let mut sum = 0.0;
        for node in nodes {
            sum += site.metric(*node, "addresses_owned", "").await?;
        }
        let all = (sum - f64::from(VIPS)).abs() < 0.5;
        Ok(if all { Look::Found(()) } else { Look::NotYet(format!("{sum}")) })
    })
    .await
}

/// Waits until the node's session has just been renewed: the next renewal is a second away.
async fn renewed(site: &Site<'_>, name: &str) -> anyhow::Result<()> {
    let leases: Api<Lease> = Api::namespaced(site.lab.client(), NAMESPACE);
    let version = async || anyhow::Ok(leases.get(name).await?.metadata.resource_version);
    let before = version().await?;
    until("the session is renewed", LONG, async || {
        let now = version().await?;
        Ok(if now == before { Look::NotYet(format!("{now:?}")) } else { Look::Found(()) })
    })
    .await
}

#[test]
fn a_thousand_addresses_are_left_by_one_write_after_the_last_frame() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let mut site = Site::new(lab, "leave", 0).await?;
        site.add_node(&PATIENT).await?;
        let octet = site.lan.address(0).octets()[2];
        let vip = |n: u16| Ipv4Addr::new(10, octet, n.to_be_bytes()[0], n.to_be_bytes()[1]);
        let vips: Vec<Ipv4Addr> = (0..VIPS).map(vip).collect();
        let service = async |n: u16| {
            let spec = json!({ "allocateLoadBalancerNodePorts": false });
            site.service_with(&format!("web{n}"), spec, &[vip(n)]).await.map(drop)
        };
        futures::stream::iter(0..VIPS).map(service).buffer_unordered(16).try_collect::<Vec<()>>().await?;
        owned(&site, &[0]).await?;
        site.add_node(&PATIENT).await?;
        site.add_node(&PATIENT).await?;
        let (old, name) = (site.nodes[0].mac(), site.nodes[0].name().to_owned());
        let all: BTreeSet<Ipv4Addr> = vips.iter().copied().collect();
        // A raw socket asks: the kernel's neighbour table ends at 1,024.
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &vips);
        until("the node answers for all of them", MINUTES, async || {
            let answered = spoken(&wire.frames(), &all, old).0.len();
            Ok(if answered == all.len() { Look::Found(()) } else { Look::NotYet(answered.to_string()) })
        })
        .await?;
        let session = format!("gateherald-node-{name}");
        renewed(&site, &session).await?;
        let told = Instant::now();
        assert!(site.announcers[0].process().terminate().await?.success());
        let took = told.elapsed();
        eprintln!("an announcer with {VIPS} addresses ended {took:?} after SIGTERM");
        assert!(took < GENEROUS, "{took:?}");
        owned(&site, &[1, 2]).await?;
        until("the others answer for all of them", MINUTES, async || {
            let (voices, _) = spoken(&wire.frames(), &all, old);
            let left = voices.values().filter(|voices| voices.last() == Some(&old)).count();
            Ok(if left == 0 { Look::Found(()) } else { Look::NotYet(format!("{left} are not answered")) })
        })
        .await?;
        drop(asking);
        let (voices, last_frame) = spoken(&wire.frames(), &all, old);
        for (vip, voices) in &voices {
            assert!(voices.len() == 2 && voices[0] == old && voices[1] != old, "{vip}: {voices:?}");
        }
        // It stopped, then wrote, and wrote nothing else.
        let stopped =
            |line: &str| line.contains("stopped answering") && line.contains(&format!("addresses={VIPS}"));
        let stopped = time_of(&site.announcers[0].process().log_line(LONG, stopped).await?)?;
        assert!(last_frame < stopped, "a frame {:?} after the end", last_frame.saturating_sub(stopped));
        let requests = requests_from(lab.control_plane(), &[site.nodes[0].management_ip().to_string()])?;
        let writes = |request: &&Request| {
            request.received >= stopped && !["get", "list", "watch"].contains(&request.verb.as_str())
        };
        let writes: Vec<&Request> = requests.iter().filter(writes).collect();
        assert!(writes.len() == 1, "{writes:#?}");
        assert_eq!(
            (writes[0].verb.as_str(), writes[0].name.as_str(), writes[0].code),
            ("update", session.as_str(), 200)
        );
        Ok(())
    })
}
