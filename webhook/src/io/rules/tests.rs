// SPDX-License-Identifier: Apache-2.0
use std::path::Path;

use prometheus_client::registry::Registry;
use tokio::time::{Duration, timeout};

use super::*;

const HEAD: &str = "apiVersion: config.gateherald.io/v1alpha1\nkind: LabelRules\n";
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes a file as the kubelet does: the directory's symlink is swapped, the file itself is never written.
fn swap(directory: &Path, version: u32, text: &str) {
    let data = directory.join(format!("..{version}"));
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("rules.yaml"), text).unwrap();
    let (new, current) = (directory.join("..data_tmp"), directory.join("..data"));
    std::os::unix::fs::symlink(&data, &new).unwrap();
    std::fs::rename(new, current).unwrap();
}

fn metrics() -> Metrics {
    Metrics::register(&mut Registry::default())
}

fn rules(text: &str) -> Rules {
    Rules::parse(&format!("{HEAD}{text}")).unwrap()
}

#[tokio::test]
async fn a_changed_file_is_followed_and_a_broken_one_keeps_the_last_good_rules() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("..data/rules.yaml");
    swap(directory.path(), 1, &format!("{HEAD}labels: {{include: [a]}}"));
    let file = RulesFile::open(Some(path), metrics()).await.unwrap();
    let (mut wanted, mut problem) = (file.rules(), file.problem());
    assert_eq!(**wanted.borrow_and_update(), rules("labels: {include: [a]}"));

    let shutdown = Shutdown::default();
    let running = tokio::spawn(file.run(shutdown.clone()));
    swap(directory.path(), 2, &format!("{HEAD}labels: {{inclde: [b]}}"));
    let told = timeout(PATIENCE, problem.wait_for(Option::is_some)).await.unwrap().unwrap().clone().unwrap();
    assert!(told.contains("inclde") && told.contains("last good"), "{told}");
    assert!(!wanted.has_changed().unwrap());

    swap(directory.path(), 3, &format!("{HEAD}labels: {{include: [b]}}"));
    timeout(PATIENCE, wanted.changed()).await.unwrap().unwrap();
    assert_eq!(**wanted.borrow(), rules("labels: {include: [b]}"));
    timeout(PATIENCE, problem.wait_for(Option::is_none)).await.unwrap().unwrap();

    std::fs::remove_file(directory.path().join("..data")).unwrap();
    timeout(PATIENCE, problem.wait_for(Option::is_some)).await.unwrap().unwrap();
    assert_eq!(**wanted.borrow(), rules("labels: {include: [b]}"));
    shutdown.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn without_a_last_good_version_a_broken_file_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rules.yaml");
    let absent = RulesFile::open(Some(path.clone()), metrics()).await.unwrap_err();
    assert!(absent.to_string().contains("rules.yaml"), "{absent}");
    std::fs::write(&path, format!("{HEAD}labels: {{include: ['a b']}}")).unwrap();
    let broken = RulesFile::open(Some(path), metrics()).await.unwrap_err();
    assert!(chain(&broken).contains("labels.include[0]"), "{}", chain(&broken));
}
