// SPDX-License-Identifier: Apache-2.0
use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Args::command().debug_assert();
}

#[test]
fn every_command_has_examples() {
    let command = Args::command();
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("kubectl gateherald"), "{} has no examples", sub.get_name());
    }
}

#[test]
fn flags_stand_before_or_after_the_command() {
    let args =
        Args::try_parse_from(["kubectl-gateherald", "-n", "prod", "vips", "--context", "lab"]).unwrap();
    assert_eq!(
        (args.global.namespace.as_deref(), args.global.context.as_deref()),
        (Some("prod"), Some("lab"))
    );
}

#[test]
fn one_namespace_and_all_of_them_exclude_each_other() {
    assert!(Args::try_parse_from(["kubectl-gateherald", "vips", "-n", "a", "-A"]).is_err());
}

#[test]
fn durations_have_units() {
    assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
    assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
    assert!(duration("soon").is_err() && duration("").is_err() && seconds("0").is_err());
}
