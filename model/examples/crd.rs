// SPDX-License-Identifier: Apache-2.0
//! Prints the `CustomResourceDefinition` of `L2AnnouncementPolicy`.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use gateherald_model::crd::L2AnnouncementPolicy;
use kube::CustomResourceExt;

fn main() -> Result<(), serde_yaml_ng::Error> {
    println!("# SPDX-License-Identifier: Apache-2.0");
    println!("# Written by `make crd`; change model/src/crd.rs instead.");
    print!("{}", serde_yaml_ng::to_string(&L2AnnouncementPolicy::crd())?);
    Ok(())
}
