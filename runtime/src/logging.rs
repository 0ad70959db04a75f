// SPDX-License-Identifier: Apache-2.0
//! The diagnostic log: one line per event on stderr, as JSON or as text.
//!
//! Stdout stays free for records that other programs read (the webhook's audit lines).

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use clap::{Args, ValueEnum};
use serde::Serialize;
use thiserror::Error;
use tracing::{level_filters::LevelFilter, warn};
use tracing_subscriber::{
    EnvFilter, Registry, filter::ParseError, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

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
    /// The filter of `--log-level` cannot be used.
    #[error("--log-level: {0}")]
    Filter(#[from] FilterError),
    /// Something else has installed a subscriber before.
    #[error("logging is already set up")]
    AlreadySet,
}

/// Why a text is no filter.
#[derive(Debug, Error)]
pub enum FilterError {
    /// An empty filter would silence everything but errors, which is hardly meant.
    #[error("a log filter is needed, like info or info,kube=debug")]
    Empty,
    /// The library would take the word for a target, and silence everything else.
    #[error("{0:?} is neither a level (off, error, warn, info, debug, trace) nor TARGET=LEVEL")]
    NoLevel(String),
    /// The library cannot read it.
    #[error("{filter:?} is not a log filter: {cause}")]
    Unreadable {
        /// As given.
        filter: String,
        /// What is wrong with it.
        cause: ParseError,
    },
}

/// What is logged; clones share it. Can be changed while the process runs.
#[derive(Clone)]
pub struct LogFilter {
    text: Arc<Mutex<String>>,
    handle: reload::Handle<EnvFilter, Registry>,
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("LogFilter").field(&self.text()).finish()
    }
}

impl LogFilter {
    /// The filter in force, as it was given.
    pub fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs by another filter from now on, and logs that.
    pub fn change(&self, text: &str) -> Result<(), FilterError> {
        let text = text.trim();
        let filter = parse(text)?;
        let mut current = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, text.to_owned());
        // A warning in any case, and before the change takes effect: the new filter may let nothing through.
        warn!(from = before, to = text, "the log filter is changed");
        // Fails only when the process's subscriber is gone, with which every log line is.
        drop(self.handle.reload(filter));
        Ok(())
    }

    /// A filter that nothing is logged by yet, and the layer that applies it.
    pub(crate) fn new(text: &str) -> Result<(Self, reload::Layer<EnvFilter, Registry>), FilterError> {
        let (layer, handle) = reload::Layer::new(parse(text)?);
        Ok((Self { text: Arc::new(Mutex::new(text.to_owned())), handle }, layer))
    }
}

/// The client library tells each failed request, and its users tell it again with what it was for: once is enough,
/// unless the filter asks for more.
fn effective(filter: &str) -> String {
    if filter.contains("kube_client") { filter.to_owned() } else { format!("{filter},kube_client=off") }
}

fn parse(text: &str) -> Result<EnvFilter, FilterError> {
    if text.trim().is_empty() {
        return Err(FilterError::Empty);
    }
    // What is in brackets are spans and fields, which the library checks.
    let bare = text.split(',').filter(|part| !part.contains(['=', '[', ']', '{', '}']));
    for word in bare {
        if word.trim().parse::<LevelFilter>().is_err() || word.trim().is_empty() {
            return Err(FilterError::NoLevel(word.to_owned()));
        }
    }
    EnvFilter::try_new(effective(text))
        .map_err(|cause| FilterError::Unreadable { filter: text.to_owned(), cause })
}

/// Starts logging to stderr for the whole process.
pub fn init(args: &LogArgs) -> Result<LogFilter, LogError> {
    let (filter, layer) = LogFilter::new(&args.log_level)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(layer);
    match args.log_format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            registry.with(lines).try_init()
        }
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry.with(lines.with_ansi(ansi)).try_init()
        }
    }
    .map_err(|_| LogError::AlreadySet)?;
    Ok(filter)
}

#[cfg(test)]
mod tests;
