// SPDX-License-Identifier: Apache-2.0
//! `externalTrafficPolicy: Local` on the wire: an address is where its Service's endpoints are.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use gateherald_lab::Options;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::standin::endpoints;
use gateherald_tests::vips::{Site, voices};
use serde_json::{Value, json};

/// Long enough for an answer that should not come; a right one takes a few milliseconds.
const QUIET: Duration = Duration::from_millis(700);
const OFTEN: Duration = Duration::from_millis(10);

/// Writes one slice of the Service `web`.
async fn slice(site: &Site<'_>, name: &str, endpoints: Value) -> anyhow::Result<()> {
    endpoints::write(site.lab.client(), &site.namespace, "web", (name, "IPv4"), &endpoints).await
}

fn on(node: &str, ready: bool) -> Value {
    json!({ "addresses": ["10.244.0.7"], "nodeName": node, "conditions": { "ready": ready } })
}

fn ending(node: &str) -> Value {
    let conditions = json!({ "ready": false, "serving": true, "terminating": true });
    json!({ "addresses": ["10.244.0.7"], "nodeName": node, "conditions": conditions })
}

async fn local(site: &Site<'_>, vips: &[Ipv4Addr]) -> anyhow::Result<()> {
    site.service_with("web", json!({ "externalTrafficPolicy": "Local" }), vips).await.map(drop)
}

/// Whether each announcer has an open watch of EndpointSlices, by the API server's own count of them.
async fn watches(site: &Site<'_>, wanted: bool) -> anyhow::Result<()> {
    until(&format!("EndpointSlices are watched: {wanted}"), LONG, async || {
        let mut said = Vec::new();
        for announcer in &site.announcers {
            let log = announcer.process().log();
            let last =
                log.lines().rfind(|line| line.contains("EndpointSlices")).unwrap_or_default().to_owned();
            said.push(last.contains("watching EndpointSlices"));
        }
        let all = said.iter().all(|watching| *watching == wanted);
        Ok(if all { Look::Found(()) } else { Look::NotYet(format!("{said:?}")) })
    })
    .await
}

#[test]
fn an_address_follows_the_ready_endpoints_of_its_service() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "local", 3).await?;
        let vip = site.lan.address(200);
        let names: Vec<String> = site.nodes.iter().map(|node| node.name().to_owned()).collect();
        watches(&site, false).await?;
        local(&site, &[vip]).await?;
        // No endpoint anywhere: nobody, and everybody says why.
        for node in 0..3 {
            site.refused(node, Some(vip), "NoEndpoints").await?;
        }
        watches(&site, true).await?;
        site.silent(vip, QUIET).await?;
        assert_eq!(site.claim_holder(vip).await?, None);
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &[vip]);
        // The second slice is the one that counts; the first has an endpoint that is not ready.
        slice(&site, "web-1", json!([on(&names[0], false)])).await?;
        slice(&site, "web-2", json!([on(&names[1], true)])).await?;
        site.claimed_by(vip, Some(names[1].as_str())).await?;
        assert_eq!(site.owner(vip).await?, 1);
        site.refused(0, Some(vip), "NoLocalEndpoint").await?;
        // It ends, and serves on for as long as nobody else is ready.
        slice(&site, "web-2", json!([ending(&names[1])])).await?;
        site.silent_but_for(vip, 1, QUIET).await?;
        slice(&site, "web-1", json!([on(&names[0], true)])).await?;
        site.claimed_by(vip, Some(names[0].as_str())).await?;
        assert_eq!(site.owner(vip).await?, 0);
        site.refused(1, Some(vip), "NoLocalEndpoint").await?;
        drop(asking);
        let spoke = voices(&wire.frames(), vip);
        assert_eq!(spoke, [site.nodes[1].mac(), site.nodes[0].mac()], "one after the other");
        // The last endpoint goes, and nobody has it.
        endpoints::remove(lab.client(), &site.namespace, "web-1").await?;
        endpoints::remove(lab.client(), &site.namespace, "web-2").await?;
        site.claimed_by(vip, None).await?;
        site.silent(vip, QUIET).await?;
        site.refused(0, Some(vip), "NoEndpoints").await?;
        // Any node again.
        site.patch("web", json!({ "spec": { "externalTrafficPolicy": "Cluster" } })).await?;
        site.owner(vip).await?;
        watches(&site, false).await
    })
}

/// As Cilium makes it: one address that nobody has, mirrored into a slice by the controller manager.
#[test]
fn a_service_generated_for_a_gateway_is_announced_from_any_node() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "dummy", 2).await?;
        let (vip, vip6) = (site.lan.address(200), site.lan.address6(0x200));
        let service = site.service_with("web", json!({ "externalTrafficPolicy": "Local" }), &[]).await?;
        let both: [IpAddr; 2] = [vip.into(), vip6.into()];
        gateherald_lab::standin::address_allocator::write(&lab.client(), &service, &both).await?;
        site.refused(0, Some(vip), "NoEndpoints").await?;
        let dummy = json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": { "name": "web", "namespace": site.namespace },
            "subsets": [{ "addresses": [{ "ip": "192.192.192.192" }], "ports": [{ "port": 9999 }] }],
        });
        lab.apply(&dummy.to_string()).await?;
        let owner = site.owner(vip).await?;
        site.owner6(vip6).await?;
        assert!(site.announcers[owner].process().terminate().await?.success());
        assert_eq!(site.owner(vip).await?, 1 - owner, "and from the other one");
        Ok(())
    })
}

#[test]
fn without_the_right_to_look_at_endpoints_nothing_wrong_is_announced_and_the_reason_is_told()
-> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let role = lab.kubectl(&["get", "clusterrole", "gateherald-announcer", "-o", "json"]).await?;
        let role: Value = serde_json::from_str(&role)?;
        let rules = role["rules"].as_array().cloned().unwrap_or_default();
        let without = rules.iter().filter(|rule| rule["resources"] != json!(["endpointslices"]));
        let fewer: Vec<Value> = without.cloned().collect();
        assert_eq!(fewer.len() + 1, rules.len());
        let metadata = json!({ "name": "gateherald-announcer" });
        let set = async |rules: Vec<Value>| {
            let role = json!({ "apiVersion": role["apiVersion"], "kind": "ClusterRole", "metadata": metadata, "rules": rules });
            lab.apply(&role.to_string()).await
        };
        set(fewer).await?;
        let site = Site::new(lab, "blind", 1).await?;
        let (vip, plain) = (site.lan.address(200), site.lan.address(201));
        site.service("plain", &[plain]).await?;
        assert_eq!(site.owner(plain).await?, 0);
        slice(&site, "web-1", json!([on(site.nodes[0].name(), true)])).await?;
        local(&site, &[vip]).await?;
        let refused = until("the reason is RBAC", LONG, async || {
            let refused = site.refused(0, Some(vip), "EndpointsUnknown").await?;
            let told = refused["detail"].as_str().unwrap_or_default().contains("RBAC does not allow to list");
            Ok(if told { Look::Found(refused) } else { Look::NotYet(refused.to_string()) })
        })
        .await?;
        assert!(refused["detail"].as_str().unwrap_or_default().contains("endpointslices"), "{refused}");
        let ready = site.announcers[0].get("/ready").await?;
        assert!(ready.status == 503 && ready.body.contains("[-] endpoints: RBAC"), "{}", ready.body);
        site.silent(vip, QUIET).await?;
        assert_eq!(site.claim_holder(vip).await?, None);
        assert_eq!(site.owner(plain).await?, 0, "who does not ask is not concerned");
        // Given the right, it goes on by itself.
        set(rules).await?;
        assert_eq!(site.owner(vip).await?, 0);
        site.announcers[0].wait_ready().await
    })
}

/// Cluster is content with any node, so with the one that Local needs.
#[test]
fn services_that_share_an_address_are_announced_where_all_of_them_can_be_served() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "both", 2).await?;
        let vip = site.lan.address(200);
        site.service("cluster", &[vip]).await?;
        let first = site.owner(vip).await?;
        let other = site.nodes[1 - first].name().to_owned();
        slice(&site, "web-1", json!([on(&other, true)])).await?;
        local(&site, &[vip]).await?;
        site.claimed_by(vip, Some(other.as_str())).await?;
        assert_eq!(site.owner(vip).await?, 1 - first);
        site.refused(first, Some(vip), "SharedElsewhere").await?;
        site.refused(first, Some(vip), "NoLocalEndpoint").await?;
        // Without any endpoint it can't be served anywhere, and takes nobody down.
        slice(&site, "web-1", json!([on(&other, false)])).await?;
        site.refused(1 - first, Some(vip), "NoEndpoints").await?;
        let wanted = json!([format!("{}/cluster", site.namespace)]);
        site.vip_is(1 - first, vip, "services", &wanted).await?;
        assert_eq!(site.owner(vip).await?, 1 - first, "and moves nothing");
        Ok(())
    })
}
