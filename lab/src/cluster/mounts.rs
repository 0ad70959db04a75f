// SPDX-License-Identifier: Apache-2.0
//! A machine's view of the file system, made by its first process in a mount namespace of its own.

use std::fs;
use std::path::Path;

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::blueprint::{Blueprint, PLACE};

const NOTHING: Option<&str> = None;
/// Settings of the whole host that a kubelet insists on: it is shown what it wants to see.
const PRETENDED: [(&str, &str); 3] =
    [("vm/overcommit_memory", "1"), ("kernel/panic", "10"), ("kernel/panic_on_oops", "1")];

/// Gives the machine /proc, /sys, /run, /var/lib and /var/log of its own.
pub(super) fn make(machine: &Blueprint) -> anyhow::Result<()> {
    let run = machine.directory.join("run");
    fs::create_dir_all(&run)?;
    special("tmpfs", &run, Some("mode=755"))?;
    let place = run.join("lab");
    fs::create_dir_all(&place)?;
    for (source, name) in machine.files() {
        fs::write(place.join(&name), "")?;
        bind(source, &place.join(&name))?;
    }
    for directory in ["lib", "log"] {
        fs::create_dir_all(place.join(directory))?;
        bind(&machine.directory.join(directory), &place.join(directory))?;
    }
    // From here on nothing of the host's directories is needed, wherever they are.
    bind(&run, Path::new("/run"))?;
    special("proc", Path::new("/proc"), None)?;
    system()?;
    for directory in ["netns", "lock", "cni", "lab/pretended"] {
        fs::create_dir_all(Path::new("/run").join(directory))?;
    }
    bind(&Path::new(PLACE).join("lib"), Path::new("/var/lib"))?;
    bind(&Path::new(PLACE).join("log"), Path::new("/var/log"))?;
    for (setting, value) in PRETENDED {
        let file = Path::new(PLACE).join("pretended").join(setting.replace('/', "."));
        fs::write(&file, format!("{value}\n"))?;
        bind(&file, &Path::new("/proc/sys").join(setting))?;
    }
    probe_overlay()?;
    // Volumes are mounted for pods that run already.
    mount(NOTHING, "/", NOTHING, MsFlags::MS_SHARED | MsFlags::MS_REC, NOTHING).context("cannot share /")
}

/// A /sys that shows this network namespace, with the host's cgroups in it.
fn system() -> anyhow::Result<()> {
    let aside = Path::new("/run/cgroup");
    fs::create_dir_all(aside)?;
    bind(Path::new("/sys/fs/cgroup"), aside)?;
    special("sysfs", Path::new("/sys"), None)?;
    bind(aside, Path::new("/sys/fs/cgroup"))?;
    umount2(aside, MntFlags::MNT_DETACH).context("cannot unmount /run/cgroup")
}

/// containerd keeps images as overlays, which not every file system can hold.
fn probe_overlay() -> anyhow::Result<()> {
    let probe = Path::new("/var/lib/probe");
    for directory in ["lower", "upper", "work", "merged"] {
        fs::create_dir_all(probe.join(directory))?;
    }
    let path = |directory: &str| probe.join(directory).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", path("lower"), path("upper"), path("work"));
    special("overlay", &probe.join("merged"), Some(&options)).context(
        "overlayfs does not work here: the kernel lacks it, or TMPDIR is on a file system that cannot hold one",
    )?;
    umount2(&probe.join("merged"), MntFlags::MNT_DETACH)?;
    Ok(fs::remove_dir_all(probe)?)
}

fn special(kind: &str, target: &Path, options: Option<&str>) -> anyhow::Result<()> {
    mount(Some(kind), target, Some(kind), MsFlags::empty(), options)
        .with_context(|| format!("cannot mount {kind} on {}", target.display()))
}

fn bind(source: &Path, target: &Path) -> anyhow::Result<()> {
    mount(Some(source), target, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
        .with_context(|| format!("cannot bind {} on {}", source.display(), target.display()))
}
