// SPDX-License-Identifier: Apache-2.0
//! Just enough HTTP to read the admin ports of the programs.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::netns::Netns;

const TIMEOUT: Duration = Duration::from_secs(5);

/// What a GET was answered with.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// GETs `path` from an address that is reached from `netns`.
pub(crate) async fn get(netns: &Netns, address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    let netns = netns.clone();
    let connect = move || {
        netns.enter(|| {
            let stream = std::net::TcpStream::connect_timeout(&address, TIMEOUT)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        })
    };
    let stream = tokio::task::spawn_blocking(connect)
        .await?
        .with_context(|| format!("cannot connect to {address}"))?;
    tokio::time::timeout(TIMEOUT, exchange(TcpStream::from_std(stream)?, address, path))
        .await
        .with_context(|| format!("no answer from {address}{path}"))?
}

async fn exchange(mut stream: TcpStream, address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    // HTTP/1.0, so that the answer is neither chunked nor followed by another one.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { bail!("not HTTP: {text:?}") };
    let status =
        head.split_ascii_whitespace().nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    Ok(Response { status, body: body.to_owned() })
}
