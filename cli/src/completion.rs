// SPDX-License-Identifier: Apache-2.0
//! Candidates for an unfinished command line, in the form in which kubectl asks plugins for them: one a line, then
//! `:` and a number that says what the shell shall do.

use clap::Command;

/// Nothing else, and no file names.
const ONLY_THESE: &str = ":4\n";
/// File names.
const FILES: &str = ":0\n";

/// What is known of the cluster, if it was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// `gateway/NAME`, `service/NAME`, addresses.
    pub(crate) subjects: Vec<String>,
    pub(crate) addresses: Vec<String>,
    pub(crate) nodes: Vec<String>,
    pub(crate) namespaces: Vec<String>,
}

/// What the word that is being typed stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Command,
    Flag,
    Subject,
    Address,
    Node,
    Namespace,
    File,
    /// The values that the flag takes, or nothing.
    Value,
}

/// What the last word stands for.
pub(crate) fn slot(command: &Command, words: &[String]) -> Slot {
    let (last, before) = words.split_last().map_or(("", words), |(last, before)| (last.as_str(), before));
    let Some(sub) = before.iter().find_map(|word| command.find_subcommand(word)) else {
        return match before.last().map(String::as_str) {
            Some("-n" | "--namespace") => Slot::Namespace,
            Some("--kubeconfig") => Slot::File,
            _ if last.starts_with('-') => Slot::Flag,
            _ => Slot::Command,
        };
    };
    match before.last().map(String::as_str) {
        Some("-n" | "--namespace") => Slot::Namespace,
        Some("-f" | "--filename" | "--kubeconfig") if sub.get_name() != "audit" => Slot::File,
        Some("--to" | "--from") => Slot::Node,
        Some(flag) if takes_values(command, sub, flag) => Slot::Value,
        _ if last.starts_with('-') => Slot::Flag,
        _ => match sub.get_name() {
            "flow" | "vips" => Slot::Subject,
            "move" | "probe" => Slot::Address,
            "evacuate" => Slot::Node,
            _ => Slot::Value,
        },
    }
}

fn takes_values(command: &Command, sub: &Command, flag: &str) -> bool {
    let mut all = sub.get_arguments().chain(command.get_arguments());
    all.any(|arg| is(arg, flag) && arg.get_action().takes_values())
}

fn is(arg: &clap::Arg, flag: &str) -> bool {
    let long = flag.strip_prefix("--").is_some_and(|name| arg.get_long() == Some(name));
    let short =
        flag.strip_prefix('-').is_some_and(|name| arg.get_short().map(String::from).as_deref() == Some(name));
    long || short
}

/// The candidates that begin like the last word, and what the shell shall do.
pub(crate) fn candidates(command: &Command, words: &[String], names: &Names) -> String {
    let last = words.last().map_or("", String::as_str);
    let slot = slot(command, words);
    let mut found: Vec<String> = match slot {
        Slot::File => return FILES.to_owned(),
        Slot::Command => {
            let subs = command.get_subcommands().filter(|sub| !sub.is_hide_set());
            subs.map(|sub| described(sub.get_name(), sub.get_about().map(ToString::to_string))).collect()
        }
        Slot::Flag => flags(command, words),
        Slot::Subject => names.subjects.clone(),
        Slot::Address => names.addresses.clone(),
        Slot::Node => names.nodes.clone(),
        Slot::Namespace => names.namespaces.clone(),
        Slot::Value => values(command, words),
    };
    found.retain(|candidate| candidate.starts_with(last));
    found.sort();
    found.dedup();
    found.into_iter().map(|candidate| candidate + "\n").collect::<String>() + ONLY_THESE
}

fn described(name: &str, about: Option<String>) -> String {
    about.map_or_else(|| name.to_owned(), |about| format!("{name}\t{about}"))
}

fn sub<'c>(command: &'c Command, words: &[String]) -> Option<&'c Command> {
    words.iter().find_map(|word| command.find_subcommand(word))
}

fn flags(command: &Command, words: &[String]) -> Vec<String> {
    let own = sub(command, words).into_iter().flat_map(Command::get_arguments);
    let visible = own.chain(command.get_arguments()).filter(|arg| !arg.is_hide_set());
    visible
        .filter_map(|arg| {
            Some(described(&format!("--{}", arg.get_long()?), arg.get_help().map(ToString::to_string)))
        })
        .collect()
}

fn values(command: &Command, words: &[String]) -> Vec<String> {
    let flag = words.len().checked_sub(2).and_then(|at| words.get(at));
    let Some(flag) = flag else { return Vec::new() };
    let own = sub(command, words).into_iter().flat_map(Command::get_arguments);
    let arg = own.chain(command.get_arguments()).find(|arg| is(arg, flag));
    let values = arg.map(clap::Arg::get_possible_values).unwrap_or_default();
    values.iter().map(|value| value.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests;
