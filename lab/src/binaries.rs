// SPDX-License-Identifier: Apache-2.0
//! The cluster's programs: found ready-made, or built once from the pinned Go modules into a cache.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::settings;

const GO_MOD: &str = include_str!("../controlplane/go.mod");
const GO_SUM: &str = include_str!("../controlplane/go.sum");
const TOOLS: &str = include_str!("../controlplane/tools.go");
/// The Kubernetes version in go.mod: the programs get it from the linker, without it they call themselves v0.0.0.
const KUBERNETES: &str = "v1.36.3";
const GATEWAY_API: &str = "sigs.k8s.io/gateway-api";

/// One program of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// etcd
    Etcd,
    /// kube-apiserver
    ApiServer,
    /// kube-controller-manager
    ControllerManager,
    /// kube-scheduler
    Scheduler,
    /// kubelet
    Kubelet,
    /// kube-proxy
    Proxy,
    /// kubectl
    Kubectl,
    /// Helm 4
    Helm,
}

impl Program {
    /// All of them, in the order of building.
    pub const ALL: [Self; 8] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
        Self::Proxy,
        Self::Kubectl,
        Self::Helm,
    ];

    /// The name of the executable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::Proxy => "kube-proxy",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::ApiServer => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::ControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Scheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Kubelet => "k8s.io/kubernetes/cmd/kubelet",
            Self::Proxy => "k8s.io/kubernetes/cmd/kube-proxy",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
        }
    }

    /// How to ask for the version, and what the answer must hold for a program that merely lies in PATH.
    fn version_check(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Etcd => (&["--version"], "etcd Version: 3.6."),
            Self::ApiServer | Self::ControllerManager | Self::Scheduler | Self::Kubelet | Self::Proxy => {
                (&["--version"], "Kubernetes v1.36.")
            }
            Self::Kubectl => (&["version", "--client"], "Client Version: v1.36."),
            Self::Helm => (&["version", "--short"], "v4."),
        }
    }
}

/// Where everything that the lab starts is.
#[derive(Clone, Debug)]
pub struct Binaries {
    paths: [PathBuf; Program::ALL.len()],
    /// The directory of Gateway API's CRD files (standard channel).
    pub gateway_api_crds: PathBuf,
}

impl Binaries {
    /// Finds or builds all of them. Progress goes to standard error, one line per program built.
    ///
    /// # Errors
    /// When something must be built and Go is missing or fails.
    pub fn prepare() -> anyhow::Result<Self> {
        let cache = settings::cache_dir()?.join(cache_key());
        let bin = cache.join("bin");
        fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
        // Two builders at once would do the same work twice on the same cores.
        let lock = File::create(cache.join("lock"))?;
        lock.lock().context("cannot lock the cache of control plane programs")?;
        let mut paths = Vec::new();
        for program in Program::ALL {
            paths.push(prepare(program, &bin)?);
        }
        let gateway_api_crds = gateway_api(&cache)?;
        let paths = paths.try_into().map_err(|_| anyhow::anyhow!("a program is missing"))?;
        Ok(Self { paths, gateway_api_crds })
    }

    /// The path of one program.
    pub fn path(&self, program: Program) -> &Path {
        &self.paths[program as usize]
    }
}

/// Installs the CRDs that Gateherald and the stand-ins use, and waits until they are served.
pub(crate) async fn install_gateway_api(plane: &crate::ControlPlane) -> anyhow::Result<()> {
    for kind in ["gatewayclasses", "gateways"] {
        let file = plane.binaries().gateway_api_crds.join(format!("gateway.networking.k8s.io_{kind}.yaml"));
        plane.kubectl(&["apply", "--server-side", "-f", &file.to_string_lossy()]).await?;
        let name = format!("crd/{kind}.gateway.networking.k8s.io");
        plane.kubectl(&["wait", "--for=condition=Established", &name, "--timeout=60s"]).await?;
    }
    Ok(())
}

fn prepare(program: Program, bin: &Path) -> anyhow::Result<PathBuf> {
    let name = program.name();
    if let Some(path) = settings::kubebuilder_assets().map(|dir| dir.join(name)).filter(|path| path.is_file())
    {
        let version = version(program, &path).unwrap_or_else(|| "unknown version".to_owned());
        say(&format!("{name}: {} from KUBEBUILDER_ASSETS", version.trim()));
        return Ok(path);
    }
    let cached = bin.join(name);
    if cached.is_file() {
        return Ok(cached);
    }
    let suitable = |path: &PathBuf| {
        path.is_file() && version(program, path).is_some_and(|text| text.contains(program.version_check().1))
    };
    if let Some(path) = settings::search_path().iter().map(|dir| dir.join(name)).find(suitable) {
        say(&format!("{name}: {}", path.display()));
        return Ok(path);
    }
    build(program, &cached)?;
    Ok(cached)
}

fn version(program: Program, path: &Path) -> Option<String> {
    let output = Command::new(path).args(program.version_check().0).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn build(program: Program, target: &Path) -> anyhow::Result<()> {
    let name = program.name();
    let source = module_dir(target.parent().and_then(Path::parent).context("cache directory")?)?;
    let unfinished = target.with_extension("unfinished");
    say(&format!("{name}: building {} (once; minutes when nothing is cached)", program.package()));
    let start = tokio::time::Instant::now();
    run_go(
        &source,
        &[
            "build",
            "-trimpath",
            "-ldflags",
            &linker_flags(),
            "-o",
            &unfinished.to_string_lossy(),
            program.package(),
        ],
    )
    .with_context(|| format!("cannot build {name}"))?;
    fs::rename(&unfinished, target)?;
    say(&format!("{name}: built in {:.0} s", start.elapsed().as_secs_f64()));
    Ok(())
}

/// Gateway API's CRDs, copied out of its Go module.
fn gateway_api(cache: &Path) -> anyhow::Result<PathBuf> {
    let target = cache.join("gateway-api");
    if target.is_dir() {
        return Ok(target);
    }
    let source = module_dir(cache)?;
    let dir = run_go(&source, &["list", "-m", "-f", "{{.Dir}}", GATEWAY_API])?;
    let crds = if dir.trim().is_empty() {
        run_go(&source, &["mod", "download", GATEWAY_API])?;
        run_go(&source, &["list", "-m", "-f", "{{.Dir}}", GATEWAY_API])?
    } else {
        dir
    };
    let unfinished = cache.join("gateway-api.unfinished");
    fs::create_dir_all(&unfinished)?;
    for entry in fs::read_dir(Path::new(crds.trim()).join("config/crd/standard"))? {
        let entry = entry?;
        // fs::copy would keep the module cache's read-only mode.
        fs::write(unfinished.join(entry.file_name()), fs::read(entry.path())?)?;
    }
    fs::rename(&unfinished, &target)?;
    Ok(target)
}

/// The pinned module, written where Go can work in it.
fn module_dir(cache: &Path) -> anyhow::Result<PathBuf> {
    let dir = cache.join("module");
    fs::create_dir_all(&dir)?;
    for (name, text) in [("go.mod", GO_MOD), ("go.sum", GO_SUM), ("tools.go", TOOLS)] {
        fs::write(dir.join(name), text)?;
    }
    Ok(dir)
}

/// Runs Go in a module's directory; the result is its standard output.
pub(crate) fn run_go(dir: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("go")
        .args(args)
        .current_dir(dir)
        .envs([("CGO_ENABLED", "0"), ("GOFLAGS", "-mod=readonly"), ("GOWORK", "off")])
        .output()
        .context("cannot run go: install Go, or point KUBEBUILDER_ASSETS to ready-made programs")?;
    if !output.status.success() {
        bail!("go {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn linker_flags() -> String {
    let minor = KUBERNETES.split('.').nth(1).unwrap_or_default();
    format!(
        "-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES} \
         -X k8s.io/client-go/pkg/version.gitVersion={KUBERNETES} \
         -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor={minor}"
    )
}

fn cache_key() -> String {
    cache_key_of(&[GO_MOD, GO_SUM, &linker_flags()])
}

/// Names a directory of the cache after what its contents are made from.
pub(crate) fn cache_key_of(parts: &[&str]) -> String {
    use std::fmt::Write;
    let mut input = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        input.update(part.as_bytes());
    }
    input.finish().as_ref()[..8].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Tells people what takes so long.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "lab: {line}");
}
