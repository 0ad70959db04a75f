// SPDX-License-Identifier: Apache-2.0
//! With a real kernel, over a pair of links: these need root.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use gateherald_wire::{ArpFrame, MacAddr, NdpFrame, NeighborFrame, Operation};
use tokio::{io::unix::AsyncFd, time::timeout};

use super::*;
use crate::{
    claims::time::Deadline,
    io::{
        netns::{inside, ip},
        packet::PacketSocket,
    },
};

const LONG: Duration = Duration::from_secs(20);
/// An answer takes well under a millisecond here.
const QUIET: Duration = Duration::from_millis(150);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 128);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 129);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 9);
const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x12]);
const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x99]);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x99, 0, 0, 0xab, 0xcdef);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x99, 0, 0, 0, 9);
const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x12);

/// The thread under test on `ens18`, and the client at the other end of the cable.
struct Bench {
    speaker: Speaker,
    reach: watch::Sender<Arc<Reach>>,
    links: watch::Sender<Option<Arc<[Link]>>>,
    metrics: Metrics,
    client: AsyncFd<PacketSocket>,
    client6: AsyncFd<PacketSocket>,
    contests: watch::Receiver<Arc<Contests>>,
    index: u32,
}

fn index_of(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}

impl Bench {
    fn new() -> Self {
        ip(&format!("link add ens18 address {OURS} type veth peer name client address {THEIRS}"));
        ip("link set ens18 up");
        ip("link set client up");
        let index = index_of("ens18");
        let (reach, reach_in) = watch::channel(Arc::default());
        let (links, links_in) = watch::channel(None);
        let metrics = Metrics::default();
        let Answering { speaker, contests, heard: _, end } =
            start(reach_in, links_in, metrics.clone()).unwrap();
        tokio::spawn(async { end.await.unwrap() });
        // The client asks from an address that is not in these sets, so it does not hear its own requests.
        let hearing = |protocol, addresses: &[IpAddr]| {
            let addresses = addresses.iter().copied().collect();
            PacketSocket::open(index_of("client"), protocol, &addresses).unwrap().register().unwrap()
        };
        let client = hearing(Protocol::Arp, &[VIP.into(), OTHER.into()]);
        let client6 = hearing(Protocol::Ndp, &[VIP6.into()]);
        let this = Self { speaker, reach, links, metrics, client, client6, contests, index };
        this.link(true);
        this
    }

    fn link(&self, up: bool) {
        self.link_with(OURS, up);
    }

    fn link_with(&self, mac: MacAddr, up: bool) {
        let (index, name) = (self.index, "ens18".to_owned());
        let link = Link { index, name, mac: Some(mac.0), link_local: Some(LOCAL), up, ..Link::default() };
        self.links.send_replace(Some([link].into()));
    }

    fn reach<A: Into<IpAddr> + Copy>(&self, addresses: &[A]) {
        let there = |a: &A| ((*a).into(), [self.index].into());
        self.reach.send_replace(Arc::new(addresses.iter().map(there).collect()));
    }

    async fn titles<A: Into<IpAddr> + Copy>(&self, addresses: &[A], fresh_for: Duration) {
        let titles = addresses.iter().map(|a| (*a).into()).collect();
        let deadline = Some(Deadline::after(clock::now(), fresh_for));
        self.speaker
            .publish(Rights { deadline, titles: Arc::new(titles), ..Rights::default() })
            .await
            .unwrap();
    }

    fn send(&self, frame: &[u8]) {
        self.client.get_ref().send(frame).unwrap();
    }

    fn ask(&self, address: Ipv4Addr) {
        self.send(&bytes(&ArpFrame::request(THEIRS, CLIENT, address)));
    }

    /// The next frame that the client hears; none when there is none for a while.
    async fn hears(&self, within: Duration) -> Option<ArpFrame> {
        let mut buffer = [0xa5; 2048];
        let frame = async {
            loop {
                let mut ready = self.client.readable().await.unwrap();
                if let Ok(received) = ready.try_io(|client| client.get_ref().receive(&mut buffer)) {
                    return ArpFrame::parse(&buffer[..received.unwrap().len]).unwrap();
                }
            }
        };
        timeout(within, frame).await.ok()
    }

    /// As [`Bench::hears`], of NDP.
    async fn hears6(&self, within: Duration) -> Option<NdpFrame> {
        let mut buffer = [0xa5; 2048];
        let frame = async {
            loop {
                let mut ready = self.client6.readable().await.unwrap();
                if let Ok(received) = ready.try_io(|client| client.get_ref().receive(&mut buffer)) {
                    return NdpFrame::parse(&buffer[..received.unwrap().len]).unwrap();
                }
            }
        };
        timeout(within, frame).await.ok()
    }

    fn send6(&self, frame: &NdpFrame) {
        let mut buffer = [0xa5; NeighborFrame::MAX_LEN];
        let bytes = NeighborFrame::from(*frame).emit(&mut buffer).unwrap().to_vec();
        self.client6.get_ref().send(&bytes).unwrap();
    }

    /// Waits until the disputed addresses are as `wanted`.
    async fn contested(&mut self, wanted: impl Fn(&Contests) -> bool) {
        timeout(LONG, self.contests.wait_for(|contests| wanted(contests))).await.unwrap().unwrap();
    }

    /// Both gratuitous forms, which come first after title.
    async fn announced(&self, address: Ipv4Addr) {
        for operation in [Operation::Request, Operation::Reply] {
            let frame = self.hears(LONG).await.expect("an announcement");
            assert_eq!((frame.arp.operation, frame.arp.spa, frame.arp.tpa), (operation, address, address));
            assert_eq!((frame.source, frame.arp.sha), (OURS, OURS));
        }
    }

    /// Asks and expects an answer, which also shows that everything before has been dealt with.
    async fn answers(&self, address: Ipv4Addr) {
        self.ask(address);
        let reply = self.hears(LONG).await.expect("a reply");
        let expected = ArpFrame::reply(&ArpFrame::request(THEIRS, CLIENT, address).arp, OURS);
        assert_eq!(reply, expected);
    }

    async fn holding(addresses: &[Ipv4Addr]) -> Self {
        let bench = Self::new();
        bench.reach(addresses);
        bench.titles(addresses, LONG * 10).await;
        for address in addresses {
            bench.announced(*address).await;
        }
        bench
    }
}

fn bytes(frame: &ArpFrame) -> Vec<u8> {
    let mut bytes = vec![0xa5; ArpFrame::LEN];
    frame.emit(&mut bytes).unwrap();
    bytes
}

#[test]
fn requests_of_every_size_and_kind_are_answered() {
    inside(|| async {
        let bench = Bench::holding(&[VIP]).await;
        let request = ArpFrame::request(THEIRS, CLIENT, VIP);
        let unicast = ArpFrame { destination: OURS, ..request };
        let reply = ArpFrame::reply(&request.arp, OURS);
        for (name, frame, size) in [
            ("A1 broadcast", request, 42),
            ("A2 unicast", unicast, 42),
            ("A13 padded", request, 60),
            ("A13 with junk", request, 1500),
        ] {
            let mut bytes = bytes(&frame);
            bytes.resize(size, 0xa5);
            bench.send(&bytes);
            assert_eq!(bench.hears(LONG).await, Some(reply), "{name}");
        }
        let probe = ArpFrame::probe(THEIRS, VIP);
        bench.send(&bytes(&probe));
        assert_eq!(bench.hears(LONG).await, Some(ArpFrame::reply(&probe.arp, OURS)), "A3 probe");
    });
}

#[test]
fn what_is_not_a_request_for_an_owned_address_is_not_answered() {
    inside(|| async {
        let bench = Bench::holding(&[VIP]).await;
        let request = ArpFrame::request(THEIRS, CLIENT, VIP);
        let with = |at: usize, value: &[u8]| {
            let mut bytes = bytes(&request);
            bytes[at..at + value.len()].copy_from_slice(value);
            bytes
        };
        let frames = [
            ("A4 another address", bytes(&ArpFrame::request(THEIRS, CLIENT, OTHER))),
            ("A7 a reply", with(20, &[0, 2])),
            ("A8 operation 3", with(20, &[0, 3])),
            ("A8 operation 65535", with(20, &[0xff, 0xff])),
            ("A9 to another host", with(0, &[2, 0, 0, 0, 0, 0x77])),
            ("A11 htype", with(14, &[0, 6])),
            ("A11 ptype", with(16, &[0x86, 0xdd])),
            ("A11 hlen", with(18, &[8])),
            ("A11 plen", with(19, &[16])),
            ("A12 truncated", bytes(&request)[..41].to_vec()),
            ("A18 sender is a group", with(22, &[1, 0, 0x5e, 0, 0, 1])),
            ("A18 sender is zero", with(22, &[0; 6])),
            ("A20 tagged", tagged(&bytes(&request), 7)),
        ];
        for (name, frame) in frames {
            bench.send(&frame);
            // The next frame heard is the answer to the next request: what came before was not answered.
            bench.answers(VIP).await;
            assert_eq!(bench.hears(Duration::from_millis(5)).await, None, "{name}");
        }
    });
}

/// The frame with an 802.1Q tag.
fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &[0x81, 0], &vlan.to_be_bytes(), rest].concat()
}

#[test]
fn when_publishing_returns_the_old_rights_are_dead() {
    inside(|| async {
        let bench = Bench::holding(&[VIP]).await;
        for _ in 0..50 {
            bench.answers(VIP).await;
            bench.titles::<IpAddr>(&[], LONG).await;
            bench.ask(VIP);
            assert_eq!(bench.hears(Duration::from_millis(3)).await, None);
            bench.titles(&[VIP], LONG).await;
            bench.announced(VIP).await;
        }
    });
}

#[test]
fn past_the_deadline_nothing_is_sent() {
    inside(|| async {
        let bench = Bench::holding(&[VIP]).await;
        bench.answers(VIP).await;
        bench.titles(&[VIP], Duration::ZERO).await;
        bench.ask(VIP);
        assert_eq!(bench.hears(QUIET).await, None);
        bench.titles(&[VIP], LONG).await;
        bench.answers(VIP).await;
        let mut text = String::new();
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register("dropped", "", bench.metrics.dropped.clone());
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains(r#"interface="ens18",reason="not-fresh"} 1"#), "{text}");
    });
}

#[test]
fn losing_an_address_cancels_its_announcements() {
    inside(|| async {
        let bench = Bench::holding(&[VIP, OTHER]).await;
        bench.titles(&[OTHER], LONG).await;
        // The repetition of the one that stays comes after 1.1 s, that of the other would come with it.
        bench.announced(OTHER).await;
        assert_eq!(bench.hears(QUIET).await, None);
    });
}

#[test]
fn an_address_out_of_reach_is_silent_and_announced_again_when_it_is_back() {
    inside(|| async {
        let bench = Bench::holding(&[VIP]).await;
        bench.reach::<IpAddr>(&[]);
        bench.ask(VIP);
        // The reach is told without waiting, so a first answer may just have been given.
        while bench.hears(QUIET).await.is_some() {}
        bench.ask(VIP);
        assert_eq!(bench.hears(QUIET).await, None);
        bench.reach(&[VIP]);
        bench.announced(VIP).await;
        bench.answers(VIP).await;
    });
}

#[test]
fn a_link_that_comes_back_is_announced_on() {
    inside(|| async {
        let bench = Bench::holding(&[VIP]).await;
        bench.link(false);
        while bench.hears(QUIET).await.is_some() {}
        bench.ask(VIP);
        assert_eq!(bench.hears(QUIET).await, None);
        bench.link(true);
        bench.announced(VIP).await;
    });
}

#[test]
fn a15_another_hosts_use_of_the_address_silences_it_until_the_title_is_confirmed() {
    inside(|| async {
        let mut bench = Bench::holding(&[VIP]).await;
        bench.send(&bytes(&ArpFrame::gratuitous_request(THEIRS, VIP)));
        bench.contested(|contests| contests.contains_key(&VIP.into())).await;
        bench.ask(VIP);
        assert_eq!(bench.hears(QUIET).await, None, "neither an answer nor the repetition that was due");
        // A renewal that was sent after the conflict has come back: one announcement, and answers again.
        bench.titles(&[VIP], LONG).await;
        bench.announced(VIP).await;
        bench.answers(VIP).await;
        // Again within ten seconds: it persists.
        bench.send(&bytes(&ArpFrame::gratuitous_reply(THEIRS, VIP)));
        bench.contested(|contests| contests.values().any(|it| it.stage.name() == "silenced")).await;
        bench.titles(&[VIP], LONG).await;
        bench.ask(VIP);
        assert_eq!(bench.hears(QUIET).await, None);
        let label = crate::metrics::OnInterface { interface: "ens18".into() };
        assert_eq!(bench.metrics.conflicts.get_or_create(&label).get(), 2);
        let steps = ["suspended", "defended", "silenced"];
        let count =
            |step| bench.metrics.conflict_steps.get_or_create(&crate::metrics::ForStep { step }).get();
        assert_eq!(steps.map(count), [1, 1, 1]);
    });
}

#[test]
fn what_another_announcer_says_is_no_conflict() {
    inside(|| async {
        let bench = Bench::holding(&[VIP]).await;
        bench.speaker.peers(Arc::new(BTreeSet::from([THEIRS]))).await.unwrap();
        bench.send(&bytes(&ArpFrame::gratuitous_request(THEIRS, VIP)));
        bench.answers(VIP).await;
        assert!(bench.contests.borrow().is_empty());
        let label = crate::metrics::Dropped { interface: "ens18".into(), reason: "peer" };
        assert_eq!(bench.metrics.dropped.get_or_create(&label).get(), 1);
    });
}

#[test]
fn n1_to_n4_solicitations_of_every_kind_are_answered() {
    inside(|| async {
        let bench = Bench::new();
        bench.reach(&[VIP6]);
        bench.titles(&[VIP6], LONG * 10).await;
        let announced = NdpFrame::unsolicited(OURS, LOCAL, VIP6);
        assert_eq!(bench.hears6(LONG).await, Some(announced), "N23");
        let solicit = NdpFrame::solicit(THEIRS, CLIENT6, VIP6);
        let probe = NdpFrame::probe(THEIRS, VIP6);
        let silent = NdpFrame { ndp: probe.ndp, ..solicit };
        for (name, frame) in [
            ("N1 to the group", solicit),
            ("N2 without SLLA", silent),
            ("N3 unicast", NdpFrame { destination: OURS, to: VIP6, ..silent }),
            ("N4 probe", probe),
        ] {
            bench.send6(&frame);
            assert_eq!(bench.hears6(LONG).await, Some(NdpFrame::answer(&frame, OURS, LOCAL)), "{name}");
        }
    });
}

#[test]
fn n21_an_address_takes_its_interface_into_its_group_and_out_again() {
    inside(|| async {
        let bench = Bench::new();
        let member = || {
            let groups = std::fs::read_to_string("/proc/thread-self/net/igmp6").unwrap();
            groups
                .lines()
                .any(|line| line.contains("ens18") && line.contains("ff0200000000000000000001ffabcdef"))
        };
        assert!(!member());
        bench.reach(&[VIP6]);
        bench.titles(&[VIP6], LONG).await;
        bench.hears6(LONG).await.expect("an announcement");
        assert!(member());
        bench.titles::<IpAddr>(&[], LONG).await;
        assert!(!member());
    });
}

#[test]
fn a27_another_hardware_address_is_announced_and_answered_with() {
    inside(|| async {
        let bench = Bench::holding(&[VIP]).await;
        let another = MacAddr([2, 0, 0, 0, 0, 0x13]);
        bench.link_with(another, true);
        let frame = bench.hears(LONG).await.expect("an announcement");
        assert_eq!(frame, ArpFrame::gratuitous_request(another, VIP));
        bench.hears(LONG).await.expect("its other form");
        ip(&format!("link set ens18 address {another}"));
        bench.ask(VIP);
        let asked = ArpFrame::request(THEIRS, CLIENT, VIP);
        assert_eq!(bench.hears(LONG).await, Some(ArpFrame::reply(&asked.arp, another)));
    });
}

#[test]
fn the_filter_keeps_what_is_for_others_from_the_process() {
    inside(|| async {
        let bench = Bench::holding(&[VIP]).await;
        for _ in 0..100 {
            bench.ask(OTHER);
        }
        bench.answers(VIP).await;
        let label = crate::metrics::OnInterface { interface: "ens18".into() };
        assert_eq!(bench.metrics.received.get_or_create(&label).get(), 1);
    });
}

#[test]
fn a_tag_that_only_carries_a_priority_is_no_vlan() {
    inside(|| async {
        let bench = Bench::holding(&[VIP]).await;
        let request = ArpFrame::request(THEIRS, CLIENT, VIP);
        bench.send(&tagged(&bytes(&request), 0xe000));
        assert_eq!(bench.hears(LONG).await, Some(ArpFrame::reply(&request.arp, OURS)));
    });
}

#[test]
fn a_flood_of_requests_does_not_hold_up_announcements() {
    inside(|| async {
        let bench = Bench::holding(&[VIP]).await;
        let request = bytes(&ArpFrame::request(THEIRS, CLIENT, VIP));
        // The repetition is due 1.1 s after the first announcement; until then the queue is never empty.
        let repeated = timeout(LONG, async {
            loop {
                for _ in 0..100 {
                    // A full queue is what is wanted here.
                    let _ = bench.client.get_ref().send(&request);
                }
                while let Some(frame) = bench.hears(Duration::ZERO).await {
                    if frame.arp.spa == frame.arp.tpa {
                        return;
                    }
                }
            }
        });
        repeated.await.expect("the announcement is repeated");
    });
}

/// As the claims publish it: first sought, then with title and one probe to come.
fn taking(titled: bool) -> Rights {
    let vip: IpAddr = VIP.into();
    if !titled {
        return Rights { sought: Arc::new([vip].into()), ..Rights::default() };
    }
    let deadline = Some(Deadline::after(clock::now(), LONG));
    Rights {
        deadline,
        titles: Arc::new([vip].into()),
        probes: Arc::new([(vip, 1)].into()),
        ..Rights::default()
    }
}

/// RFC 5227 §2.1: the sender's address is zero, so nobody learns anything by it.
#[test]
fn before_title_nothing_is_sent_but_a_probe_that_claims_nothing() {
    inside(|| async {
        let bench = Bench::new();
        bench.reach(&[VIP]);
        bench.speaker.publish(taking(false)).await.unwrap();
        assert_eq!(bench.hears(LONG).await, Some(ArpFrame::probe(OURS, VIP)));
        bench.ask(VIP);
        assert_eq!(bench.hears(QUIET).await, None);
        bench.speaker.publish(taking(true)).await.unwrap();
        // The probe counts for the title, if this test comes in time; else another one is sent.
        while bench.hears(LONG).await.unwrap() != ArpFrame::gratuitous_request(OURS, VIP) {}
        bench.hears(LONG).await.unwrap();
        bench.answers(VIP).await;
    });
}

#[test]
fn an_answer_to_the_probe_keeps_the_address_silent_whether_it_comes_before_title_or_after() {
    for answer_first in [true, false] {
        inside(move || async move {
            let mut bench = Bench::new();
            bench.reach(&[VIP]);
            bench.speaker.publish(taking(false)).await.unwrap();
            let probe = bench.hears(LONG).await.unwrap();
            if answer_first {
                bench.send(&bytes(&ArpFrame::reply(&probe.arp, THEIRS)));
                bench.contested(|contests| contests.values().any(|it| it.stage.name() == "silenced")).await;
                bench.speaker.publish(taking(true)).await.unwrap();
            } else {
                // Both lie there when the thread looks next, the answer in a socket.
                bench.send(&bytes(&ArpFrame::reply(&probe.arp, THEIRS)));
                bench.speaker.publish(taking(true)).await.unwrap();
                bench.contested(|contests| contests.values().any(|it| it.stage.name() == "silenced")).await;
            }
            bench.ask(VIP);
            let mut heard = Vec::new();
            while let Some(frame) = bench.hears(QUIET).await {
                heard.push(frame);
            }
            assert!(heard.iter().all(|frame| *frame == probe), "{heard:?}");
        });
    }
}
