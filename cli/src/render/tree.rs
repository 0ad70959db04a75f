// SPDX-License-Identifier: Apache-2.0
//! Chains as a tree in the terminal.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{Style, age, folded};
use crate::trace::{AddressTrace, Link, State, Trace};

/// All chains. Those that are good take no more lines than they need.
pub(crate) fn tree(traces: &[&Trace], now: Timestamp, style: Style) -> String {
    let mut text = String::new();
    let mut gateway = None;
    for trace in traces {
        if trace.gateway.is_none() || gateway != Some(&trace.gateway) {
            if !text.is_empty() {
                text.push('\n');
            }
            let root = match (&trace.gateway, &trace.service) {
                (Some((namespace, name)), _) => format!("Gateway {namespace}/{name}"),
                (None, Some(service)) => format!("Service {service}"),
                (None, None) => continue,
            };
            let _ = writeln!(text, "{}", style.bold(&root));
        }
        gateway = Some(&trace.gateway);
        let more = traces.iter().filter(|other| other.gateway.is_some() && other.gateway == trace.gateway);
        let last = more.into_iter().next_back().is_none_or(|last| std::ptr::eq(*last, *trace));
        let root = node_of(trace, now);
        if trace.gateway.is_some() {
            branch(&mut text, &root, "", last, "", style);
        } else {
            children(&mut text, &root, "", style);
        }
    }
    text
}

/// A line with what hangs on it.
struct Branch<'a> {
    link: &'a Link,
    text: String,
    below: Vec<Branch<'a>>,
}

fn node_of(trace: &Trace, now: Timestamp) -> Branch<'_> {
    let name = trace.service.as_ref().map_or_else(|| "no Service".to_owned(), |key| format!("Service {key}"));
    let mut below = Vec::new();
    if trace.service.is_some() {
        below.push(leaf(&trace.labels, "labels".to_owned()));
        let pools = if trace.pools.is_empty() { "no pool".to_owned() } else { trace.pools.join(", ") };
        below.push(leaf(&trace.pool, pools));
        let policies: Vec<String> = trace.policies.iter().map(ToString::to_string).collect();
        below.push(leaf(
            &trace.policy,
            if policies.is_empty() { "no policy".to_owned() } else { policies.join(", ") },
        ));
        below.extend(trace.addresses.iter().map(|address| of_address(address, now)));
    }
    Branch { link: &trace.to_service, text: name, below }
}

fn of_address(trace: &AddressTrace, now: Timestamp) -> Branch<'_> {
    let Some(address) = trace.address else {
        return leaf(&trace.to_address, "no address".to_owned());
    };
    let holding = &trace.holding;
    let since = holding.since.map_or_else(String::new, |since| format!(" for {}", age(now, since)));
    let claim = match &holding.lease {
        Some(lease) => format!("claim {lease}{since}"),
        None => "no claim".to_owned(),
    };
    let name = |what: &str, name: Option<&String>| {
        name.map_or_else(|| what.to_owned(), |name| format!("{what} {name}"))
    };
    let interfaces = match holding.interfaces.as_slice() {
        [] => "interface".to_owned(),
        some => format!("interface {}", some.join(", ")),
    };
    let interface = leaf(&trace.interface, interfaces);
    let node = Branch { below: vec![interface], ..leaf(&trace.node, name("node", holding.node.as_ref())) };
    let session =
        Branch { below: vec![node], ..leaf(&trace.session, name("session", holding.session.as_ref())) };
    let claim = Branch { below: vec![session], ..leaf(&trace.claim, claim) };
    Branch { below: vec![claim], ..leaf(&trace.to_address, format!("address {address}")) }
}

fn leaf(link: &Link, text: String) -> Branch<'_> {
    Branch { link, text, below: Vec::new() }
}

/// `above` is what the line above says: what follows from it for the same reason does not say it again.
fn branch(text: &mut String, node: &Branch<'_>, indent: &str, last: bool, above: &str, style: Style) {
    let (turn, rail) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    let again = node.link.says.is_empty() || (node.link.findings.is_empty() && node.link.says == above);
    let says = if again { String::new() } else { format!(": {}", node.link.says) };
    let below = format!("{indent}{rail}");
    let rail = if node.below.is_empty() { "   " } else { "│  " };
    let mark = style.mark(node.link.state);
    for (at, line) in lines(&format!("{}{says}", node.text), &below, style).iter().enumerate() {
        let _ = match at {
            0 => writeln!(text, "{indent}{turn}{mark} {line}"),
            _ => writeln!(text, "{below}{rail}{line}"),
        };
    }
    for finding in &node.link.findings {
        for line in lines(&format!("{} {}", finding.code, finding.mend), &below, style) {
            let _ = writeln!(text, "{below}{rail}{}", style.coloured(State::Warning, &line));
        }
    }
    children(text, node, &below, style);
}

/// Text as lines that fit between what hangs before them and the end of the terminal's lines, so that the rails stay whole.
fn lines(text: &str, before: &str, style: Style) -> Vec<String> {
    /// What is narrower than a few words is no easier to read.
    const FEWEST: usize = 24;
    // Before each line there is a mark or a rail, of three characters.
    let left = style.width.map(|width| width.saturating_sub(before.chars().count() + 3));
    match left {
        Some(left) if left >= FEWEST => folded(text, left),
        _ => vec![text.to_owned()],
    }
}

fn children(text: &mut String, node: &Branch<'_>, indent: &str, style: Style) {
    for (at, child) in node.below.iter().enumerate() {
        branch(text, child, indent, at + 1 == node.below.len(), &node.link.says, style);
    }
}
