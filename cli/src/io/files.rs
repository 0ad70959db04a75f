// SPDX-License-Identifier: Apache-2.0
//! Reads files that a person names.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::snapshot::files::Source;

/// More than this is no collection of objects.
const MOST_BYTES: u64 = 256 << 20;

/// Reads them; `-` is the standard input, a directory all YAML and JSON files in it.
pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin()
                .take(MOST_BYTES)
                .read_to_string(&mut text)
                .context("cannot read the standard input")?;
            sources.push(Source { name: "standard input".to_owned(), text });
        } else if path.is_dir() {
            for file in inside(path)? {
                sources.push(one(&file)?);
            }
        } else {
            sources.push(one(path)?);
        }
    }
    Ok(sources)
}

fn inside(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read =
        || std::fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()));
    let is_objects = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("yaml" | "yml" | "json"))
    };
    let mut files: Vec<PathBuf> =
        read()?.filter_map(|entry| Some(entry.ok()?.path())).filter(is_objects).collect();
    files.sort();
    Ok(files)
}

fn one(path: &Path) -> anyhow::Result<Source> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    Ok(Source { name, text })
}
