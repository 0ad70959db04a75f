// SPDX-License-Identifier: Apache-2.0
//! What a machine must have for pods to run on it, checked before anything starts.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::settings;

/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 6] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("unshare", "util-linux"),
];
const SYSTEM: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Debian's place and upstream's.
const PLUGINS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
const NEEDED_PLUGINS: [&str; 3] = ["ptp", "host-local", "loopback"];

/// Says what is missing, if something is; the result is the directory of the network plugins.
pub(super) fn check() -> anyhow::Result<PathBuf> {
    let mut path = settings::search_path();
    path.extend(SYSTEM.map(PathBuf::from));
    for (program, package) in PROGRAMS {
        let found = path.iter().any(|directory| directory.join(program).is_file());
        ensure!(found, "{program} is missing (Debian's package {package}): run `make setup`");
    }
    let complete = |directory: &Path| NEEDED_PLUGINS.iter().all(|plugin| directory.join(plugin).is_file());
    let plugins = PLUGINS.iter().map(Path::new).find(|directory| complete(directory)).with_context(|| {
        format!("the network plugins {} are missing (Debian's package containernetworking-plugins): run `make setup`",
            NEEDED_PLUGINS.join(", "))
    })?;
    Ok(PathBuf::from(plugins))
}
