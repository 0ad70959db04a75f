// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn a_state_directory_goes_with_its_owner() {
    let state = StateDir::create().unwrap();
    let path = state.path().to_owned();
    assert!(path.join("logs").is_dir());
    drop(state);
    assert!(!path.exists());
}

#[test]
fn what_a_killed_lab_left_is_swept_and_a_living_one_is_not() {
    let temp = tempfile::tempdir().unwrap();
    let (dead, alive) = (temp.path().join("gateherald-lab-dead"), temp.path().join("gateherald-lab-alive"));
    for dir in [&dead, &alive] {
        fs::create_dir(dir).unwrap();
        File::create(dir.join("lock")).unwrap();
    }
    let lock = File::open(alive.join("lock")).unwrap();
    lock.try_lock().unwrap();
    sweep(temp.path());
    assert!(!dead.exists());
    assert!(alive.exists());
}

#[test]
fn a_kept_directory_keeps_its_logs_only() {
    let state = StateDir::create().unwrap();
    fs::write(state.log("etcd"), "line").unwrap();
    state.keep();
    let kept = state.kept_path();
    drop(state);
    assert_eq!(fs::read_to_string(kept.join("logs/etcd.log")).unwrap(), "line");
    assert!(!kept.join("pki").exists());
    fs::remove_dir_all(kept).unwrap();
}
