// SPDX-License-Identifier: Apache-2.0
use clap::CommandFactory;

use super::*;
use crate::args::Args;

fn complete(line: &str) -> Vec<String> {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let names = Names {
        subjects: vec!["gateway/cd-arp-gw".into(), "service/web".into()],
        addresses: vec!["192.168.99.128".into()],
        nodes: vec!["worker-1".into()],
        namespaces: vec!["prod".into()],
    };
    let text = candidates(&Args::command(), &words, &names);
    text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn commands_come_first() {
    assert_eq!(complete("fl"), ["flow", ":4"]);
    assert!(complete("").contains(&"check".to_owned()) && !complete("").contains(&"__complete".to_owned()));
}

#[test]
fn names_come_where_they_are_asked_for() {
    assert_eq!(complete("flow gate"), ["gateway/cd-arp-gw", ":4"]);
    assert_eq!(complete("-n prod flow serv"), ["service/web", ":4"]);
    assert_eq!(complete("move "), ["192.168.99.128", ":4"]);
    assert_eq!(complete("move 192.168.99.128 --to "), ["worker-1", ":4"]);
    assert_eq!(complete("evacuate w"), ["worker-1", ":4"]);
    assert_eq!(complete("flow -n "), ["prod", ":4"]);
}

#[test]
fn flags_and_their_values_are_clap_s() {
    assert_eq!(complete("flow --wa"), ["--watch", ":4"]);
    assert_eq!(complete("flow -o m"), ["mermaid", ":4"]);
    assert_eq!(complete("vips --output js"), ["json", ":4"]);
    assert_eq!(complete("check --kubec"), ["--kubeconfig", ":4"]);
    assert_eq!(complete("audit --outcome lookup"), ["lookup-failed", ":4"]);
}

#[test]
fn files_are_left_to_the_shell() {
    assert_eq!(complete("preview -f "), [":0"]);
    assert_eq!(complete("flow --kubeconfig x"), [":0"]);
}
