// SPDX-License-Identifier: Apache-2.0
//! The story as a snapshot, and what may go wrong with it. For tests.

use std::{fs, path::Path, sync::LazyLock};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    checks::Report,
    picture::Picture,
    snapshot::{
        Gap, Listing, Named, Snapshot,
        files::{self, Source},
        questions::{DryRun, Questions, Served, ServerVersion},
    },
    trace::{self, Trace},
};

const STORY: &str = include_str!("fixtures/story.yaml");

/// When the story's snapshot was taken.
pub(crate) fn now() -> Timestamp {
    "2026-01-01T12:00:02Z".parse().unwrap()
}

/// A certificate that ends at this time, in DER.
pub(crate) fn certificate(end: &str) -> Vec<u8> {
    let end: Timestamp = end.parse().unwrap();
    let mut params =
        rcgen::CertificateParams::new(vec!["gateherald-webhook.gateherald-system.svc".to_owned()]).unwrap();
    params.not_after = time(end);
    params.not_before = time("2025-01-01T00:00:00Z".parse().unwrap());
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

fn time(at: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(at.as_second()).unwrap()
}

/// Certificates as the registration holds them: PEM in base64.
pub(crate) fn bundle(end: &str) -> String {
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", certificate(end)));
    let bytes = k8s_openapi::ByteString(pem.into_bytes());
    serde_json::to_value(bytes).unwrap().as_str().unwrap().to_owned()
}

/// The objects of the story, each with `kind` and `metadata.name`.
pub(crate) fn objects() -> Vec<Value> {
    static CA: LazyLock<String> = LazyLock::new(|| bundle("2026-12-31T00:00:00Z"));
    let text = STORY.replace("@CA@", &CA).replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect()
}

/// The object of this kind and name.
pub(crate) fn object<'v>(objects: &'v mut [Value], kind: &str, name: &str) -> &'v mut Value {
    let is_it = |object: &&mut Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter_mut().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// Without the objects of this kind whose names begin like this.
pub(crate) fn remove(objects: &mut Vec<Value>, kind: &str, prefix: &str) {
    let before = objects.len();
    objects.retain(|object| {
        !(object["kind"] == kind && object["metadata"]["name"].as_str().unwrap().starts_with(prefix))
    });
    assert!(objects.len() < before, "no {kind} {prefix}");
}

/// A snapshot of a cluster that has these objects and no others, and in which every question was answered well.
pub(crate) fn snapshot(objects: &[Value]) -> Snapshot {
    let mut snapshot = Snapshot::empty(now());
    let text: Vec<String> = objects.iter().map(ToString::to_string).collect();
    let sources = [Source { name: "story".to_owned(), text: text.join("\n---\n") }];
    files::load(&mut snapshot, &sources).unwrap();
    read(&mut snapshot);
    let labels = || [("mdhlabs-arp".to_owned(), "enable".to_owned())].into();
    let pod = "gateherald-system/gateherald-webhook-a".to_owned();
    snapshot.questions = Questions {
        version: Ok(ServerVersion { major: 1, minor: 33, text: "v1.33.1".to_owned() }),
        fail_open: Ok(0),
        dry_run: Ok(DryRun {
            gateway: ("prod".into(), "cd-arp-gw".into()),
            expected: labels(),
            got: labels(),
        }),
        served: Ok(vec![Served { pod, leaf: Ok(certificate("2026-01-06T00:00:00Z")) }]),
    };
    snapshot
}

/// Every list was read.
fn read(snapshot: &mut Snapshot) {
    fn all<T: Named>(listing: &mut Listing<T>) {
        listing.gap = None;
    }
    let s = snapshot;
    all(&mut s.gateways);
    all(&mut s.classes);
    all(&mut s.services);
    all(&mut s.policies);
    all(&mut s.cilium_policies);
    all(&mut s.cilium_pools);
    all(&mut s.nodes);
    all(&mut s.leases);
    all(&mut s.cilium_leases);
    all(&mut s.slices);
    all(&mut s.registrations);
    all(&mut s.pods);
    all(&mut s.daemon_sets);
    all(&mut s.config_maps);
    all(&mut s.events);
    s.metallb_pools.gap = Some(Gap::Absent("ipaddresspools.metallb.io".to_owned()));
}

/// The story, changed.
pub(crate) fn story(change: impl FnOnce(&mut Vec<Value>)) -> Snapshot {
    let mut objects = objects();
    change(&mut objects);
    snapshot(&objects)
}

/// The chains of a snapshot.
pub(crate) fn traces(snapshot: &Snapshot) -> Vec<Trace> {
    trace::all(&Picture::new(snapshot, None))
}

/// All checks of a snapshot.
pub(crate) fn report(snapshot: &Snapshot) -> Report {
    let picture = Picture::new(snapshot, None);
    Report::new(&picture, &trace::all(&picture))
}

/// The story without the label on the Service, whose address is of another pool, and which nobody claims.
pub(crate) fn broken() -> Snapshot {
    story(|o| {
        remove(o, "Lease", "gateherald-vip-");
        let metadata = &mut object(o, "Service", "cilium-gateway-cd-arp-gw")["metadata"];
        (metadata["labels"], metadata["annotations"]) = (json!({}), json!({}));
        object(o, "Service", "cilium-gateway-cd-arp-gw")["status"]["loadBalancer"]["ingress"][0]["ip"] =
            json!("192.168.99.100");
    })
}

/// Compares with `golden/NAME`; what came instead is left beside it under `target`.
pub(crate) fn golden(name: &str, text: &str) -> Option<String> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/render/golden")).join(name);
    if fs::read_to_string(&path).ok().as_deref() == Some(text) {
        return None;
    }
    let came = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/golden"));
    fs::create_dir_all(came).unwrap();
    fs::write(came.join(name), text).unwrap();
    Some(format!("{name} differs: see target/golden/{name}"))
}
