// SPDX-License-Identifier: Apache-2.0
//! Connecting to the API server, and saying in a person's words why it did not work.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use http::{HeaderValue, header::USER_AGENT};
use hyper_util::{client::legacy, rt::TokioExecutor};
use kube::{
    Client, Config,
    client::ConfigExt,
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use serde::Serialize;
use thiserror::Error;
use tower::{BoxError, ServiceBuilder};
use tracing::{info, warn};

use crate::chain::chain;
use hedge::Hedged;
pub use troubles::Troubles;

mod hedge;
mod troubles;

/// Flags of the API server connection.
#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeArgs {
    /// Kubeconfig file; without it the pod's service account is used
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
}

/// How a client treats slow and failing requests.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// Value of the User-Agent header.
    pub user_agent: &'static str,
    /// Limit for opening a connection.
    pub connect_timeout: Duration,
    /// After so long another attempt to open one begins beside those under way, for clients that must not wait for one of several
    /// servers; their `read_timeout` is not looked at. `None`: one attempt.
    pub hedge_after: Option<Duration>,
    /// Limit for each wait on the server's next byte. `None` for clients that watch: the watcher has its own.
    pub read_timeout: Option<Duration>,
    /// Whether 429, 503 and 504 are retried inside the client, for minutes; never for leases.
    pub retry: bool,
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The kubeconfig file cannot be used.
    #[error("cannot use kubeconfig {}", path.display())]
    Kubeconfig {
        /// Value of `--kubeconfig`.
        path: PathBuf,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// There is no service account of a pod.
    #[error("not inside a pod, and no --kubeconfig given")]
    InCluster(#[source] InClusterError),
    /// The configuration cannot be turned into a client (bad certificates, bad URL).
    #[error("cannot set up the connection to {server}")]
    Setup {
        /// URL of the API server.
        server: String,
        /// What is wrong.
        source: kube::Error,
    },
    /// The user agent is no header value.
    #[error("user agent {0:?} is not a header value")]
    UserAgent(&'static str),
}

/// Makes a client. Sends nothing: an unreachable server shows at the first request.
pub async fn client(args: &KubeArgs, options: ClientOptions) -> Result<Client, ClientError> {
    let mut config = config(args).await?;
    let agent =
        HeaderValue::from_str(options.user_agent).map_err(|_| ClientError::UserAgent(options.user_agent))?;
    config.headers.push((USER_AGENT, agent));
    config.connect_timeout = Some(options.connect_timeout);
    config.read_timeout = options.read_timeout;
    config.reset_reader_on_write = options.read_timeout.is_some();
    config.default_retry = options.retry;
    let server = config.cluster_url.to_string();
    let client = match options.hedge_after {
        None => Client::try_from(config),
        Some(after) => hedged(&config, after, options.connect_timeout),
    };
    client.map_err(|source| ClientError::Setup { server, source })
}

/// kube's own stack less its retries, with another way to open connections.
fn hedged(config: &Config, after: Duration, within: Duration) -> Result<Client, kube::Error> {
    let connector = Hedged::new(config.rustls_https_connector()?, after, within);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(legacy::Client::builder(TokioExecutor::new()).build(connector));
    Ok(Client::new(service, config.default_namespace.clone()))
}

async fn config(args: &KubeArgs) -> Result<Config, ClientError> {
    let Some(path) = &args.kubeconfig else {
        return Config::incluster().map_err(ClientError::InCluster);
    };
    let explain = |source| ClientError::Kubeconfig { path: path.clone(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(explain)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(explain)
}

/// What went wrong with a request, as far as it tells people what to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Problem {
    /// 403: a role lacks a rule.
    Forbidden,
    /// 404: the object is not there, or its kind is not served.
    NotFound,
    /// 409: somebody else wrote first.
    Conflict,
    /// 401: the credentials are not accepted.
    Unauthorized,
    /// No answer: refused, timed out, bad certificate.
    Unreachable,
    /// Any other answer.
    Refused,
}

impl Problem {
    /// Sorts an error.
    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                401 => Self::Unauthorized,
                403 => Self::Forbidden,
                404 => Self::NotFound,
                409 => Self::Conflict,
                _ => Self::Refused,
            },
            _ => Self::Unreachable,
        }
    }
}

/// One line for people: what was tried on which resource, and what the API server (or the network) said.
pub fn explain(verb: &str, resource: &str, error: &kube::Error) -> String {
    let said = cause(error);
    match Problem::of(error) {
        Problem::Forbidden => format!("RBAC does not allow to {verb} {resource}: {said}"),
        Problem::Unauthorized => format!("credentials not accepted, cannot {verb} {resource}: {said}"),
        Problem::NotFound => format!("cannot {verb} {resource}, not found: {said}"),
        Problem::Conflict => format!("cannot {verb} {resource}, somebody else changed it: {said}"),
        Problem::Unreachable => format!("API server unreachable, cannot {verb} {resource}: {said}"),
        Problem::Refused => format!("API server refused to {verb} {resource}: {said}"),
    }
}

fn cause(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    chain(error)
}

/// Failures between two log lines that say the same, about a minute at full backoff.
const REPEAT_EVERY: u32 = 12;

/// Log of one thing that is tried again and again ([`Troubles`] is for many): speaks when the reason changes, when it is over, and now and then.
#[derive(Debug)]
pub struct Trouble {
    what: &'static str,
    reason: Option<String>,
    repeated: u32,
}

impl Trouble {
    /// Nothing wrong yet with `what`.
    pub fn new(what: &'static str) -> Self {
        Self { what, reason: None, repeated: 0 }
    }

    /// Another attempt failed for `reason`.
    pub fn note(&mut self, reason: &str) {
        let same = self.reason.as_deref() == Some(reason);
        self.repeated = if same { self.repeated + 1 } else { 0 };
        if !same {
            self.reason = Some(reason.to_owned());
        }
        if self.repeated.is_multiple_of(REPEAT_EVERY) {
            warn!(part = self.what, reason, failures = self.repeated + 1, "failing, will be tried again");
        }
    }

    /// An attempt succeeded.
    pub fn over(&mut self) {
        if self.reason.take().is_some() {
            info!(part = self.what, "works again");
        }
        self.repeated = 0;
    }
}

#[cfg(test)]
mod tests;
