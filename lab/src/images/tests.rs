// SPDX-License-Identifier: Apache-2.0
use std::io::Read;

use serde_json::{Value, json};

use super::archive::{About, Image};
use super::layer::Entry;
use super::sbom;
use super::source::Source;

fn image(files: Vec<Entry>) -> Image {
    Image {
        reference: "registry.example.com:5000/one/webhook:1.2.3".to_owned(),
        user: "65532:65532",
        entrypoint: "webhook",
        about: About {
            title: "webhook".to_owned(),
            version: "1.2.3".to_owned(),
            revision: "abc".to_owned(),
            ..About::default()
        },
        created: "2026-01-02T03:04:05Z".to_owned(),
        files,
    }
}

fn files() -> Vec<Entry> {
    // Enough for more than one block of gzip.
    let program: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    vec![Entry::program("webhook", &program), Entry::document("sbom.cdx.json", b"{}")]
}

fn entries(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut tar = tar::Archive::new(archive);
    let entries = tar.entries().expect("a tar").map(|entry| {
        let mut entry = entry.expect("an entry");
        let header = entry.header();
        assert_eq!((header.uid().ok(), header.gid().ok(), header.mtime().ok()), (Some(0), Some(0), Some(0)));
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("its bytes");
        (entry.path().expect("a path").display().to_string(), bytes)
    });
    entries.collect()
}

fn blob(entries: &[(String, Vec<u8>)], descriptor: &Value) -> Vec<u8> {
    let name = format!("blobs/{}", descriptor["digest"].as_str().expect("a digest").replace(':', "/"));
    let (_, bytes) = entries.iter().find(|(path, _)| *path == name).expect("the blob");
    assert_eq!(descriptor["size"], json!(bytes.len()));
    bytes.clone()
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

#[test]
fn the_same_files_in_any_order_give_the_same_archive() {
    let (first, digest) = image(files()).archive().expect("an archive");
    let mut reversed = files();
    reversed.reverse();
    assert_eq!(image(reversed).archive().expect("an archive"), (first.clone(), digest));
    let other = image(vec![Entry::program("webhook", b"other")]).archive().expect("an archive");
    assert_ne!(other.0, first);
}

#[test]
fn an_archive_is_an_oci_layout_of_one_layer_with_user_and_labels() {
    let (archive, digest) = image(files()).archive().expect("an archive");
    let entries = entries(&archive);
    let index = parse(&entries.iter().find(|(path, _)| path == "index.json").expect("an index").1);
    let found = &index["manifests"][0];
    assert_eq!(found["digest"], json!(digest));
    assert_eq!(found["annotations"]["org.opencontainers.image.ref.name"], "1.2.3");
    let name = &found["annotations"]["io.containerd.image.name"];
    assert_eq!(name, "registry.example.com:5000/one/webhook:1.2.3");

    let manifest = parse(&blob(&entries, found));
    let config = parse(&blob(&entries, &manifest["config"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], json!(["/webhook"]));
    let labels = &config["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.created"], "2026-01-02T03:04:05Z");
    assert_eq!(labels["org.opencontainers.image.revision"], "abc");
    assert_eq!(labels, &manifest["annotations"]);

    let packed = blob(&entries, &manifest["layers"][0]);
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut tar).expect("gzip");
    let inside: Vec<String> = self::entries(&tar).into_iter().map(|(path, _)| path).collect();
    assert_eq!(inside, ["sbom.cdx.json", "webhook"]);
}

#[test]
fn a_list_of_parts_names_what_is_linked_and_nothing_else() {
    let package = |name: &str, source: Value, licence: &str| json!({ "id": name, "name": name, "version": "1.0.0", "source": source, "license": licence });
    let link = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
    let node = |name: &str, deps: Value| json!({ "id": name, "deps": deps });
    let registry = json!("registry");
    let metadata = json!({
        "packages": [
            package("web", Value::Null, "Apache-2.0"), package("used", registry.clone(), "MIT/Apache-2.0"),
            package("below", registry.clone(), "MIT"), package("tester", registry.clone(), "MIT"),
            package("builder", registry, "MIT"),
        ],
        "resolve": { "nodes": [
            node("web", json!([link("used", Value::Null), link("tester", json!("dev")), link("builder", json!("build"))])),
            node("used", json!([link("below", Value::Null)])), node("below", json!([])),
            node("tester", json!([])), node("builder", json!([])),
        ] },
    });
    let source = Source {
        version: "1.0.0".to_owned(),
        revision: String::new(),
        created: "2026-01-02T03:04:05Z".to_owned(),
        url: String::new(),
        licences: String::new(),
        metadata,
    };
    let document = parse(&sbom::of("web", &source).expect("a document"));
    let names: Vec<&str> = document["components"]
        .as_array()
        .expect("components")
        .iter()
        .filter_map(|c| c["name"].as_str())
        .collect();
    assert_eq!(names, ["below", "used", "rust-std", "glibc"]);
    assert_eq!(document["components"][1]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    assert_eq!(document["metadata"]["component"]["purl"], "pkg:cargo/web@1.0.0");
    let used = json!({ "ref": "pkg:cargo/used@1.0.0", "dependsOn": ["pkg:cargo/below@1.0.0"] });
    assert!(document["dependencies"].as_array().expect("dependencies").contains(&used));
}
