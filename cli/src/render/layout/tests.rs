// SPDX-License-Identifier: Apache-2.0
use super::*;

fn settled(wishes: &[i64]) -> Vec<i64> {
    let wishes: Vec<(i64, usize)> = wishes.iter().enumerate().map(|(at, wish)| (*wish, at)).collect();
    let mut middles = vec![None; wishes.len()];
    settle(&wishes, 10, &mut middles);
    middles.into_iter().flatten().collect()
}

#[test]
fn boxes_that_have_room_stand_where_they_wish() {
    assert_eq!(settled(&[0, 10, 35]), [0, 10, 35]);
}

#[test]
fn boxes_that_wish_for_one_place_stand_around_it() {
    assert_eq!(settled(&[20, 20]), [15, 25]);
    assert_eq!(settled(&[20, 20, 20]), [10, 20, 30]);
}

#[test]
fn boxes_that_move_apart_push_their_neighbours() {
    assert_eq!(settled(&[5, 20, 20, 20]), [1, 11, 21, 31]);
}
