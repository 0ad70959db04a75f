// SPDX-License-Identifier: Apache-2.0
use tokio::time::{advance, timeout};

use super::*;

/// Whether it does not come to an end by itself at this instant.
async fn waits<T>(future: impl Future<Output = T>) -> bool {
    timeout(Duration::from_millis(1), future).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn a_body_waits_for_new_ones_and_pushes_out_the_oldest() {
    let bodies = Bodies::with_room(100, 10);
    let (oldest, newer, last) = (bodies.begin().await, bodies.begin().await, bodies.begin().await);
    oldest.grow(40).await.unwrap();
    newer.grow(40).await.unwrap();
    assert!(waits(last.grow(40)).await);
    assert!(waits(oldest.gave_way()).await);
    advance(GRACE).await;
    last.grow(40).await.unwrap();
    assert!(!waits(oldest.gave_way()).await);
    assert_eq!(oldest.grow(1).await, Err(GaveWay));
    assert!(waits(newer.gave_way()).await);
    assert_eq!(bodies.state().load, Load { bytes: 80, requests: 2 });
    drop((oldest, newer, last));
    assert_eq!(bodies.state().load, Load::default());
}

#[tokio::test(start_paused = true)]
async fn the_oldest_itself_gives_way_when_it_is_the_one_that_grows() {
    let bodies = Bodies::with_room(100, 10);
    let (oldest, newer) = (bodies.begin().await, bodies.begin().await);
    oldest.grow(50).await.unwrap();
    newer.grow(50).await.unwrap();
    assert_eq!(oldest.grow(1).await, Err(GaveWay));
    newer.grow(50).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn complete_bodies_stay_and_newcomers_wait_for_their_answers() {
    let bodies = Bodies::with_room(100, 10);
    let mut complete = bodies.begin().await;
    complete.grow(100).await.unwrap();
    complete.complete().unwrap();
    let newcomer = bodies.begin().await;
    advance(GRACE * 2).await;
    // Only they have room to give: it is sent away rather than left to wait for them.
    assert_eq!(newcomer.grow(60).await, Err(GaveWay));
    let next = bodies.begin().await;
    let (grown, ()) = tokio::join!(next.grow(60), async {
        tokio::task::yield_now().await;
        drop(complete);
    });
    assert_eq!((grown, bodies.state().load.bytes), (Ok(()), 60));
}

#[tokio::test(start_paused = true)]
async fn the_number_of_requests_is_bounded_too() {
    let bodies = Bodies::with_room(100, 2);
    let (first, mut second) = (bodies.begin().await, bodies.begin().await);
    assert!(waits(bodies.begin()).await);
    second.complete().unwrap();
    advance(GRACE).await;
    let third = bodies.begin().await;
    assert_eq!(first.grow(1).await, Err(GaveWay));
    third.grow(100).await.unwrap();
    drop((first, second, third));
    assert_eq!(bodies.state().load, Load::default());
}
