// SPDX-License-Identifier: Apache-2.0
//! A layer: a tar of files that says nothing about who made it, when and where.

use anyhow::Context;

/// A file of a layer.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    path: String,
    mode: u32,
    bytes: Vec<u8>,
}

impl Entry {
    /// An executable.
    pub(super) fn program(path: &str, bytes: &[u8]) -> Self {
        Self { path: path.to_owned(), mode: 0o755, bytes: bytes.to_vec() }
    }

    /// A file to read.
    pub(super) fn document(path: &str, bytes: &[u8]) -> Self {
        Self { path: path.to_owned(), mode: 0o644, bytes: bytes.to_vec() }
    }
}

/// The tar of these files, sorted by path: owner 0:0, times 0.
pub(super) fn tar<'a>(files: impl IntoIterator<Item = &'a Entry>) -> anyhow::Result<Vec<u8>> {
    let mut files: Vec<&Entry> = files.into_iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut tar = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(file.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(u64::try_from(file.bytes.len())?);
        tar.append_data(&mut header, &file.path, file.bytes.as_slice())
            .with_context(|| format!("cannot put {} into a layer", file.path))?;
    }
    Ok(tar.into_inner()?)
}
