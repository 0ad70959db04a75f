// SPDX-License-Identifier: Apache-2.0
//! The webhook's metrics as a test reads them: series are named without the program's prefix, and with their labels.

use anyhow::Context;
use gateherald_lab::Webhook;
use gateherald_lab::patience::{LONG, Look, until};

/// The value of one series.
///
/// # Errors
/// When it is not served.
pub async fn metric(webhook: &Webhook, series: &str) -> anyhow::Result<f64> {
    Ok(text(webhook, series).await?.parse()?)
}

/// The value of one series, without its fraction.
///
/// # Errors
/// When it is not served.
pub async fn count(webhook: &Webhook, series: &str) -> anyhow::Result<i64> {
    let text = text(webhook, series).await?;
    Ok(text.split('.').next().unwrap_or_default().parse()?)
}

/// Waits until [`count`] is as wanted.
///
/// # Errors
/// When it is not within a minute.
pub async fn until_count(
    webhook: &Webhook,
    series: &str,
    wanted: impl Fn(i64) -> bool,
) -> anyhow::Result<()> {
    until(series, LONG, async || {
        Ok(match count(webhook, series).await {
            Ok(value) if wanted(value) => Look::Found(()),
            Ok(value) => Look::NotYet(value.to_string()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await
}

async fn text(webhook: &Webhook, series: &str) -> anyhow::Result<String> {
    let metrics = webhook.get("/metrics").await?.body;
    let name = format!("gateherald_webhook_{series} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
    Ok(value.with_context(|| format!("no {series} in {metrics}"))?.to_owned())
}
