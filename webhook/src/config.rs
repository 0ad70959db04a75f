// SPDX-License-Identifier: Apache-2.0
//! The effective configuration, for people: printed at start, and served as `/config` on the admin port.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use gateherald_model::rules::Rules;
use serde::Serialize;
use tokio::sync::watch;

use crate::args::Args;

/// The configuration at any time; cheap to clone.
#[derive(Clone, Debug)]
pub struct Config {
    /// Flags and environment.
    pub args: Arc<Args>,
    /// The rules that decide.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// Why the rules' file as it is now is not in force.
    pub problem: watch::Receiver<Option<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    flags: &'a Args,
    /// In the shape of the file.
    label_rules: &'a Rules,
    #[serde(skip_serializing_if = "Option::is_none")]
    label_rules_problem: Option<&'a str>,
}

impl Config {
    /// As it is now, in JSON.
    pub fn show(&self) -> serde_json::Result<String> {
        let (rules, problem) = (Arc::clone(&self.rules.borrow()), self.problem.borrow().clone());
        let shown = Shown { flags: &self.args, label_rules: &rules, label_rules_problem: problem.as_deref() };
        serde_json::to_string(&shown)
    }

    /// `GET /config`.
    pub fn routes(self) -> Router {
        let show = async |State(config): State<Self>| match config.show() {
            Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, "application/json")], text + "\n"),
            Err(error) => {
                (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "text/plain")], error.to_string())
            }
        };
        Router::new().route("/config", get(show)).with_state(self)
    }
}
