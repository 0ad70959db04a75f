// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn ages_are_as_kubectl_writes_them() {
    let now = Timestamp::from_second(1_000_000).unwrap();
    let ago = |seconds: i64| age(now, Timestamp::from_second(1_000_000 - seconds).unwrap());
    assert_eq!([ago(45), ago(180), ago(7_200), ago(172_800), ago(-5)], ["45s", "3m", "2h", "2d", "0s"]);
}

#[test]
fn tables_are_as_wide_as_their_cells() {
    let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let mut table = table::Table::new(row(&["A", "BB"]));
    let text = table.lines(&[row(&["long", "x"]), row(&["ü", "y"])]);
    assert_eq!(text, "A      BB\nlong   x\nü      y\n");
    assert_eq!(table.lines(&[row(&["z", "y"])]), "z      y\n", "what comes later stands in the same columns");
}

#[test]
fn names_cannot_break_out_of_xml() {
    assert_eq!(escaped("<a href=\"x\">&'\u{0}"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39; ");
}

#[test]
fn without_a_terminal_there_are_words_and_no_colours() {
    assert_eq!(Style::default().mark(State::Broken), "BROKEN");
    assert_eq!(Style { signs: true, ..Style::default() }.mark(State::Broken), "×");
    assert!(Style { signs: true, colours: true, width: None }.mark(State::Good).contains("\u{1b}[32m"));
}
