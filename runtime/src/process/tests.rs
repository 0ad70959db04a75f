// SPDX-License-Identifier: Apache-2.0
use prometheus_client::encoding::text::encode;

use super::*;

#[test]
fn stat_is_parsed_behind_a_command_name_with_parentheses() {
    let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 300 0 0";
    let usage = Usage::parse(stat, "Name:\tx\nVmRSS:\t  12 kB\n", "cpu 1\nbtime 1000\n", 7).unwrap();
    let expected =
        Usage { cpu_seconds: 2.0, start_time_seconds: 1003.0, resident_bytes: 12 * 1024, open_fds: 7 };
    assert_eq!(usage, expected);
}

#[test]
fn cut_files_give_nothing() {
    assert_eq!(Usage::parse("42 (a) S 1", "VmRSS: 1 kB", "btime 1", 0), None);
    assert_eq!(Usage::parse("", "", "", 0), None);
}

#[test]
fn the_exposition_has_prometheus_names() {
    let mut registry = Registry::default();
    register(&mut registry, "gateherald_test", "1.2.3");
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for name in [
        "gateherald_test_build_info{version=\"1.2.3\"",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_start_time_seconds ",
        "process_open_fds ",
    ] {
        assert!(text.contains(&format!("\n{name}")), "{name} missing in\n{text}");
    }
}

#[test]
fn the_limit_of_open_files_becomes_the_hard_one() {
    let hard = getrlimit(Resource::Nofile).maximum;
    raise_file_limit();
    assert_eq!(getrlimit(Resource::Nofile).current, hard);
}
