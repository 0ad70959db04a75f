// SPDX-License-Identifier: Apache-2.0
//! The images as they lie in `target/images`.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, ensure};
use flate2::read::GzDecoder;
use gateherald_lab::images::{self, Component, LIMIT, SBOM};
use serde_json::{Value, json};

fn files(tar: impl Read) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries()?.map(|entry| {
        let mut entry = entry?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        Ok((entry.path()?.display().to_string(), bytes))
    });
    entries.collect()
}

fn blob(files: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> anyhow::Result<Vec<u8>> {
    let digest = descriptor["digest"].as_str().context("a digest")?;
    files.get(&format!("blobs/{}", digest.replace(':', "/"))).cloned().with_context(|| digest.to_owned())
}

/// Whether an ELF file names a program that must load it.
fn wants_a_loader(elf: &[u8]) -> anyhow::Result<bool> {
    const INTERPRETER: u32 = 3;
    let number = |at: usize, length: usize| -> anyhow::Result<usize> {
        let bytes = elf.get(at..at + length).context("a short file")?;
        Ok(bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte)))
    };
    ensure!(elf.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF file");
    let (table, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    for index in 0..count {
        if number(table + index * size, 4)? == INTERPRETER as usize {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn an_image_is_small_static_labelled_and_says_what_is_in_it() -> anyhow::Result<()> {
    for (component, archive) in Component::ALL.into_iter().zip(images::built()?) {
        ensure!(archive.metadata()?.len() <= LIMIT, "{} is too heavy", archive.display());
        let outer = files(std::fs::File::open(&archive)?)?;
        let index: Value = serde_json::from_slice(outer.get("index.json").context("index.json")?)?;
        let manifest: Value = serde_json::from_slice(&blob(&outer, &index["manifests"][0])?)?;
        let config: Value = serde_json::from_slice(&blob(&outer, &manifest["config"])?)?;
        let user = &config["config"]["User"];
        ensure!(*user == if component == Component::Webhook { "65532:65532" } else { "0:0" }, "{user}");
        for label in ["title", "description", "version", "source", "licenses", "created", "revision"] {
            let label = format!("org.opencontainers.image.{label}");
            let value = config["config"]["Labels"][&label].as_str().unwrap_or_default();
            ensure!(!value.is_empty(), "{} has no {label}", archive.display());
        }
        let inner = files(GzDecoder::new(blob(&outer, &manifest["layers"][0])?.as_slice()))?;
        let program = inner.get(component.program()).context("the program")?;
        ensure!(!wants_a_loader(program)?, "{} is not static", component.program());
        let parts: Value = serde_json::from_slice(inner.get(SBOM).context("the list of parts")?)?;
        let names: Vec<&Value> =
            parts["components"].as_array().context("parts")?.iter().map(|p| &p["name"]).collect();
        ensure!(names.contains(&&json!("kube")) && names.contains(&&json!("aws-lc-sys")), "{names:?}");
        ensure!(!names.contains(&&json!("proptest")), "parts of tests are no parts of the program");
        // Not where it was compiled.
        let home = env!("CARGO_MANIFEST_DIR").trim_end_matches("/tests").as_bytes();
        ensure!(
            !program.windows(home.len()).any(|window| window == home),
            "{} tells its place",
            component.program()
        );
    }
    Ok(())
}
