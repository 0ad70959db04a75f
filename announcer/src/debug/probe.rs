// SPDX-License-Identifier: Apache-2.0
//! `/probe?address=VIP`: who answers for an address, asked from this node.
//!
//! Only addresses that some Service has are asked about, one at a time and no more than one a second, so that nobody
//! scans a network with it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER},
};
use futures::future::join_all;
use gateherald_model::interfaces::Link;
use gateherald_wire::MacAddr;
use serde::{Deserialize, Serialize};
use tokio::{sync::OwnedSemaphorePermit, time::sleep};

use super::{Refused, Shown, Sources, VERSION, refused};
use crate::{
    asking::{Heard, Host, MOST_INTERFACES, judge, nearest},
    claiming::Standing,
    io::inquiry::{self, InquiryError},
};

/// One second from one question to the next.
const PACE: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    address: String,
}

/// The page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    version: u32,
    node: String,
    address: IpAddr,
    verdict: &'static str,
    /// This node owned the address before and after; it does not hear its own question.
    owned_here: bool,
    /// Who has the claim, as far as this node knows.
    holder: Option<String>,
    interfaces: Vec<OnInterface>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OnInterface {
    index: u32,
    name: String,
    asked: u8,
    /// Why it was not asked, or not to the end.
    error: Option<String>,
    answers: Vec<Told>,
}

/// One host's answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    mac: String,
    /// The node whose announcer's link it is; none: another host's.
    node: Option<String>,
    count: usize,
    fastest_microseconds: u128,
    slowest_microseconds: u128,
}

pub(super) async fn probe(
    State(Shown { sources, turn }): State<Shown>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Page>, (HeaderMap, Refused)> {
    let plain = |refused| (HeaderMap::new(), refused);
    let (address, links) = what(&sources, asked).map_err(plain)?;
    let Ok(turn) = turn.try_acquire_owned() else {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("1"))]);
        let busy = "another address is being asked for: one a second";
        return Err((headers, refused(StatusCode::TOO_MANY_REQUESTS, busy)));
    };
    // Whoever hangs up does not shorten the pace.
    tokio::spawn(hold(turn));
    let before = sources.ask([address].into()).await;
    let heard = join_all(links.iter().map(|link| inquiry::ask(link, address))).await;
    let after = sources.ask([address].into()).await;
    let page = page(&sources, address, (before.as_ref(), after.as_ref()), links.iter().zip(heard));
    tracing::info!(%address, verdict = page.verdict, "asked who answers for the address");
    Ok(Json(page))
}

async fn hold(turn: OwnedSemaphorePermit) {
    sleep(PACE.max(inquiry::takes())).await;
    drop(turn);
}

/// The address and the links to ask on.
fn what(
    sources: &Sources,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<(IpAddr, Vec<Link>), Refused> {
    let usage = "/probe?address=ADDRESS";
    let Query(Asked { address }) =
        asked.map_err(|error| refused(StatusCode::BAD_REQUEST, format!("{error}: {usage}")))?;
    let parsed = address.parse::<IpAddr>();
    let address =
        parsed.map_err(|_| refused(StatusCode::BAD_REQUEST, format!("{address:?} is no IP address")))?;
    let outlook = Arc::clone(&sources.outlook.borrow());
    if !outlook.listed.contains(&address) {
        return Err(refused(StatusCode::NOT_FOUND, format!("no Service has the address {address}")));
    }
    let all = sources.links();
    let desired = outlook.evaluation.desired.get(&address);
    let mut links: Vec<Link> = match desired {
        Some(desired) => {
            let on = |link: &&Link| desired.interfaces.iter().any(|interface| interface.index == link.index);
            all.iter().filter(on).cloned().collect()
        }
        None => nearest(&all, address).into_iter().cloned().collect(),
    };
    if links.is_empty() {
        let nowhere = format!("no link of this node leads to {address}");
        return Err(refused(StatusCode::SERVICE_UNAVAILABLE, nowhere));
    }
    links.truncate(MOST_INTERFACES);
    Ok((address, links))
}

fn page<'a>(
    sources: &Sources,
    address: IpAddr,
    (before, after): (Option<&Standing>, Option<&Standing>),
    heard: impl Iterator<Item = (&'a Link, Result<Heard, InquiryError>)>,
) -> Page {
    let owned = |standing: Option<&Standing>| {
        standing
            .is_some_and(|s| s.fresh_for.is_some() && s.claims.get(&address).is_some_and(|claim| claim.title))
    };
    let owned_here = owned(before) && owned(after);
    let node = &sources.args.node_name;
    let own = sources.links();
    let named = |mac: MacAddr| {
        if own.iter().any(|link| link.mac == Some(mac.0)) {
            return Some(node.clone());
        }
        let known = [after, before].into_iter().flatten().find_map(|standing| standing.peers.get(&mac));
        known.cloned()
    };
    let (mut all, mut interfaces) = (Vec::new(), Vec::new());
    for (link, heard) in heard {
        let (heard, error) = match heard {
            Ok(heard) => (heard, None),
            Err(error) => (Heard::default(), Some(format!("{:#}", anyhow::Error::from(error)))),
        };
        let answers = told(&heard, named);
        interfaces.push(OnInterface {
            index: link.index,
            name: link.name.clone(),
            asked: heard.asked,
            error,
            answers,
        });
        all.push(heard);
    }
    let verdict = judge(&all, owned_here, |mac| named(mac).map_or(Host::Stranger(mac), Host::Node)).name();
    let holder = after.or(before).and_then(|standing| standing.claims.get(&address)?.holder.clone());
    Page { version: VERSION, node: node.clone(), address, verdict, owned_here, holder, interfaces }
}

fn told(heard: &Heard, named: impl Fn(MacAddr) -> Option<String>) -> Vec<Told> {
    let mut by_mac: BTreeMap<MacAddr, Vec<Duration>> = BTreeMap::new();
    for answer in &heard.answers {
        by_mac.entry(answer.mac).or_default().push(answer.after);
    }
    let told = |(mac, after): (MacAddr, Vec<Duration>)| Told {
        mac: mac.to_string(),
        node: named(mac),
        count: after.len(),
        fastest_microseconds: after.iter().min().map_or(0, Duration::as_micros),
        slowest_microseconds: after.iter().max().map_or(0, Duration::as_micros),
    };
    by_mac.into_iter().map(told).collect()
}
