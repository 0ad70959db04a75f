// SPDX-License-Identifier: Apache-2.0
//! An OCI image layout with one image of one layer, as a tar. The same input gives the same bytes.
//!
//! The documents are those of the OCI image specification 1.1, written out here because the order of their keys is part of
//! the digest; the crates for them keep annotations in hash maps.

use std::env::consts::ARCH;
use std::fmt::Write as _;
use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use serde_json::{Map, Value, json};

use super::layer::{self, Entry};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What labels and annotations say of an image; nothing where a field is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) title: String,
    pub(super) description: String,
    pub(super) version: String,
    pub(super) revision: String,
    pub(super) url: String,
    pub(super) licences: String,
}

/// An image FROM scratch.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// `registry/name:tag`
    pub(super) reference: String,
    pub(super) user: &'static str,
    /// The path of the program, below the root.
    pub(super) entrypoint: &'static str,
    pub(super) about: About,
    /// RFC 3339, UTC.
    pub(super) created: String,
    pub(super) files: Vec<Entry>,
}

/// Bytes that are called by their digest.
struct Blob {
    media_type: &'static str,
    digest: String,
    bytes: Vec<u8>,
}

impl Image {
    /// The archive and the digest of the image's manifest.
    pub(super) fn archive(&self) -> anyhow::Result<(Vec<u8>, String)> {
        let tar = layer::tar(&self.files)?;
        let layer = Blob::new(LAYER, gzip(&tar)?);
        let config = Blob::new(CONFIG, serde_json::to_vec(&self.config(&digest(&tar)))?);
        let manifest = Blob::new(MANIFEST, serde_json::to_vec(&self.manifest(&config, &layer))?);
        let index = serde_json::to_vec(&self.index(&manifest))?;
        let mut files = vec![
            Entry::document("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
            Entry::document("index.json", &index),
        ];
        for blob in [&layer, &config, &manifest] {
            let name = blob.digest.replace(':', "/");
            files.push(Entry::document(&format!("blobs/{name}"), &blob.bytes));
        }
        Ok((layer::tar(&files)?, manifest.digest))
    }

    fn config(&self, layer: &str) -> Value {
        json!({
            "architecture": architecture(),
            "config": {
                "Entrypoint": [format!("/{}", self.entrypoint)],
                "Labels": self.about.annotations(&self.created),
                "User": self.user,
                "WorkingDir": "/",
            },
            "created": self.created,
            "history": [{ "comment": "static programs FROM scratch", "created": self.created }],
            "os": "linux",
            "rootfs": { "diff_ids": [layer], "type": "layers" },
        })
    }

    fn manifest(&self, config: &Blob, layer: &Blob) -> Value {
        json!({
            "annotations": self.about.annotations(&self.created),
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
            "mediaType": MANIFEST,
            "schemaVersion": 2,
        })
    }

    fn index(&self, manifest: &Blob) -> Value {
        let mut descriptor = manifest.descriptor();
        let tag = self.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        descriptor["annotations"] = json!({
            // The name that containerd and Docker give it, and the tag that others do.
            "io.containerd.image.name": self.reference,
            "org.opencontainers.image.ref.name": tag,
        });
        descriptor["platform"] = json!({ "architecture": architecture(), "os": "linux" });
        json!({ "manifests": [descriptor], "mediaType": INDEX, "schemaVersion": 2 })
    }
}

impl About {
    fn annotations(&self, created: &str) -> Value {
        let fields = [
            ("created", created),
            ("description", &self.description),
            ("licenses", &self.licences),
            ("revision", &self.revision),
            ("source", &self.url),
            ("title", &self.title),
            ("version", &self.version),
        ];
        let known = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let map: Map<_, _> =
            known.map(|(key, value)| (format!("org.opencontainers.image.{key}"), json!(value))).collect();
        Value::Object(map)
    }
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, digest: digest(&bytes), bytes }
    }

    fn descriptor(&self) -> Value {
        json!({ "digest": self.digest, "mediaType": self.media_type, "size": self.bytes.len() })
    }
}

/// Without name, time and system in its header.
fn gzip(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn digest(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What Go, and so OCI, calls this machine's architecture.
fn architecture() -> &'static str {
    match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
