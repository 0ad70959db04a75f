// SPDX-License-Identifier: Apache-2.0
//! With a real kernel: these need root.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::io::netns::{inside, ip};

const LONG: Duration = Duration::from_secs(20);

/// Follows the links of the namespace while `test` waits for what it expects of them.
async fn following<F: Future<Output = ()>>(test: impl FnOnce(Links) -> F) {
    let (out, links) = watch::channel(None);
    tokio::select! {
        end = follow(out) => panic!("{end:?}"),
        () = test(Links(links)) => {}
    }
}

struct Links(watch::Receiver<Option<Arc<[Link]>>>);

impl Links {
    async fn until(&mut self, wanted: impl Fn(&[Link]) -> bool) -> Arc<[Link]> {
        let seen = timeout(LONG, self.0.wait_for(|links| links.as_deref().is_some_and(&wanted))).await;
        seen.unwrap_or_else(|_| panic!("not seen")).unwrap().clone().unwrap()
    }

    async fn until_link(&mut self, name: &str, wanted: impl Fn(&Link) -> bool) -> Link {
        let links = self.until(|links| links.iter().any(|link| link.name == name && wanted(link))).await;
        links.iter().find(|link| link.name == name).unwrap().clone()
    }
}

#[test]
fn links_addresses_and_routes_are_followed_as_they_change() {
    inside(|| {
        following(|mut links| async move {
            let first = links.until(|links| !links.is_empty()).await;
            assert!(first[0].loopback, "{first:?}");
            ip("link add ens18 address 02:00:00:00:00:12 type veth peer name peer");
            let added = links.until_link("ens18", |_| true).await;
            assert_eq!((added.kind.as_deref(), added.mac), (Some("veth"), Some([2, 0, 0, 0, 0, 0x12])));
            assert!(!added.up);
            ip("link set ens18 up");
            ip("link set peer up");
            links.until_link("ens18", |link| link.up).await;
            ip("addr add 192.168.99.10/24 dev ens18");
            ip("route add default via 192.168.99.1");
            let routed = links.until_link("ens18", |link| !link.default_routes.is_empty()).await;
            assert!(routed.addresses.contains(&"192.168.99.10/24".parse().unwrap()));
            assert_eq!(routed.default_routes[0].gateway, Some("192.168.99.1".parse().unwrap()));
            ip("link set peer down");
            links.until_link("ens18", |link| !link.up).await;
            ip("link set ens18 address 02:00:00:00:00:13");
            links.until_link("ens18", |link| link.mac == Some([2, 0, 0, 0, 0, 0x13])).await;
            ip("link add br0 type bridge");
            ip("link set ens18 master br0");
            links.until_link("ens18", |link| link.master.is_some()).await;
            ip("link set ens18 nomaster");
            links.until_link("ens18", |link| link.master.is_none()).await;
            ip("link del ens18");
            links.until(|links| !links.iter().any(|link| link.name == "ens18")).await;
        })
    });
}

#[test]
fn a_link_that_goes_down_has_no_default_route_any_more() {
    inside(|| {
        ip("link add ens18 type veth peer name peer");
        ip("link set ens18 up");
        ip("link set peer up");
        ip("addr add 192.168.99.10/24 dev ens18");
        ip("route add default via 192.168.99.1");
        following(|mut links| async move {
            links.until_link("ens18", |link| link.default_routes.len() == 1).await;
            // The kernel removes the IPv4 routes of a link that goes down without telling.
            ip("link set ens18 down");
            links.until_link("ens18", |link| !link.up && link.default_routes.is_empty()).await;
        })
    });
}

#[test]
fn events_that_are_lost_are_made_up_for() {
    inside(|| {
        let (out, links) = watch::channel(None);
        async move {
            let groups = [MulticastGroup::Link];
            let (mut connection, handle, events) = new_multicast_connection(&groups).unwrap();
            // A receive buffer of the least size: a burst of links does not fit while nobody reads.
            connection.socket_mut().socket_mut().set_rx_buf_sz(1_u32 << 10).unwrap();
            for n in 0..60 {
                ip(&format!("link add d{n} type bridge"));
            }
            let mut links = Links(links);
            tokio::select! {
                () = connection => panic!("closed"),
                end = keep(handle, events, &out) => panic!("{end:?}"),
                seen = links.until(|links| links.iter().filter(|link| link.name.starts_with('d')).count() == 60) => {
                    assert_eq!(seen.len(), 61);
                }
            }
        }
    });
}
