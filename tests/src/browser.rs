// SPDX-License-Identifier: Apache-2.0
//! Debian's Chromium without a screen, by its debugging protocol.

use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt, StreamExt};
use gateherald_lab::Netns;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::process::{Process, Spec};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const PROGRAM: &str = "/usr/bin/chromium";

/// One page in a browser of its own. Dropping it ends the browser.
pub struct Browser {
    _process: Process,
    _profile: tempfile::TempDir,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last: u64,
}

impl Browser {
    /// Opens a page; the caller's threads are in `netns` too.
    ///
    /// # Errors
    /// When Chromium is missing or does not start.
    pub async fn open(netns: &Netns, url: &str) -> anyhow::Result<Self> {
        if !Path::new(PROGRAM).exists() {
            bail!("{PROGRAM} is missing: run `make setup`");
        }
        let profile = tempfile::tempdir()?;
        let data = format!("--user-data-dir={}", profile.path().display());
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-port=0",
            "--window-size=1600,900",
            &data,
            "about:blank",
        ];
        let process = Process::start(Spec {
            name: "chromium".to_owned(),
            program: PROGRAM.into(),
            args: flags.map(str::to_owned).to_vec(),
            env: vec![("HOME".to_owned(), profile.path().display().to_string())],
            netns: netns.clone(),
            log: profile.path().join("log"),
            polite: false,
        })?;
        let line = process.log_line(LONG, |line| line.contains("DevTools listening on ws://")).await?;
        let rest = line.split("ws://").nth(1).context("no address")?;
        let address = rest.split('/').next().context("no address")?.to_owned();
        let target = new_page(&address, url).await?;
        let (socket, _) = tokio_tungstenite::connect_async(&target).await.context("the page's debugger")?;
        Ok(Self { _process: process, _profile: profile, socket, last: 0 })
    }

    async fn call(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.last += 1;
        let request = json!({ "id": self.last, "method": method, "params": params });
        self.socket.send(Message::text(request.to_string())).await?;
        let answer = async {
            while let Some(message) = self.socket.next().await {
                let Message::Text(text) = message? else { continue };
                let answer: Value = serde_json::from_str(&text)?;
                if answer["id"] == self.last {
                    return Ok(answer["result"].clone());
                }
            }
            bail!("the browser ended")
        };
        tokio::time::timeout(LONG, answer).await.with_context(|| format!("{method}: no answer"))?
    }

    /// The value of an expression in the page.
    ///
    /// # Errors
    /// When it throws.
    pub async fn evaluate(&mut self, expression: &str) -> anyhow::Result<Value> {
        let result =
            self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true })).await?;
        if !result["exceptionDetails"].is_null() {
            bail!("{expression}: {}", result["exceptionDetails"]);
        }
        Ok(result["result"]["value"].clone())
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// When it is not within a minute.
    pub async fn until(&mut self, expression: &str) -> anyhow::Result<()> {
        let this = tokio::sync::Mutex::new(self);
        until(expression, LONG, async || {
            let value = this.lock().await.evaluate(expression).await?;
            Ok(if value == true { Look::Found(()) } else { Look::NotYet(value.to_string()) })
        })
        .await
    }

    /// Presses a key, as a person does.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn press(&mut self, key: &str, text: &str) -> anyhow::Result<()> {
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyDown", "key": key, "text": text })).await?;
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key })).await.map(drop)
    }

    /// Shows the page in this colour scheme, `light` or `dark`.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn scheme(&mut self, scheme: &str) -> anyhow::Result<()> {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await.map(drop)
    }

    /// Writes what the page looks like.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn screenshot(&mut self, path: &Path) -> anyhow::Result<()> {
        let shot = self.call("Page.captureScreenshot", json!({})).await?;
        let bytes = STANDARD.decode(shot["data"].as_str().context("no picture")?)?;
        std::fs::create_dir_all(path.parent().context("no directory")?)?;
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Asks for a page, and says where its debugger is.
async fn new_page(address: &str, url: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("PUT /json/new?{url} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let mut part = [0; 8192];
    // The connection may be kept open all the same: the body ends with its object.
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if let Ok(target) = serde_json::from_str::<Value>(body) {
            return target["webSocketDebuggerUrl"].as_str().map(str::to_owned).context("no debugger");
        }
        let length = stream.read(&mut part).await?;
        if length == 0 {
            bail!("no page: {text}");
        }
        bytes.extend_from_slice(&part[..length]);
    }
}
