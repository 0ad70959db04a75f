// SPDX-License-Identifier: Apache-2.0
//! A cgroup for each machine, below which its kubelet keeps its pods'. Version 1 and version 2.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::patience::block_until;

const ROOT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "gateherald-lab-";
/// The controllers that a kubelet cannot do without.
const NEEDED: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];
/// How long the kernel may take to see that the last process of a cgroup is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// The cgroups of one lab, in each hierarchy. They go when it is dropped.
#[derive(Debug)]
pub(super) struct Cgroups {
    hierarchies: Vec<PathBuf>,
    unified: bool,
    name: String,
}

impl Cgroups {
    /// Finds the hierarchies, and removes what dead labs left in them.
    pub(super) fn new(lab: &str) -> anyhow::Result<Self> {
        let unified = Path::new(ROOT).join("cgroup.controllers").is_file();
        let hierarchies = if unified { vec![PathBuf::from(ROOT)] } else { version_1()? };
        for hierarchy in &hierarchies {
            sweep(hierarchy);
        }
        // The id tells later labs whether this one is alive.
        Ok(Self { hierarchies, unified, name: format!("{lab}.{}", std::process::id()) })
    }

    /// Makes the cgroup of a machine; the result is what its kubelet calls it.
    pub(super) fn create(&self, machine: &str) -> anyhow::Result<String> {
        for hierarchy in &self.hierarchies {
            let lab = hierarchy.join(&self.name);
            let leaf = lab.join(machine);
            if self.unified {
                delegate(hierarchy)?;
            }
            for (parent, child) in [(hierarchy, &lab), (&lab, &leaf)] {
                fs::create_dir_all(child).with_context(|| {
                    format!("cannot make the cgroup {}: is {ROOT} writable?", child.display())
                })?;
                if self.unified {
                    delegate(child)?;
                } else {
                    inherit_cpus(parent, child)?;
                }
            }
        }
        Ok(format!("/{}/{machine}", self.name))
    }

    /// Removes a dead machine's cgroups: cAdvisor stalls a kubelet for seconds at each one of a pod that is gone.
    pub(super) fn remove(&self, machine: &str) {
        for hierarchy in &self.hierarchies {
            remove(&hierarchy.join(&self.name).join(machine));
        }
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for hierarchy in &self.hierarchies {
            remove(&hierarchy.join(&self.name));
        }
    }
}

fn version_1() -> anyhow::Result<Vec<PathBuf>> {
    let list = fs::read_dir(ROOT).with_context(|| format!("cannot read {ROOT}: no cgroups are mounted"))?;
    let all: Vec<PathBuf> = list.flatten().map(|entry| entry.path()).collect();
    // Hybrid systems have version 2 beside them, without controllers; runc makes cgroups there too.
    let hierarchies: Vec<PathBuf> =
        all.into_iter().filter(|path| path.join("cgroup.procs").is_file()).collect();
    for controller in NEEDED {
        if !hierarchies.iter().any(|path| path.ends_with(controller))
            && !Path::new(ROOT).join(controller).exists()
        {
            bail!(
                "the cgroup controller {controller} is missing in {ROOT}: the kernel lacks it, or it is not mounted"
            );
        }
    }
    Ok(hierarchies)
}

/// Version 2: lets the cgroups below `path` have controllers.
fn delegate(path: &Path) -> anyhow::Result<()> {
    let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
    let (available, given) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let has = |list: &str, controller: &str| list.split_whitespace().any(|word| word == controller);
    if let Some(missing) = NEEDED.iter().find(|controller| !has(&available, controller)) {
        bail!("the cgroup controller {missing} is not available in {}", path.display());
    }
    for controller in available.split_whitespace().filter(|controller| !has(&given, controller)) {
        let outcome = fs::write(path.join("cgroup.subtree_control"), format!("+{controller}"));
        if NEEDED.contains(&controller) {
            outcome.with_context(|| {
                format!("cannot hand the cgroup controller {controller} down from {}: does it hold processes itself, as in a container?",
                    path.display())
            })?;
        }
    }
    Ok(())
}

/// Version 1: a new cpuset has neither processors nor memory, and no process can be in it.
fn inherit_cpus(parent: &Path, child: &Path) -> anyhow::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(file), child.join(file));
        if to.is_file() {
            fs::write(&to, fs::read(&from)?).with_context(|| format!("cannot write {}", to.display()))?;
        }
    }
    Ok(())
}

/// Removes cgroups of labs whose process is gone.
fn sweep(hierarchy: &Path) {
    let Ok(entries) = fs::read_dir(hierarchy) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(process) = name.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('.')) else {
            continue;
        };
        if !Path::new("/proc").join(process.1).exists() {
            remove(&entry.path());
        }
    }
}

fn remove(path: &Path) {
    // What stays is empty soon, and removed by the next lab.
    let _ = block_until(PATIENCE, || Ok(!path.exists() || remove_once(path)));
}

/// Removes a cgroup and those below; whether all of them went.
fn remove_once(path: &Path) -> bool {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let stayed = below.filter(|entry| !remove_once(&entry.path())).count();
    stayed == 0 && fs::remove_dir(path).is_ok()
}
