// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn a_board_is_ready_only_when_every_part_is() {
    let mut board = Board::default();
    let cache = board.part("cache", "first list is under way");
    let leaf = board.part("leaf", "no certificate yet");
    cache.ready();
    let report = board.report();
    assert!(!report.is_ready());
    assert_eq!(report.to_string(), "[+] cache: ok\n[-] leaf: no certificate yet\nnot ready\n");
    leaf.ready();
    assert!(board.report().is_ready());
    leaf.waiting("expired");
    assert_eq!(board.report().parts()[1].1, State::Waiting("expired".into()));
}

#[test]
fn an_empty_board_is_ready() {
    assert!(Board::default().report().is_ready());
}

#[tokio::test]
async fn waiting_for_the_board_ends_when_the_last_part_is_ready() {
    let mut board = Board::default();
    let (one, two) = (board.part("one", "x"), board.part("two", "x"));
    let waiter = tokio::spawn(async move { board.ready().await });
    two.ready();
    tokio::task::yield_now().await;
    assert!(!waiter.is_finished());
    one.ready();
    waiter.await.unwrap();
}
