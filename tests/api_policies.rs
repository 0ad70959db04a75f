// SPDX-License-Identifier: Apache-2.0
//! What the API server itself says to a policy: the examples are accepted, and what can be caught early is refused.

use gateherald_lab::Lab;
use serde_json::{Value, json};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/policies.yaml");

/// What kubectl says to a policy with this spec, which is not stored.
async fn try_out(lab: &Lab, spec: &Value) -> anyhow::Result<String> {
    let policy = json!({
        "apiVersion": "gateherald.io/v1alpha1",
        "kind": "L2AnnouncementPolicy",
        "metadata": { "name": "tried-out" },
        "spec": spec,
    });
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), policy.to_string())?;
    lab.kubectl(&["create", "--dry-run=server", "-f", &file.path().to_string_lossy()]).await
}

#[test]
fn every_example_is_accepted() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let said = lab.kubectl(&["apply", "--dry-run=server", "-f", EXAMPLES]).await?;
        let (documents, created) = (std::fs::read_to_string(EXAMPLES)?, said.matches("created").count());
        assert_eq!(created, documents.matches("kind: L2AnnouncementPolicy").count(), "{said}");
        Ok(())
    })
}

#[test]
fn what_can_be_caught_early_is_refused_with_its_field() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let expression = |operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": "zone", "operator": operator, "values": values }] });
        let table = [
            (json!({ "externalIPs": true }), "externalIPs needs addresses"),
            (json!({ "externalIPs": true, "addresses": [] }), "externalIPs needs addresses"),
            (json!({ "addresses": ["192.168.99.128"] }), "spec.addresses[0]"),
            (json!({ "addresses": ["192.168.99.128/33"] }), "spec.addresses[0]"),
            (json!({ "interfaces": ["eth0", "ens18("] }), "spec.interfaces[1]"),
            (json!({ "interfaces": [""] }), "spec.interfaces[0]"),
            (json!({ "interfaces": ["x".repeat(254)] }), "spec.interfaces[0]"),
            (json!({ "interfaces": vec!["x"; 65] }), "spec.interfaces"),
            (json!({ "nodeSelector": expression("In", &[]) }), "In and NotIn need values"),
            (json!({ "serviceSelector": expression("NotIn", &[]) }), "In and NotIn need values"),
            (json!({ "nodeSelector": expression("Exists", &["a"]) }), "In and NotIn need values"),
            (
                json!({ "nodeSelector": expression("Equals", &["a"]) }),
                "spec.nodeSelector.matchExpressions[0].operator",
            ),
            (
                json!({ "nodeSelector": expression("In", &["a b"]) }),
                "spec.nodeSelector.matchExpressions[0].values[0]",
            ),
            (
                json!({ "serviceSelector": { "matchLabels": { "zone": "a b" } } }),
                "spec.serviceSelector.matchLabels.zone",
            ),
            (json!({ "loadBalancerIPs": "yes" }), "spec.loadBalancerIPs"),
        ];
        for (spec, field) in table {
            match try_out(lab, &spec).await {
                Ok(said) => panic!("{spec}: {said}"),
                Err(error) => {
                    let said = format!("{error:#}");
                    assert!(said.contains(field), "{spec}: {field} in {said}");
                }
            }
        }
        for spec in [
            json!({}),
            json!({ "interfaces": ["^ens18$", r"^(eth|en\w+)[0-9]+$", "bond."], "loadBalancerIPs": true }),
            json!({ "nodeSelector": expression("DoesNotExist", &[]), "serviceSelector": expression("In", &["", "a"]) }),
            json!({ "externalIPs": true, "addresses": ["192.168.99.128/25", "2001:db8::/64"] }),
        ] {
            try_out(lab, &spec).await?;
        }
        Ok(())
    })
}

#[test]
fn kubectl_shows_the_verdict_and_the_counts() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let path = "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}";
        let columns =
            lab.kubectl(&["get", "crd", "l2announcementpolicies.gateherald.io", "-o", path]).await?;
        assert_eq!(columns, "Valid Reason Services Addresses Announced Nodes Age In-Force Message");
        lab.kubectl(&["get", "ghl2"]).await.map(drop)
    })
}
