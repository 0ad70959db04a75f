// SPDX-License-Identifier: Apache-2.0
//! The diagnostic log: one line per event on stderr, as JSON or as text.
//!
//! Stdout stays free for records that other programs read (the webhook's audit lines).

use clap::{Args, ValueEnum};
use serde::Serialize;
use thiserror::Error;
use tracing_subscriber::EnvFilter;

/// Flags of the diagnostic log.
#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogArgs {
    /// Least severe level to log, or a filter like `info,kube=debug`
    #[arg(long, env = "GATEHERALD_LOG", default_value = "info", value_name = "FILTER")]
    pub log_level: String,

    /// Shape of the log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Json, value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// Shape of the diagnostic log's lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One JSON object per line, its fields at the top level.
    Json,
    /// For people.
    Text,
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter of `--log-level` cannot be parsed.
    #[error("--log-level {filter:?} is not a log filter")]
    Filter {
        /// The text as given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else has installed a subscriber before.
    #[error("logging is already set up")]
    AlreadySet,
}

/// The client library tells each failed request, and its users tell it again with what it was for: once is enough,
/// unless the filter asks for more.
fn effective(filter: &str) -> String {
    if filter.contains("kube_client") { filter.to_owned() } else { format!("{filter},kube_client=off") }
}

/// Starts logging to stderr for the whole process.
pub fn init(args: &LogArgs) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(effective(&args.log_level))
        .map_err(|source| LogError::Filter { filter: args.log_level.clone(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
    }
    .map_err(|_| LogError::AlreadySet)
}
