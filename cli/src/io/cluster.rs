// SPDX-License-Identifier: Apache-2.0
//! The way to the API server, as kubectl finds it.

use std::time::Duration;

use http::{HeaderValue, header::USER_AGENT};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use thiserror::Error;

use crate::args::Global;

/// A person waits for it.
const CONNECT: Duration = Duration::from_secs(10);
/// The API server ends a watch after 290 s, as it is asked to: a silence that is longer is a broken connection.
const WATCH_SILENCE: Duration = Duration::from_secs(295);

/// A cluster, and where names without a namespace are looked up.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// The API server's URL.
    pub(crate) server: String,
    /// Of `-n`, else of the context.
    pub(crate) namespace: String,
    /// Of `-n` alone.
    pub(crate) scope: Option<String>,
    config: Config,
}

impl Cluster {
    /// A client for watches, on which nothing may come for longer than a request may take.
    pub(crate) fn for_watches(&self) -> Result<Client, ClusterError> {
        self.silent_for(Some(WATCH_SILENCE))
    }

    /// A client for logs that are followed: a program may have nothing to say for as long as it likes.
    pub(crate) fn for_logs(&self) -> Result<Client, ClusterError> {
        self.silent_for(None)
    }

    fn silent_for(&self, silence: Option<Duration>) -> Result<Client, ClusterError> {
        let mut config = self.config.clone();
        config.read_timeout = silence;
        client(config)
    }
}

/// Why there is no way.
#[derive(Debug, Error)]
pub(crate) enum ClusterError {
    /// No file, or none that can be used.
    #[error("cannot use the kubeconfig{}", .path.as_ref().map(|p| format!(" {p}")).unwrap_or_default())]
    Kubeconfig {
        path: Option<String>,
        #[source]
        source: KubeconfigError,
    },
    /// The files name no cluster that can be connected to.
    #[error("cannot set up the connection to {server}")]
    Setup {
        server: String,
        #[source]
        source: kube::Error,
    },
}

/// Makes a client. Sends nothing: an unreachable server shows at the first request.
pub(crate) async fn connect(global: &Global) -> Result<Cluster, ClusterError> {
    let path = global.kubeconfig.as_ref().map(|path| path.display().to_string());
    let explain = |source| ClusterError::Kubeconfig { path: path.clone(), source };
    let kubeconfig = match &global.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).map_err(explain)?,
        None => Kubeconfig::read().map_err(explain)?,
    };
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(explain)?;
    if let Some(user) = &global.as_user {
        config.auth_info.impersonate = Some(user.clone());
        config.auth_info.impersonate_groups = (!global.as_group.is_empty()).then(|| global.as_group.clone());
    }
    config.headers.push((
        USER_AGENT,
        HeaderValue::from_static(concat!("kubectl-gateherald/", env!("CARGO_PKG_VERSION"))),
    ));
    config.connect_timeout = Some(CONNECT.min(global.request_timeout));
    config.read_timeout = Some(global.request_timeout);
    config.default_retry = false;
    let server = config.cluster_url.to_string();
    let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let scope = global.namespace.clone();
    let client = client(config.clone())?;
    Ok(Cluster { client, server, namespace, scope, config })
}

fn client(config: Config) -> Result<Client, ClusterError> {
    let server = config.cluster_url.to_string();
    Client::try_from(config).map_err(|source| ClusterError::Setup { server, source })
}
