// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn ranges_are_cidrs_or_first_and_last() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(range("10.0.0.0/30"), Some((ip("10.0.0.0"), ip("10.0.0.3"))));
    assert_eq!(range("10.0.0.5 - 10.0.0.9"), Some((ip("10.0.0.5"), ip("10.0.0.9"))));
    assert_eq!(range("nonsense"), None);
    let one = Block { start: Some("10.0.0.7".to_owned()), ..Block::default() };
    assert_eq!(block(&one), Some((ip("10.0.0.7"), ip("10.0.0.7"))));
}

#[test]
fn an_address_of_the_other_family_is_in_no_range() {
    let pool = MetalLbPool {
        spec: crate::snapshot::objects::MetalLbPoolSpec {
            addresses: vec!["10.0.0.0/8".to_owned()],
            ..Default::default()
        },
        ..Default::default()
    };
    let pool = metallb(&pool);
    assert!(pool.has("10.1.2.3".parse().unwrap()));
    assert!(!pool.has("::1".parse().unwrap()));
}
