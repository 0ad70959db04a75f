// SPDX-License-Identifier: Apache-2.0
//! The command lines of the control plane's programs.

use std::path::Path;

use super::{API_ADDRESS, API_PORT, user};
use crate::binaries::{Binaries, Program};
use crate::netns::Netns;
use crate::pki::{Pair, Pki};
use crate::process::{Process, Spec};
use crate::state::StateDir;

const AUDIT_POLICY: &str = include_str!("audit-policy.yaml");

/// Where, with which programs, and for which kind of nodes.
pub(super) struct Launch<'a> {
    pub(super) netns: &'a Netns,
    pub(super) binaries: &'a Binaries,
    pub(super) state: &'a StateDir,
    pub(super) machines: bool,
}

impl Launch<'_> {
    pub(super) fn start(&self, program: Program, args: &[String]) -> anyhow::Result<Process> {
        Process::start(Spec {
            name: program.name().to_owned(),
            program: self.binaries.path(program).to_owned(),
            args: args.to_vec(),
            env: Vec::new(),
            netns: self.netns.clone(),
            log: self.state.log(program.name()),
            polite: false,
        })
    }

    pub(super) fn etcd(&self, fsync: bool) -> anyhow::Result<Process> {
        let data = self.state.path().join("etcd");
        let args = [
            format!("--data-dir={}", data.display()),
            // The lab's data is thrown away; waiting for the disk would only make it slow.
            format!("--unsafe-no-fsync={}", !fsync),
            "--log-level=warn".to_owned(),
            "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
            "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
            "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        ];
        self.start(Program::Etcd, &args)
    }

    pub(super) fn api_server(&self, pki: &Pki, serving: &Pair) -> anyhow::Result<Process> {
        let policy = self.state.path().join("audit-policy.yaml");
        std::fs::write(&policy, AUDIT_POLICY)?;
        let audit = self.state.path().join("logs/audit.jsonl");
        let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        let mut args = vec![
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            format!("--advertise-address={API_ADDRESS}"),
            format!("--secure-port={API_PORT}"),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            // No kube-proxy here: the API server dials a webhook Service's endpoints directly.
            "--enable-aggregator-routing=true".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--audit-log-mode=blocking".to_owned(),
            file("tls-cert-file", &serving.certificate),
            file("tls-private-key-file", &serving.key),
            file("client-ca-file", &pki.ca),
            file("service-account-key-file", &pki.service_account.certificate),
            file("service-account-signing-key-file", &pki.service_account.key),
            file("audit-policy-file", &policy),
            file("audit-log-path", &audit),
        ];
        if self.machines {
            let kubelets = pki.client("kube-apiserver-kubelet-client", Some("system:masters"))?;
            args.extend([
                file("kubelet-client-certificate", &kubelets.certificate),
                file("kubelet-client-key", &kubelets.key),
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
                // Pods leave a dead machine in seconds, not in five minutes.
                "--default-not-ready-toleration-seconds=5".to_owned(),
                "--default-unreachable-toleration-seconds=5".to_owned(),
            ]);
        }
        self.start(Program::ApiServer, &args)
    }

    pub(super) fn controller_manager(&self, pki: &Pki, dir: &Path) -> anyhow::Result<Process> {
        let pair = pki.client("system:kube-controller-manager", None)?;
        let config = user(dir, pki, "controller-manager", &pair)?;
        let mut args = vec![
            format!("--kubeconfig={}", config.display()),
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            "--allocate-node-cidrs=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--root-ca-file={}", pki.ca.display()),
            format!("--service-account-private-key-file={}", pki.service_account.key.display()),
        ];
        if self.machines {
            args.extend(["--node-monitor-period=1s".to_owned(), "--node-monitor-grace-period=8s".to_owned()]);
        } else {
            // Nobody sends kubelet heartbeats; a node's conditions are what the lab's stand-in wrote.
            args.push("--controllers=*,-node-lifecycle-controller".to_owned());
        }
        self.start(Program::ControllerManager, &args)
    }
}
