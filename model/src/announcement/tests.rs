// SPDX-License-Identifier: Apache-2.0
//! The table of announcement policy semantics, in its pure part; cases are named as there.

use k8s_openapi::api::core::v1::Service;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{crd::L2AnnouncementPolicySpec, interfaces::DefaultRoute};

const VIP: &str = "192.168.99.130";
const SECOND_VIP: &str = "192.168.99.131";
const EXTERNAL: &str = "192.168.99.200";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ours(name: &str) -> PolicyId {
    PolicyId::new(PolicyKind::Gateherald, name)
}

/// A cluster as one node sees it; tests change it and look at the evaluation.
struct Cluster {
    policies: Policies,
    services: BTreeMap<ServiceKey, ServiceView>,
    node: Option<NodeView>,
    links: Vec<Link>,
    rules: Rules,
    node_addresses: Vec<(&'static str, IpAddr)>,
    endpoints: Result<Endpoints, String>,
}

fn link(index: u32, name: &str, address: &str) -> Link {
    let addresses = vec![address.parse().unwrap()];
    Link { index, name: name.into(), mac: Some([2, 0, 0, 0, 0, 1]), up: true, addresses, ..Link::default() }
}

impl Cluster {
    /// A worker with two LAN links, no policy and no Service.
    fn empty() -> Self {
        let gateway = DefaultRoute {
            family: crate::interfaces::Family::V4,
            gateway: Some(ip("192.168.99.1")),
            metric: 0,
        };
        let lan = Link { default_routes: vec![gateway], ..link(2, "ens18", "192.168.99.11/24") };
        let node = NodeView { name: "n1".into(), ..NodeView::default() };
        Self {
            policies: Policies::default(),
            services: BTreeMap::new(),
            node: Some(node),
            links: vec![lan, link(3, "ens19", "10.0.0.11/24")],
            rules: Rules::default(),
            endpoints: Ok(Endpoints::default()),
            node_addresses: vec![("n1", ip("192.168.99.11")), ("n2", ip("192.168.99.12"))],
        }
    }

    /// The story's policy and Service.
    fn happy() -> Self {
        let mut cluster = Self::empty();
        cluster.policy("p", &story_policy());
        cluster.service("web", &json!({}), &[VIP]);
        cluster
    }

    fn policy(&mut self, name: &str, spec: &Value) {
        self.policies.apply(ours(name), &spec_of(spec));
    }

    fn cilium_policy(&mut self, name: &str, spec: &Value) {
        self.policies.apply(PolicyId::new(PolicyKind::Cilium, name), &spec_of(spec));
    }

    /// Puts a labelled Service of namespace `prod`, with `spec` and these LoadBalancer addresses.
    fn service(&mut self, name: &str, spec: &Value, ips: &[&str]) {
        let ingress: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        self.object(&json!({
            "metadata": {"namespace": "prod", "name": name, "labels": {"mdhlabs-arp": "enable"}},
            "spec": spec, "status": {"loadBalancer": {"ingress": ingress}},
        }));
    }

    fn object(&mut self, object: &Value) {
        let service: Service = serde_json::from_value(object.clone()).unwrap();
        let view = ServiceView::from(&service);
        self.services.insert(view.key.clone(), view);
    }

    fn node_label(&mut self, key: &str, value: &str) {
        self.node.as_mut().unwrap().labels.insert(key.into(), value.into());
    }

    fn evaluate(&self) -> Evaluation {
        let taken = Taken::new(self.node_addresses.iter().copied(), &self.links);
        let inputs = Inputs {
            policies: &self.policies,
            rules: &self.rules,
            node: self.node.as_ref(),
            links: &self.links,
            taken: &taken,
            endpoints: self.endpoints.as_ref().map_err(String::as_str),
        };
        evaluate(&inputs, self.services.values())
    }

    /// `address@interface+interface`, one per desired address.
    fn desired(&self) -> Vec<String> {
        let names = |desired: &Desired| {
            desired.interfaces.iter().map(|interface| interface.name.clone()).collect::<Vec<_>>().join("+")
        };
        self.evaluate().desired.iter().map(|(ip, desired)| format!("{ip}@{}", names(desired))).collect()
    }

    /// Every refusal as `service address policy: reason`, `-` for what does not apply.
    fn refusals(&self) -> Vec<String> {
        fn or_dash<T: ToString>(value: Option<&T>) -> String {
            value.map_or_else(|| "-".to_owned(), ToString::to_string)
        }
        let refusals = self.evaluate().not_announced;
        let line = |refusal: &NotAnnounced| {
            format!(
                "{} {} {}: {}",
                or_dash(refusal.service.as_ref()),
                or_dash(refusal.address.as_ref()),
                or_dash(refusal.policy.as_ref().map(|id| &id.name)),
                refusal.why.name()
            )
        };
        refusals.iter().map(line).collect()
    }
}

fn spec_of(spec: &Value) -> L2AnnouncementPolicySpec {
    serde_json::from_value(spec.clone()).unwrap()
}

fn story_policy() -> Value {
    json!({
        "serviceSelector": {"matchLabels": {"mdhlabs-arp": "enable"}},
        "nodeSelector": {"matchExpressions": [
            {"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"}]},
        "interfaces": ["^ens18$"],
        "loadBalancerIPs": true,
    })
}

fn story_with(field: &str, value: Value) -> Value {
    let mut policy = story_policy();
    policy[field] = value;
    policy
}

#[test]
fn happy_path() {
    let cluster = Cluster::happy();
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18"]);
    assert_eq!(cluster.refusals(), [] as [&str; 0]);
    let evaluation = cluster.evaluate();
    let desired = &evaluation.desired[&ip(VIP)];
    assert_eq!(desired.services, Few::from([ServiceKey::new("prod", "web")]));
    assert_eq!(desired.policies, Few::from([ours("p")]));
    let report = PolicyReport { services: 1, addresses: 1, matches_here: true };
    assert_eq!(evaluation.policies, BTreeMap::from([(ours("p"), report)]));
}

#[test]
fn happy_path_ipv6_is_evaluated_alike() {
    let mut cluster = Cluster::happy();
    cluster.service("web", &json!({}), &[VIP, "fd00:99::130"]);
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18", "fd00:99::130@ens18"]);
}

#[test]
fn policy_redundancy() {
    let mut cluster = Cluster::happy();
    cluster.policy("q", &story_policy());
    assert_eq!(cluster.evaluate().desired[&ip(VIP)].policies, Few::from([ours("p"), ours("q")]));
    cluster.policies.remove(&ours("p"));
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18"]);
    cluster.policies.remove(&ours("q"));
    assert_eq!(cluster.desired(), [] as [&str; 0]);
    assert_eq!(cluster.refusals(), ["prod/web - -: NoPolicy"]);
}

#[test]
fn interfaces_are_the_union_and_a_removed_policy_takes_its_part_along() {
    let mut cluster = Cluster::happy();
    cluster.policy("q", &story_with("interfaces", json!(["ens19"])));
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18+ens19"]);
    cluster.policies.remove(&ours("p"));
    assert_eq!(cluster.desired(), ["192.168.99.130@ens19"]);
}

#[test]
fn update_host_labels() {
    let mut cluster = Cluster::happy();
    cluster.policy(
        "zone-b",
        &json!({
            "nodeSelector": {"matchLabels": {"zone": "b"}}, "interfaces": ["ens18"], "loadBalancerIPs": true,
            "serviceSelector": {"matchLabels": {"io.kubernetes.service.name": "other"}},
        }),
    );
    cluster.service("other", &json!({}), &[SECOND_VIP]);
    cluster.policy(
        "p",
        &story_with("serviceSelector", json!({"matchLabels": {"io.kubernetes.service.name": "web"}})),
    );
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18"]);
    assert_eq!(cluster.refusals(), ["- - zone-b: NodeNotSelected"]);
    cluster.node_label("zone", "b");
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18", "192.168.99.131@ens18"], "additional match");
    cluster.node_label("node-role.kubernetes.io/control-plane", "");
    assert_eq!(cluster.desired(), ["192.168.99.131@ens18"], "no match; the other is untouched");
}

#[test]
fn update_policy() {
    let mut cluster = Cluster::happy();
    cluster.policy("p", &story_with("serviceSelector", json!({"matchLabels": {"mdhlabs-arp": "other"}})));
    assert_eq!(cluster.desired(), [] as [&str; 0], "no match");
    let any_value = json!({"matchExpressions": [{"key": "mdhlabs-arp", "operator": "Exists"}]});
    cluster.policy("p", &story_with("serviceSelector", any_value));
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18"], "additional match");
}

#[test]
fn policy_selection() {
    let mut cluster = Cluster::happy();
    cluster.service("web", &json!({}), &[]);
    assert_eq!(cluster.refusals(), ["prod/web - -: NoAddress"]);

    cluster.service("web", &json!({"externalIPs": [EXTERNAL]}), &[VIP]);
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18"], "only the LoadBalancer flag");
    assert_eq!(cluster.refusals(), ["prod/web 192.168.99.200 p: ExternalIpsOff"]);

    cluster.policy("p", &story_with("loadBalancerIPs", json!(false)));
    assert_eq!(cluster.desired(), [] as [&str; 0], "both flags off");
    assert!(cluster.refusals().contains(&"- - p: SelectsNothing".to_owned()));

    cluster.policy("p", &story_policy());
    cluster.object(&json!({
        "metadata": {"namespace": "prod", "name": "web", "labels": {"mdhlabs-arp": "enable"}},
        "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}},
    }));
    assert_eq!(cluster.desired(), [] as [&str; 0]);
    assert_eq!(cluster.refusals(), ["prod/web - -: HostnameOnly"]);
}

#[test]
fn change_ip_type() {
    let mut cluster = Cluster::empty();
    let external = json!({"externalIPs": true, "addresses": ["192.168.99.192/26"], "interfaces": ["ens18"]});
    cluster.policy("p", &external);
    cluster.service("web", &json!({"externalIPs": [EXTERNAL]}), &[]);
    assert_eq!(cluster.desired(), ["192.168.99.200@ens18"]);
    cluster.policy("p", &json!({"loadBalancerIPs": true, "interfaces": ["ens18"]}));
    assert_eq!(cluster.desired(), [] as [&str; 0]);
    cluster.service("web", &json!({"externalIPs": [EXTERNAL]}), &[VIP]);
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18"], "an address that comes late");
    cluster.service("web", &json!({"externalIPs": [EXTERNAL]}), &[]);
    assert_eq!(cluster.desired(), [] as [&str; 0], "and goes again");
}

#[test]
fn change_interfaces() {
    let mut cluster = Cluster::happy();
    cluster.policy("p", &story_with("interfaces", json!(["ens19"])));
    assert_eq!(cluster.desired(), ["192.168.99.130@ens19"]);
    cluster.policy("p", &story_with("interfaces", json!([])));
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18"], "the link with the subnet");
    cluster.service("web", &json!({}), &["10.0.0.130"]);
    assert_eq!(cluster.desired(), ["10.0.0.130@ens19"]);
    cluster.service("web", &json!({}), &["203.0.113.130"]);
    assert_eq!(cluster.desired(), ["203.0.113.130@ens18"], "the default route's link");
}

#[test]
fn add_ip_and_del_ip() {
    let mut cluster = Cluster::happy();
    let before = cluster.evaluate().desired[&ip(VIP)].clone();
    cluster.service("web", &json!({}), &[VIP, SECOND_VIP]);
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18", "192.168.99.131@ens18"]);
    assert_eq!(cluster.evaluate().desired[&ip(VIP)], before);
    cluster.service("web", &json!({}), &[VIP]);
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18"]);
}

#[test]
fn load_balancer_class() {
    let mut cluster = Cluster::happy();
    cluster.cilium_policy("c", &json!({"loadBalancerIPs": true, "interfaces": ["ens19"]}));
    for (class, expected) in [
        (CILIUM_CLASS, "192.168.99.130@ens18+ens19"),
        (GATEHERALD_CLASS, "192.168.99.130@ens18"),
        ("example.com/extra", "192.168.99.130@ens18+ens19"),
        ("example.com/other", ""),
    ] {
        cluster.rules.load_balancer_classes = BTreeSet::from(["example.com/extra".to_owned()]);
        cluster.service("web", &json!({"loadBalancerClass": class}), &[VIP]);
        assert_eq!(cluster.desired().join(""), expected, "{class}");
    }
    assert_eq!(
        cluster.refusals(),
        ["prod/web - p: OtherLoadBalancerClass", "prod/web - c: OtherLoadBalancerClass"]
    );
}

#[test]
fn shared_address() {
    let mut cluster = Cluster::happy();
    cluster.service("api", &json!({}), &[VIP]);
    let both = Few::from([ServiceKey::new("prod", "api"), ServiceKey::new("prod", "web")]);
    assert_eq!(cluster.evaluate().desired[&ip(VIP)].services, both);
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18"]);
    cluster.services.remove(&ServiceKey::new("prod", "web"));
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18"]);
    cluster.services.clear();
    assert_eq!(cluster.desired(), [] as [&str; 0]);
}

#[test]
fn zero_matching_interfaces_or_all_of_them_down() {
    let mut cluster = Cluster::happy();
    cluster.links[0].up = false;
    assert_eq!(cluster.desired(), [] as [&str; 0]);
    assert_eq!(cluster.refusals(), ["prod/web 192.168.99.130 p: InterfacesDown"]);
    assert!(!cluster.evaluate().policies[&ours("p")].matches_here);
    cluster.policy("p", &story_with("interfaces", json!(["bond0"])));
    assert_eq!(cluster.desired(), [] as [&str; 0]);
    let refusal = &cluster.evaluate().not_announced[0];
    assert_eq!(refusal.why.to_string(), "NoInterface: ens18: NotMatched, ens19: NotMatched");
    cluster.links.clear();
    assert_eq!(cluster.refusals(), ["prod/web 192.168.99.130 p: NoInterface"]);
}

#[test]
fn addresses_that_are_not_virtual() {
    let mut cluster = Cluster::happy();
    let policy = json!({"externalIPs": true, "loadBalancerIPs": true, "addresses": ["0.0.0.0/0", "::/0"]});
    cluster.policy("p", &policy);
    for address in
        ["192.168.99.11", "192.168.99.12", "10.0.0.11", "192.168.99.1", "224.0.0.9", "192.168.99.255"]
    {
        cluster.service("web", &json!({"externalIPs": [address]}), &[address]);
        assert_eq!(cluster.desired(), [] as [&str; 0], "{address}");
        let line = format!("prod/web {address} -: NotAVirtualAddress");
        assert_eq!(cluster.refusals(), [line.clone(), line]);
    }
}

#[test]
fn addresses_of_a_policy_limit_both_kinds() {
    let mut cluster = Cluster::happy();
    let policy = json!({"externalIPs": true, "loadBalancerIPs": true, "addresses": ["192.168.99.128/26"]});
    cluster.policy("p", &policy);
    cluster.service("web", &json!({"externalIPs": ["192.168.99.140", EXTERNAL]}), &[VIP, "192.168.99.192"]);
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18", "192.168.99.140@ens18"]);
    assert_eq!(
        cluster.refusals(),
        ["prod/web 192.168.99.192 p: OutsideAddresses", "prod/web 192.168.99.200 p: OutsideAddresses"]
    );
}

#[test]
fn external_ips_of_cilium_s_kind_need_the_announcer_s_cidrs() {
    let mut cluster = Cluster::empty();
    cluster.cilium_policy("c", &json!({"externalIPs": true, "loadBalancerIPs": true}));
    cluster.service("web", &json!({"externalIPs": [EXTERNAL]}), &[VIP]);
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18"]);
    assert_eq!(cluster.refusals(), ["prod/web 192.168.99.200 c: OutsideExternalIpCidrs"]);
    cluster.rules.external_ip_cidrs = vec!["192.168.99.192/26".parse().unwrap()];
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18", "192.168.99.200@ens18"]);
}

#[test]
fn nodes_that_announce_nothing() {
    for (reason, change) in [
        ("NodeUnknown", (|cluster| cluster.node = None) as fn(&mut Cluster)),
        ("NodeNetworkUnavailable", |cluster| cluster.node.as_mut().unwrap().network_unavailable = true),
        ("NodeOptedOut", |cluster| cluster.node_label("gateherald.io/announce", "false")),
        ("NodeNotSelected", |cluster| cluster.node_label("node-role.kubernetes.io/control-plane", "")),
        ("NodeExcluded", |cluster| {
            cluster.node_label(crate::node::EXCLUDE_LABEL, "");
            cluster.rules.honor_exclude_label = true;
        }),
    ] {
        let mut cluster = Cluster::happy();
        change(&mut cluster);
        assert_eq!(cluster.desired(), [] as [&str; 0], "{reason}");
        assert_eq!(cluster.refusals(), [format!("- - p: {reason}")], "once, not for every Service");
        let report = PolicyReport { services: 1, addresses: 1, matches_here: false };
        assert_eq!(cluster.evaluate().policies[&ours("p")], report, "counted all the same");
    }
}

#[test]
fn the_exclude_label_is_ignored_unless_it_is_honoured() {
    let mut cluster = Cluster::happy();
    cluster.node_label(crate::node::EXCLUDE_LABEL, "");
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18"]);
}

#[test]
fn what_a_service_says_against_it() {
    let mut cluster = Cluster::happy();
    let labels = json!({"mdhlabs-arp": "enable"});
    cluster.object(&json!({
        "metadata": {"namespace": "prod", "name": "web", "labels": labels,
                     "annotations": {"gateherald.io/announce": "false"}},
        "status": {"loadBalancer": {"ingress": [{"ip": VIP}]}},
    }));
    assert_eq!(cluster.refusals(), ["prod/web - -: ServiceOptedOut"]);
    cluster.object(&json!({
        "metadata": {"namespace": "prod", "name": "web", "labels": labels},
        "status": {"loadBalancer": {"ingress": [{"ip": VIP, "ipMode": "Proxy"}, {"ip": "nonsense"}]}},
    }));
    assert_eq!(cluster.desired(), [] as [&str; 0]);
    assert_eq!(cluster.refusals(), ["prod/web - -: BadAddress", "prod/web 192.168.99.130 -: IpModeProxy"]);
}

#[test]
fn a_service_without_addresses_that_nobody_selects_is_no_matter() {
    let mut cluster = Cluster::empty();
    cluster.service("web", &json!({}), &[]);
    assert_eq!(cluster.refusals(), [] as [&str; 0]);
}

#[test]
fn a_bad_policy_is_reported_and_its_last_good_version_announces() {
    let mut cluster = Cluster::happy();
    cluster.policy("p", &story_with("interfaces", json!(["("])));
    assert_eq!(cluster.desired(), ["192.168.99.130@ens18"]);
    assert_eq!(cluster.refusals(), ["- - p: BadInterfaceRegex"]);
    cluster.policies.remove(&ours("p"));
    cluster.policy("p", &story_with("interfaces", json!(["("])));
    assert_eq!(cluster.desired(), [] as [&str; 0]);
    assert_eq!(cluster.refusals(), ["- - p: BadInterfaceRegex", "prod/web - -: NoPolicy"]);
}

fn any_policy() -> impl Strategy<Value = (u8, bool, Value)> {
    let interfaces = prop::sample::select(vec![json!([]), json!(["ens18"]), json!(["ens"]), json!(["("])]);
    let selector = prop::sample::select(vec![
        json!(null),
        json!({"matchLabels": {"mdhlabs-arp": "enable"}}),
        json!({"matchExpressions": [{"key": "io.kubernetes.service.name", "operator": "NotIn", "values": ["s1"]}]}),
    ]);
    (0..4_u8, any::<bool>(), interfaces, selector, any::<bool>()).prop_map(
        |(n, cilium, interfaces, selector, ext)| {
            let spec = json!({
                "interfaces": interfaces, "serviceSelector": selector, "loadBalancerIPs": true,
                "externalIPs": ext, "addresses": ["192.168.99.0/25", "10.0.0.0/8", "fd00::/8"],
            });
            (n, cilium, spec)
        },
    )
}

fn any_service() -> impl Strategy<Value = Value> {
    let addresses = || {
        let known = [VIP, "192.168.99.100", "10.0.0.7", "fd00::7", "192.168.99.12", "224.0.0.1", "junk"];
        prop::collection::vec(prop::sample::select(known.to_vec()), 0..4)
    };
    (0..6_u8, addresses(), addresses(), any::<bool>()).prop_map(|(n, ingress, external, labelled)| {
        let ingress: Vec<_> = ingress.into_iter().map(|ip| json!({"ip": ip})).collect();
        json!({
            "metadata": {"namespace": "prod", "name": format!("s{n}"),
                         "labels": if labelled { json!({"mdhlabs-arp": "enable"}) } else { json!({}) }},
            "spec": {"externalIPs": external},
            "status": {"loadBalancer": {"ingress": ingress}},
        })
    })
}

proptest! {
    #[test]
    fn the_order_of_everything_is_without_influence(
        policies in prop::collection::vec(any_policy(), 0..5),
        services in prop::collection::vec(any_service(), 0..8),
        seed in any::<prop::sample::Index>(),
    ) {
        let mut cluster = Cluster::empty();
        let newest: BTreeMap<_, _> = policies.iter().map(|(n, cilium, spec)| ((*n, *cilium), spec)).collect();
        for ((n, cilium), spec) in &newest {
            let name = format!("p{n}");
            if *cilium { cluster.cilium_policy(&name, spec) } else { cluster.policy(&name, spec) }
        }
        for service in &services {
            cluster.object(service);
        }
        let forth = cluster.evaluate();

        let mut back = Cluster::empty();
        for ((n, cilium), spec) in newest.iter().rev() {
            let name = format!("p{n}");
            if *cilium { back.cilium_policy(&name, spec) } else { back.policy(&name, spec) }
        }
        back.links.reverse();
        back.node_addresses.reverse();
        let mut views: Vec<_> = cluster.services.values().collect();
        if !views.is_empty() {
            let middle = seed.index(views.len());
            views.rotate_left(middle);
            views.reverse();
        }
        let taken = Taken::new(back.node_addresses.iter().copied(), &back.links);
        let inputs = Inputs {
            policies: &back.policies, rules: &back.rules, node: back.node.as_ref(), links: &back.links, taken: &taken,
            endpoints: back.endpoints.as_ref().map_err(String::as_str),
        };
        prop_assert_eq!(&forth, &evaluate(&inputs, views));

        for (address, desired) in &forth.desired {
            prop_assert!(!desired.interfaces.is_empty() && !desired.services.is_empty());
            prop_assert!(taken.check(*address).is_ok());
        }
    }
}
