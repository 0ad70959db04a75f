// SPDX-License-Identifier: Apache-2.0
//! The programs' images: static binaries, alone, in OCI archives that two builds make alike.

mod archive;
mod layer;
mod sbom;
mod source;
mod statics;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::chart;
use archive::{About, Image};
use layer::Entry;
use source::Source;

/// What an image may weigh, as an archive.
pub const LIMIT: u64 = 20 << 20;
/// Where an image's own list of what it is made of lies in it.
pub const SBOM: &str = "sbom.cdx.json";

/// A program that gets an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// gateherald-webhook
    Webhook,
    /// gateherald-announcer
    Announcer,
}

impl Component {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Webhook, Self::Announcer];

    /// The name of the program and of its package.
    pub fn program(self) -> &'static str {
        match self {
            Self::Webhook => "gateherald-webhook",
            Self::Announcer => "gateherald-announcer",
        }
    }

    /// What the chart's values call it.
    pub fn values(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Announcer => "announcer",
        }
    }

    /// The user that the program runs as. The announcer is root: Kubernetes gives an added capability to no other user.
    fn user(self) -> &'static str {
        match self {
            Self::Webhook => "65532:65532",
            Self::Announcer => "0:0",
        }
    }

    /// Where its archive lies after [`build`].
    pub fn archive(self) -> PathBuf {
        directory().join(format!("{}.tar", self.program()))
    }
}

/// `target/images` of the source tree.
pub fn directory() -> PathBuf {
    statics::workspace().join("target/images")
}

/// Builds the static programs and writes an archive of each, and its list of parts beside it.
///
/// # Errors
/// With the compiler's message, and when an archive is heavier than [`LIMIT`].
pub fn build() -> anyhow::Result<()> {
    let source = Source::look(&statics::workspace())?;
    let packages: Vec<_> = Component::ALL.iter().map(|component| component.program()).collect();
    statics::build(&[&packages[..], &[PAUSE]].concat())?;
    fs::create_dir_all(directory())?;
    for component in Component::ALL {
        let program = statics::program(component.program());
        let parts = sbom::of(component.program(), &source)?;
        let beside = directory().join(format!("{}.cdx.json", component.program()));
        fs::write(&beside, &parts).with_context(|| format!("cannot write {}", beside.display()))?;
        let image = image(component, &fs::read(&program)?, &parts, &source)?;
        let digest = write(&image, &component.archive())?;
        report(component, &digest)?;
    }
    Ok(())
}

/// The program that holds a pod's namespaces open.
const PAUSE: &str = "gateherald-pause";
/// The reference of its image, which exists only in the lab's clusters.
pub(crate) const PAUSE_IMAGE: &str = "localhost/gateherald-pause:lab";

/// Writes an archive of the program that holds a pod's namespaces open.
pub(crate) fn write_pause(target: &Path) -> anyhow::Result<()> {
    let program = statics::program(PAUSE);
    let bytes = fs::read(&program)
        .with_context(|| format!("{} is missing: run `make images` first", program.display()))?;
    let image = Image {
        reference: PAUSE_IMAGE.to_owned(),
        user: "65535:65535",
        entrypoint: PAUSE,
        about: About::default(),
        created: "1970-01-01T00:00:00Z".to_owned(),
        files: vec![Entry::program(PAUSE, &bytes)],
    };
    write(&image, target).map(drop)
}

/// The archives of all components.
///
/// # Errors
/// When one was not built.
pub fn built() -> anyhow::Result<Vec<PathBuf>> {
    let archives: Vec<_> = Component::ALL.iter().map(|component| component.archive()).collect();
    for (component, archive) in Component::ALL.iter().zip(&archives) {
        ensure!(archive.is_file(), "{} is missing: run `make images` first", archive.display());
        let program = statics::program(component.program());
        if let Some(source) = crate::programs::newer_source(&program) {
            tracing::warn!("the image of {} is older than {source}: run `make images`", component.program());
        }
    }
    Ok(archives)
}

fn image(component: Component, program: &[u8], parts: &[u8], source: &Source) -> anyhow::Result<Image> {
    let reference = chart::image(component)?;
    Ok(Image {
        about: About {
            title: component.program().to_owned(),
            description: source.description(component.program())?,
            version: source.version.clone(),
            revision: source.revision.clone(),
            url: source.url.clone(),
            licences: source.licences.clone(),
        },
        reference,
        user: component.user(),
        entrypoint: component.program(),
        created: source.created.clone(),
        files: vec![Entry::program(component.program(), program), Entry::document(SBOM, parts)],
    })
}

fn write(image: &Image, target: &Path) -> anyhow::Result<String> {
    let (bytes, digest) = image.archive()?;
    let size = u64::try_from(bytes.len())?;
    ensure!(size <= LIMIT, "{} would weigh {size} bytes, more than {LIMIT}", target.display());
    // Whoever reads an archive meanwhile has a whole one.
    let unfinished = target.with_extension("unfinished");
    fs::write(&unfinished, bytes).with_context(|| format!("cannot write {}", unfinished.display()))?;
    fs::rename(&unfinished, target)?;
    Ok(digest)
}

fn report(component: Component, digest: &str) -> anyhow::Result<()> {
    let path = component.archive();
    let size = path.metadata()?.len();
    let reference = chart::image(component)?;
    let mut out = std::io::stdout();
    let whole = size >> 20;
    let tenths = ((size % (1 << 20)) * 10) >> 20;
    Ok(writeln!(out, "{}\n  {reference}@{digest}, {whole}.{tenths} MiB", path.display())?)
}

#[cfg(test)]
mod tests;
