// SPDX-License-Identifier: Apache-2.0
//! What a machine's first process is told, and the files that it writes for containerd, kubelet and kube-proxy.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::images::PAUSE_IMAGE;

/// Where a machine finds what belongs to it; everything of the host that it needs is bound below.
pub(super) const PLACE: &str = "/run/lab";
/// containerd's socket.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";

/// A machine, as its first process gets it. Paths are the host's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Blueprint {
    /// The Node's name.
    pub(super) name: String,
    /// The Node's InternalIP.
    pub(super) address: Ipv4Addr,
    /// The addresses of its pods.
    pub(super) pods: String,
    /// The machine's own directory, in which `lib` and `log` are its /var/lib and /var/log.
    pub(super) directory: PathBuf,
    /// Its cgroup.
    pub(super) cgroup: String,
    /// kubelet.
    pub(super) kubelet: PathBuf,
    /// kube-proxy.
    pub(super) proxy: PathBuf,
    /// The kubeconfigs of both, complete in themselves.
    pub(super) kubelet_config: PathBuf,
    /// The same for kube-proxy.
    pub(super) proxy_config: PathBuf,
    /// The authority whose clients the kubelet's own port serves.
    pub(super) ca: PathBuf,
    /// The directory of the network plugins.
    pub(super) plugins: PathBuf,
    /// Archives of images.
    pub(super) images: Vec<PathBuf>,
}

impl Blueprint {
    /// Reads one.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))
    }

    /// Writes it for the machine's first process.
    pub(super) fn write(&self) -> anyhow::Result<PathBuf> {
        let path = self.directory.join("blueprint.json");
        fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        Ok(path)
    }

    /// Files of the host and the names that they have below [`PLACE`].
    pub(super) fn files(&self) -> Vec<(&Path, String)> {
        let mut files = vec![
            (self.kubelet.as_path(), "kubelet".to_owned()),
            (&self.proxy, "kube-proxy".to_owned()),
            (&self.kubelet_config, "kubelet.conf".to_owned()),
            (&self.proxy_config, "kube-proxy.conf".to_owned()),
            (&self.ca, "ca.crt".to_owned()),
        ];
        files.extend(self.images.iter().zip(self.archives()).map(|(path, name)| (path.as_path(), name)));
        files
    }

    /// The names of the archives below [`PLACE`].
    pub(super) fn archives(&self) -> Vec<String> {
        (0..self.images.len()).map(|number| format!("image-{number}.tar")).collect()
    }

    /// Writes the configuration files, below [`PLACE`].
    pub(super) fn configure(&self) -> anyhow::Result<()> {
        let networks = Path::new(PLACE).join("net.d");
        fs::create_dir_all(&networks)?;
        fs::write(networks.join("10-pod.conflist"), self.network().to_string())?;
        fs::write(Path::new(PLACE).join("containerd.toml"), self.containerd())?;
        // Both are YAML, of which JSON is a part.
        fs::write(Path::new(PLACE).join("kubelet.yaml"), self.kubelet_settings().to_string())?;
        fs::write(Path::new(PLACE).join("kube-proxy.yaml"), self.proxy_settings().to_string())?;
        Ok(())
    }

    /// Routed and not bridged: each packet passes kube-proxy's rules, also between pods of one node.
    fn network(&self) -> Value {
        let ipam = json!({ "type": "host-local", "dataDir": "/run/cni/ipam", "ranges": [[{ "subnet": self.pods }]],
                           "routes": [{ "dst": "0.0.0.0/0" }] });
        let plugin = json!({ "type": "ptp", "mtu": 1500, "ipMasq": false, "ipam": ipam });
        json!({ "cniVersion": "0.4.0", "name": "pod", "plugins": [plugin] })
    }

    fn containerd(&self) -> String {
        let plugins = self.plugins.display();
        // restrict_oom_score_adj: in a sandbox root may lack CAP_SYS_RESOURCE, and runc fails without a word on it.
        format!(
            r#"version = 2
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{PLACE}/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#
        )
    }

    fn kubelet_settings(&self) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": false },
                "x509": { "clientCAFile": format!("{PLACE}/ca.crt") },
            },
            // Only the API server has a certificate of that authority that a kubelet's port would take.
            "authorization": { "mode": "AlwaysAllow" },
            "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
            // Since 1.35 a kubelet refuses version 1 by itself.
            "failCgroupV1": false,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.cgroup,
            "failSwapOn": false,
            "resolvConf": "",
            "oomScoreAdj": 0,
            "maxOpenFiles": 20_000,
            // A dead machine is noticed in seconds.
            "nodeStatusUpdateFrequency": "2s",
            "nodeLeaseDurationSeconds": 8,
            // A full disk of the host is not this cluster's.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": { "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
                              "imagefs.available": "0%" },
        })
    }

    fn proxy_settings(&self) -> Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": { "kubeconfig": format!("{PLACE}/kube-proxy.conf") },
            "hostnameOverride": self.name,
            "oomScoreAdj": 0,
            // Settings of the whole host.
            "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
        })
    }
}
