// SPDX-License-Identifier: Apache-2.0
//! A script with which a person looks around in a running lab from another terminal.

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Context;

use crate::control_plane::ControlPlane;
use crate::netns::Netns;

/// Writes `look PLACE COMMAND…` into the lab's directory: it runs a command in the namespace of that name, with kubectl
/// and helm of the lab in its PATH.
pub(crate) fn write(plane: &ControlPlane, places: &[&Netns]) -> anyhow::Result<PathBuf> {
    let mut script = String::from(
        "#!/bin/sh\n# Runs a command in a place of this lab: look PLACE COMMAND...\ncase \"$1\" in\n",
    );
    let mut names = String::from(plane.netns().name());
    let _ = writeln!(script, "  {}) ns={} ;;", plane.netns().name(), plane.netns().path());
    for place in places {
        let _ = writeln!(script, "  {}) ns={} ;;", place.name(), place.path());
        let _ = write!(names, ", {}", place.name());
    }
    let kubectl = plane.binaries().path(crate::binaries::Program::Kubectl);
    let programs = kubectl.parent().context("the directory of kubectl")?.display();
    let _ = write!(
        script,
        "  *) echo \"usage: look PLACE COMMAND...; places: {names}\" >&2; exit 2 ;;\nesac\nshift\n\
         export KUBECONFIG={} PATH={programs}:\"$PATH\"\nexec nsenter --net=\"$ns\" \"$@\"\n",
        plane.kubeconfig().display(),
    );
    let path = plane.state().path().join("look");
    std::fs::write(&path, script).context("cannot write the script `look`")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
