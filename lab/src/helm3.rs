// SPDX-License-Identifier: Apache-2.0
//! What only the chart's own tests need: Helm 3 beside Helm 4, and the definitions of other projects' kinds. Found in the cache,
//! or made once from pinned Go modules of their own: Helm 3 needs other versions of its libraries than the control plane.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::binaries::{cache_key_of, run_go, say};
use crate::settings;

const HELM_MOD: &str = include_str!("../helm3/go.mod");
const HELM_SUM: &str = include_str!("../helm3/go.sum");
const HELM_TOOLS: &str = include_str!("../helm3/tools.go");
const CRDS_MOD: &str = include_str!("../crds/go.mod");
const CRDS_SUM: &str = include_str!("../crds/go.sum");
/// Module, folder in it, files.
const CRDS: [(&str, &str, &[&str]); 2] = [
    (
        "github.com/cert-manager/cert-manager",
        "deploy/crds",
        &["cert-manager.io_certificates.yaml", "cert-manager.io_issuers.yaml"],
    ),
    (
        "github.com/prometheus-operator/prometheus-operator",
        "example/prometheus-operator-crd",
        &[
            "monitoring.coreos.com_podmonitors.yaml",
            "monitoring.coreos.com_prometheusrules.yaml",
            "monitoring.coreos.com_servicemonitors.yaml",
        ],
    ),
];

/// Where these are.
#[derive(Clone, Debug)]
pub struct Extras {
    /// Helm 3.
    pub helm3: PathBuf,
    /// One file per definition: cert-manager's and the Prometheus operator's kinds.
    pub crds: Vec<PathBuf>,
}

impl Extras {
    /// Finds or makes them.
    ///
    /// # Errors
    /// When something must be made and Go is missing or fails.
    pub fn prepare() -> anyhow::Result<Self> {
        let cache = settings::cache_dir()?;
        let helm = cache.join(format!("helm3-{}", cache_key_of(&[HELM_MOD, HELM_SUM])));
        let crds = cache.join(format!("crds-{}", cache_key_of(&[CRDS_MOD, CRDS_SUM])));
        fs::create_dir_all(&helm).with_context(|| format!("cannot create {}", helm.display()))?;
        fs::create_dir_all(&crds).with_context(|| format!("cannot create {}", crds.display()))?;
        let lock = File::create(helm.join("lock"))?;
        lock.lock().context("cannot lock the cache of Helm 3")?;
        Ok(Self { helm3: helm3(&helm)?, crds: definitions(&crds)? })
    }
}

fn helm3(cache: &Path) -> anyhow::Result<PathBuf> {
    let target = cache.join("helm");
    if target.is_file() {
        return Ok(target);
    }
    let module =
        write_module(cache, &[("go.mod", HELM_MOD), ("go.sum", HELM_SUM), ("tools.go", HELM_TOOLS)])?;
    say("helm 3: building helm.sh/helm/v3/cmd/helm (once)");
    // Without these, Helm takes itself for one of Kubernetes 1.20 when no cluster is asked.
    let client = run_go(&module, &["list", "-m", "-f", "{{.Version}}", "k8s.io/client-go"])?;
    let minor = client.trim().split('.').nth(1).unwrap_or_default();
    let flags = ["pkg/lint/rules", "pkg/chartutil"].map(|package| {
        format!(
            "-X helm.sh/helm/v3/{package}.k8sVersionMajor=1 -X helm.sh/helm/v3/{package}.k8sVersionMinor={minor}"
        )
    });
    let flags = format!("-s -w {}", flags.join(" "));
    let unfinished = cache.join("helm.unfinished").to_string_lossy().into_owned();
    run_go(
        &module,
        &["build", "-trimpath", "-ldflags", &flags, "-o", &unfinished, "helm.sh/helm/v3/cmd/helm"],
    )
    .context("cannot build Helm 3")?;
    fs::rename(&unfinished, &target)?;
    Ok(target)
}

fn definitions(cache: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (module, folder, names) in CRDS {
        let targets: Vec<PathBuf> = names.iter().map(|name| cache.join(name)).collect();
        if !targets.iter().all(|target| target.is_file()) {
            let source = unpacked(cache, module)?.join(folder);
            for (name, target) in names.iter().zip(&targets) {
                let unfinished = target.with_extension("unfinished");
                let text = fs::read(source.join(name))
                    .with_context(|| format!("{module} has no {folder}/{name}"))?;
                fs::write(&unfinished, text)?;
                fs::rename(&unfinished, target)?;
            }
        }
        files.extend(targets);
    }
    Ok(files)
}

/// The directory of a module that is required in `lab/crds/go.mod`, checked against its go.sum.
fn unpacked(cache: &Path, module: &str) -> anyhow::Result<PathBuf> {
    let directory = write_module(cache, &[("go.mod", CRDS_MOD), ("go.sum", CRDS_SUM)])?;
    let line = CRDS_MOD.lines().find_map(|line| line.trim().strip_prefix(module));
    let version = line.with_context(|| format!("{module} is not in lab/crds/go.mod"))?.trim();
    let answer = run_go(&directory, &["mod", "download", "-json", &format!("{module}@{version}")])?;
    let answer: serde_json::Value = serde_json::from_str(&answer).context("go mod download -json")?;
    answer["Dir"].as_str().map(PathBuf::from).with_context(|| format!("{module} was not unpacked"))
}

fn write_module(cache: &Path, files: &[(&str, &str)]) -> anyhow::Result<PathBuf> {
    let directory = cache.join("module");
    fs::create_dir_all(&directory)?;
    for (name, text) in files {
        fs::write(directory.join(name), text)?;
    }
    Ok(directory)
}
