// SPDX-License-Identifier: Apache-2.0
//! The node's links, from netlink's events and never by polling.

use std::{future, io, sync::Arc};

use futures::{Stream, StreamExt, TryStreamExt, channel::mpsc::UnboundedReceiver};
use gateherald_model::interfaces::Link;
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{RouteNetlinkMessage, route::RouteMessage},
    sys::{AsyncSocket, SocketAddr},
};
use table::{Effect, Table};
use tokio::sync::watch;

mod table;

/// Room for bursts of events; what does not fit is noticed, and answered with a new dump.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Every event after the subscription, in order.
type Events = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// Why links are no longer followed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The netlink socket could not be opened or bound to its groups.
    #[error("netlink socket")]
    Socket(#[source] io::Error),
    /// The kernel refused a dump.
    #[error("read the node's {what} by netlink")]
    Dump {
        /// Links, addresses or routes.
        what: &'static str,
        /// What it said.
        #[source]
        source: rtnetlink::Error,
    },
    /// The kernel closed the socket, or sent what no kernel sends.
    #[error("netlink socket closed")]
    Closed,
}

/// Follows the links and puts every change into `out`, the first time once all of them have been read.
///
/// Ends only when the socket dies, or with `Ok` when nobody reads `out` any more.
pub async fn follow(out: watch::Sender<Option<Arc<[Link]>>>) -> Result<(), LinkError> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];
    let (mut connection, handle, events) = new_multicast_connection(&groups).map_err(LinkError::Socket)?;
    connection.socket_mut().socket_mut().set_rx_buf_sz(RECEIVE_BUFFER).map_err(LinkError::Socket)?;
    tokio::select! {
        () = connection => Err(LinkError::Closed),
        end = keep(handle, events, &out) => end,
        () = out.closed() => Ok(()),
    }
}

async fn keep(
    handle: Handle,
    mut events: Events,
    out: &watch::Sender<Option<Arc<[Link]>>>,
) -> Result<(), LinkError> {
    // The subscription came first: events that the dump already knew are applied again, in order, up to the newest.
    let mut table = dump(&handle).await?;
    loop {
        publish(&table, out);
        let mut effect = Effect::None;
        while effect == Effect::None {
            effect = take_in(events.next().await, &mut table, &handle).await?;
        }
        // What is already there belongs to the same change, often the one that a link's addresses and routes make.
        while let Ok(event) = events.try_recv() {
            take_in(Some(event), &mut table, &handle).await?;
        }
    }
}

async fn take_in(
    event: Option<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    table: &mut Table,
    handle: &Handle,
) -> Result<Effect, LinkError> {
    let (message, _) = event.ok_or(LinkError::Closed)?;
    match message.payload {
        NetlinkPayload::InnerMessage(inner) => {
            let effect = table.apply(&inner);
            if effect == Effect::ReadRoutes {
                table.forget_routes();
                read_routes(handle, table).await?;
            }
            Ok(effect)
        }
        NetlinkPayload::Overrun(_) => {
            tracing::info!("netlink events were lost, reading links, addresses and routes again");
            *table = dump(handle).await?;
            Ok(Effect::Changed)
        }
        _ => Ok(Effect::None),
    }
}

fn publish(table: &Table, out: &watch::Sender<Option<Arc<[Link]>>>) {
    let links = table.links();
    out.send_if_modified(|current| {
        let changed = current.as_deref() != Some(links.as_slice());
        if changed {
            *current = Some(links.into());
        }
        changed
    });
}

async fn dump(handle: &Handle) -> Result<Table, LinkError> {
    let mut table = Table::default();
    let links = handle.link().get().execute().map_ok(RouteNetlinkMessage::NewLink);
    fill(&mut table, "links", links).await?;
    let addresses = handle.address().get().execute().map_ok(RouteNetlinkMessage::NewAddress);
    fill(&mut table, "addresses", addresses).await?;
    read_routes(handle, &mut table).await?;
    Ok(table)
}

async fn read_routes(handle: &Handle, table: &mut Table) -> Result<(), LinkError> {
    for family in [v4_routes(), v6_routes()] {
        let routes = handle.route().get(family).execute().map_ok(RouteNetlinkMessage::NewRoute);
        fill(table, "routes", routes).await?;
    }
    Ok(())
}

async fn fill(
    table: &mut Table,
    what: &'static str,
    messages: impl Stream<Item = Result<RouteNetlinkMessage, rtnetlink::Error>>,
) -> Result<(), LinkError> {
    messages
        .map_err(|source| LinkError::Dump { what, source })
        .try_for_each(|message| {
            table.apply(&message);
            future::ready(Ok(()))
        })
        .await
}

fn v4_routes() -> RouteMessage {
    RouteMessageBuilder::<std::net::Ipv4Addr>::new().build()
}

fn v6_routes() -> RouteMessage {
    RouteMessageBuilder::<std::net::Ipv6Addr>::new().build()
}

#[cfg(test)]
mod tests;
