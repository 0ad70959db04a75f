// SPDX-License-Identifier: Apache-2.0
//! Ports of pods, through the API server, as `kubectl port-forward` does it.

use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::lists::said;

/// A pod on a slow link answers within this, or is left out.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Forwarding is a GET that becomes a WebSocket; newer API servers ask for `create` besides.
pub(crate) const RIGHT: &str = "get and create pods/portforward";
/// More than any page of an announcer.
const MOST_BYTES: u64 = 64 << 20;

/// A stream to a port of a pod.
pub(crate) async fn connect(
    client: &Client,
    namespace: &str,
    pod: &str,
    port: u16,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut forwarder = pods.portforward(pod, &[port]).await?;
    forwarder.take_stream(port).ok_or(kube::Error::LinesCodecMaxLineLengthExceeded)
}

/// GETs a path from a port of a pod that speaks HTTP.
pub(crate) async fn get(
    client: &Client,
    namespace: &str,
    pod: &str,
    port: u16,
    path: &str,
) -> anyhow::Result<String> {
    let work = async {
        let stream = connect(client, namespace, pod, port).await;
        let mut stream = stream.map_err(|error| anyhow::anyhow!(said(&error)))?;
        // HTTP/1.0, so that the answer is neither chunked nor followed by another one.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.take(MOST_BYTES).read_to_end(&mut bytes).await?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { bail!("no HTTP answer") };
        let status = head.split_ascii_whitespace().nth(1).unwrap_or_default();
        if status != "200" {
            bail!("{}", refusal(status, body));
        }
        Ok(body.to_owned())
    };
    tokio::time::timeout(TIMEOUT, work).await.context("no answer in time")?
}

/// The reason in the body, as an announcer writes it.
fn refusal(status: &str, body: &str) -> String {
    let reason =
        serde_json::from_str::<Value>(body).ok().and_then(|body| Some(body["error"].as_str()?.to_owned()));
    reason.unwrap_or_else(|| format!("it answered {status}"))
}
