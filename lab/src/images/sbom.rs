// SPDX-License-Identifier: Apache-2.0
//! A list of what a program is made of: `CycloneDX` 1.6, of the packages that Cargo links into it and the two libraries that
//! are in every static program.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use super::source::{Source, package, run};

/// The document for the program of this package.
pub(super) fn of(name: &str, source: &Source) -> anyhow::Result<Vec<u8>> {
    let graph = Graph::of(&source.metadata)?;
    let root = package(&source.metadata, name)?["id"].as_str().context("a package id")?;
    let ids = graph.reach(root);
    let libraries = libraries()?;
    let below = ids.iter().filter(|id| **id != root).map(|id| graph.component(id, "library"));
    let components: Vec<Value> = below.chain(libraries.iter().cloned()).collect();
    let dependencies: Vec<Value> = ids.iter().map(|id| graph.edges(id)).collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "timestamp": source.created, "component": graph.component(root, "application") },
        "components": components,
        "dependencies": dependencies,
    });
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Packages and what they are linked with.
struct Graph<'a> {
    packages: BTreeMap<&'a str, &'a Value>,
    links: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Graph<'a> {
    fn of(metadata: &'a Value) -> anyhow::Result<Self> {
        let id = |value: &'a Value| value.as_str().unwrap_or_default();
        let packages = list(&metadata["packages"]).iter().map(|package| (id(&package["id"]), package));
        let nodes = list(&metadata["resolve"]["nodes"]);
        anyhow::ensure!(!nodes.is_empty(), "cargo metadata without a dependency graph");
        // Kind null: neither for tests nor for build scripts.
        let is_linked = |link: &&Value| list(&link["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let links = nodes.iter().map(|node| {
            let linked = list(&node["deps"]).iter().filter(is_linked).map(|link| id(&link["pkg"]));
            (id(&node["id"]), linked.collect())
        });
        Ok(Self { packages: packages.collect(), links: links.collect() })
    }

    /// The package and everything below it.
    fn reach(&self, root: &'a str) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(self.links.get(id).into_iter().flatten());
            }
        }
        seen
    }

    fn component(&self, id: &str, kind: &str) -> Value {
        let package = self.packages.get(id).copied().unwrap_or(&Value::Null);
        let mut component = json!({
            "type": kind,
            "bom-ref": self.reference(id),
            "name": package["name"],
            "version": package["version"],
            "purl": self.reference(id),
        });
        if let Some(licence) = package["license"].as_str() {
            // Old manifests separate with a slash what SPDX calls OR.
            component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
        }
        component
    }

    fn edges(&self, id: &str) -> Value {
        let below: BTreeSet<String> =
            self.links.get(id).into_iter().flatten().map(|id| self.reference(id)).collect();
        json!({ "ref": self.reference(id), "dependsOn": below })
    }

    fn reference(&self, id: &str) -> String {
        let package = self.packages.get(id).copied().unwrap_or(&Value::Null);
        let text = |field: &str| package[field].as_str().unwrap_or_default();
        format!("pkg:cargo/{}@{}", text("name"), text("version"))
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What is linked into every static program beside its packages.
fn libraries() -> anyhow::Result<[Value; 2]> {
    let rust = run(Command::new("rustc").arg("--version"))?;
    let glibc = run(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let version = |text: &str| text.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let library = |name: &str, version: &str, licence: &str| {
        let purl = format!("pkg:generic/{name}@{version}");
        json!({ "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
                "licenses": [{ "expression": licence }] })
    };
    Ok([
        library("rust-std", &version(&rust), "MIT OR Apache-2.0"),
        library("glibc", &version(&glibc), "LGPL-2.1-or-later"),
    ])
}
