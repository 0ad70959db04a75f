// SPDX-License-Identifier: Apache-2.0
//! `preview`.

use std::fmt::Write as _;

use gateherald_model::metadata::LabelMap;

use super::reading::{Source, tell_gaps};
use crate::{
    args::{Global, Input, PreviewArgs, PreviewOutput},
    finding::Finding,
    io::{
        clock, files,
        lists::Depth,
        terminal::{Terminal, tell},
    },
    picture::Picture,
    preview::{Announced, Preview, Side},
    render::Style,
    run::Ending,
    snapshot::{Gap, Snapshot, files as documents},
    trace::{self, State},
};

/// Shows what files would change.
pub(crate) async fn run(global: &Global, args: &PreviewArgs, terminal: Terminal) -> anyhow::Result<Ending> {
    let sources = files::read(&args.filename)?;
    let (before, rules_before) = if args.offline {
        let mut empty = Snapshot::empty(clock::now());
        documents::close(&mut empty);
        (empty, None)
    } else {
        Source::open(global, &Input::default()).await?.snapshot(Depth::Chains).await?
    };
    tell_gaps(&before);
    let mut after = before.clone();
    let extras = documents::load(&mut after, &sources)?;
    if !extras.ignored.is_empty() {
        tell(&format!("ignored: objects of kind {}", extras.ignored.join(", ")));
    }
    // Nobody announces yet what is only written down: who holds it is no question of the files.
    if args.offline && after.leases.items.is_empty() {
        after.leases.gap = Some(Gap::NotAsked);
    }
    let rules_after = extras.rules.or_else(|| rules_before.clone());
    let pictures = (Picture::new(&before, rules_before.as_ref()), Picture::new(&after, rules_after.as_ref()));
    let traces = (trace::all(&pictures.0), trace::all(&pictures.1));
    let preview = Preview::new(
        &Side { picture: &pictures.0, traces: &traces.0 },
        &Side { picture: &pictures.1, traces: &traces.1 },
    );
    let text = match args.output {
        PreviewOutput::Json => serde_json::to_string_pretty(&preview)? + "\n",
        PreviewOutput::Text => text(&preview, terminal.style),
    };
    terminal.write(&text)?;
    Ok(if preview.introduces_errors() { Ending::SomethingIsWrong } else { Ending::Fine })
}

/// For people.
fn text(preview: &Preview, style: Style) -> String {
    let mut text = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let _ = writeln!(text, "{}", style.bold(title));
            for line in lines {
                let _ = writeln!(text, "  {line}");
            }
            text.push('\n');
        }
    };
    section("Labels that Gateherald would change", services(preview));
    section("Labels that Services of new Gateways would get", gateways(preview));
    section("Addresses that would be announced otherwise", addresses(preview));
    section("Problems introduced", problems(&preview.introduced, style, State::Broken));
    section("Problems fixed", problems(&preview.fixed, style, State::Good));
    section("Problems unchanged", problems(&preview.unchanged, style, State::Unknown));
    if text.is_empty() {
        return "Nothing would change.\n".to_owned();
    }
    text.trim_end().to_owned() + "\n"
}

fn pairs(sign: char, labels: &LabelMap) -> Vec<String> {
    labels.iter().map(|(key, value)| format!("{sign}{key}={value}")).collect()
}

fn services(preview: &Preview) -> Vec<String> {
    let line = |change: &crate::preview::ServiceChange| {
        let mut words = pairs('+', &change.added);
        words.extend(pairs('~', &change.changed));
        words.extend(change.removed.iter().map(|key| format!("-{key}")));
        format!("Service {}: {}", change.service, words.join(" "))
    };
    preview.services.iter().map(line).collect()
}

fn gateways(preview: &Preview) -> Vec<String> {
    let mut lines = Vec::new();
    for future in &preview.gateways {
        let labels = pairs('+', &future.labels);
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(" ") };
        lines.push(format!("Gateway {}: {labels}", future.gateway));
        let kept: Vec<String> =
            future.kept_off.iter().map(|skipped| format!("{} ({})", skipped.key, skipped.reason)).collect();
        if !kept.is_empty() {
            lines.push(format!("  kept off: {}", kept.join(", ")));
        }
        let list = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        lines.push(format!("  pools: {}; policies: {}", list(&future.pools), list(&future.policies)));
    }
    lines
}

fn addresses(preview: &Preview) -> Vec<String> {
    let side = |announced: &Announced| {
        if announced.policies.is_empty() {
            return "by nobody".to_owned();
        }
        let join = |set: &std::collections::BTreeSet<String>, none: &str| {
            if set.is_empty() { none.to_owned() } else { set.iter().cloned().collect::<Vec<_>>().join(", ") }
        };
        format!(
            "on {} ({}) by {}",
            join(&announced.nodes, "no node"),
            join(&announced.interfaces, "any interface of its subnet"),
            join(&announced.policies, "")
        )
    };
    let line = |change: &crate::preview::AddressChange| {
        format!("{}: {} -> {}", change.address, side(&change.before), side(&change.after))
    };
    preview.addresses.iter().map(line).collect()
}

fn problems(findings: &[Finding], style: Style, state: State) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in findings {
        lines.push(format!("{} {finding}", style.coloured(state, &finding.code.to_string())));
        if state == State::Broken {
            lines.push(format!("  {}", finding.mend));
        }
    }
    lines
}
