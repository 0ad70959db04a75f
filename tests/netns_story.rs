// SPDX-License-Identifier: Apache-2.0
//! What the logs tell of one address: its whole story, in order, by its name alone.

use gateherald_lab::Announcer;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_tests::vips::Site;
use serde_json::json;

const PAGE: &str = include_str!("../docs/operations.md");

/// The messages about an address, as `grep` finds them: the log's own text up to the first field.
fn story(announcer: &Announcer, address: &str) -> Vec<String> {
    let log = announcer.process().log();
    let about = format!("address={address}");
    let lines = log.lines().filter(|line| line.split_whitespace().any(|word| word == about));
    lines.map(message).collect()
}

/// `2026-01-01T00:00:00Z  INFO target: the message address=… node=…` → `the message`.
fn message(line: &str) -> String {
    let text = line.split_once(": ").map_or(line, |(_, text)| text);
    let words = text.split_whitespace().take_while(|word| !word.contains('='));
    words.collect::<Vec<_>>().join(" ")
}

async fn tells(announcer: &Announcer, address: &str, wanted: &[&str]) -> anyhow::Result<()> {
    until(&format!("the story of {address}"), LONG, async || {
        let story = story(announcer, address);
        Ok(if story == wanted {
            Look::Found(())
        } else {
            Look::NotYet(format!("{story:#?} and not {wanted:#?}"))
        })
    })
    .await
}

#[test]
fn a_move_can_be_followed_in_the_logs_of_both_nodes() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "story", 2).await?;
        let vip = site.lan.address(200);
        let address = vip.to_string();
        site.service("web", &[vip]).await?;
        let first = site.owner(vip).await?;
        let (old, new) = (&site.announcers[first], &site.announcers[1 - first]);
        let heir = site.nodes[1 - first].name();
        let prefer = json!({ "metadata": { "annotations": { "gateherald.io/preferred-node": heir } } });
        site.patch("web", prefer).await?;
        site.claimed_by(vip, Some(heir)).await?;
        assert_eq!(site.owner(vip).await?, 1 - first);
        // `address selected` again: the Service prefers a node now.
        let mut left =
            vec!["address selected", "owning the address", "address selected", "handing the address over"];
        let mut took = vec!["address selected", "address selected", "owning the address"];
        tells(old, &address, &left).await?;
        tells(new, &address, &took).await?;
        let line = |announcer: &Announcer, text: &str| {
            announcer.process().log().lines().find(|line| line.contains(text)).unwrap_or_default().to_owned()
        };
        assert!(line(old, "handing the address over").contains(&format!("node=\"{heir}\"")));
        assert!(line(new, "owning the address").contains("ground=\"handed-over\""));
        // Stopped, it says so; the other takes the address back.
        assert!(new.process().terminate().await?.success());
        assert_eq!(site.owner(vip).await?, first);
        took.push("left to other nodes: stopping");
        left.push("owning the address");
        tells(new, &address, &took).await?;
        tells(old, &address, &left).await?;
        // Its session is lost, and the next one takes it again.
        let session = format!("gateherald-node-{}", site.nodes[first].name());
        lab.kubectl(&["delete", "lease", "-n", gateherald_lab::chart::NAMESPACE, &session]).await?;
        left.extend(["silent: its session is lost", "owning the address"]);
        tells(old, &address, &left).await?;
        // Each message is on the page that explains them.
        for message in left.iter().chain(&took) {
            assert!(
                PAGE.contains(&format!("`{message}`")),
                "docs/operations.md does not explain {message:?}"
            );
        }
        Ok(())
    })
}
