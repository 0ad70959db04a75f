// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn the_two_formats_are_exchanged_wherever_the_stream_is_cut() {
    let text = br#"{"annotations":{"gateherald.io/format":"1","x":"1"}}{"gateherald.io/format":"2"}"f:gateherald.io/format":{}"#;
    let swapped = br#"{"annotations":{"gateherald.io/format":"2","x":"1"}}{"gateherald.io/format":"1"}"f:gateherald.io/format":{}"#;
    for cut in 0..text.len() {
        let mut dialect = Dialect::new(1, 2);
        let (before, after) = text.split_at(cut);
        let parts = [dialect.translated(before), dialect.translated(after)];
        assert_eq!(parts.concat(), swapped, "cut at {cut}");
    }
}
