// SPDX-License-Identifier: Apache-2.0
use super::*;

fn name(namespace: &str, name: &str) -> Name {
    Name { namespace: Some(namespace.to_owned()), name: name.to_owned() }
}

#[test]
fn subjects_are_written_as_kubectl_writes_them() {
    let parse = |text| Subject::parse(Some(text), Some("prod")).unwrap();
    assert_eq!(parse("gtw/cd-arp-gw"), Subject::Gateway(name("prod", "cd-arp-gw")));
    assert_eq!(parse("Service/web"), Subject::Service(name("prod", "web")));
    assert_eq!(parse("web"), Subject::Any(name("prod", "web")));
    assert_eq!(parse("fd00::1"), Subject::Address("fd00::1".parse().unwrap()));
    assert_eq!(parse("vip/192.0.2.1"), Subject::Address("192.0.2.1".parse().unwrap()));
    assert_eq!(Subject::parse(None, None).unwrap(), Subject::Everything);
}

#[test]
fn other_kinds_are_refused_with_what_would_do() {
    let error = Subject::parse(Some("node/n1"), None).unwrap_err().to_string();
    assert!(error.contains("gateway/NAME"), "{error}");
}
