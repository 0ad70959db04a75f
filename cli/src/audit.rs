// SPDX-License-Identifier: Apache-2.0
//! Lines of the webhook's audit trail, read back.

use serde_json::Value;

/// Which lines are wanted; what is absent wants all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Of Services in this namespace.
    pub(crate) namespace: Option<String>,
    /// Of a Service: `namespace/name`, or the name alone.
    pub(crate) service: Option<String>,
    /// Of a Gateway, likewise.
    pub(crate) gateway: Option<String>,
    /// With one of these outcomes; none: any.
    pub(crate) outcomes: Vec<String>,
    /// Also dry runs.
    pub(crate) dry_runs: bool,
}

/// A line of a log, if it is one of the audit trail.
pub(crate) fn parse(line: &str) -> Option<Value> {
    let record: Value = serde_json::from_str(line.trim()).ok()?;
    (record["target"] == "audit").then_some(record)
}

impl Filter {
    /// Whether this one is wanted.
    pub(crate) fn wants(&self, record: &Value) -> bool {
        let named = |wanted: &Option<String>, field: &str| {
            let is = record[field].as_str().unwrap_or_default();
            wanted.as_ref().is_none_or(|wanted| is == wanted || is.rsplit('/').next() == Some(wanted))
        };
        let service = record["service"].as_str().unwrap_or_default();
        let namespace = service.split_once('/').map(|(namespace, _)| namespace);
        let outcome = record["outcome"].as_str().unwrap_or_default();
        self.namespace.as_deref().is_none_or(|wanted| namespace == Some(wanted))
            && named(&self.service, "service")
            && named(&self.gateway, "gateway")
            && (self.outcomes.is_empty() || self.outcomes.iter().any(|wanted| wanted == outcome))
            && (self.dry_runs || record["dryRun"] != true)
    }
}

/// By time, then by the review's uid: replicas' clocks differ, their order is nobody's.
pub(crate) fn sort(records: &mut [Value]) {
    let key = |record: &Value| {
        let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
        (text("time"), text("uid"))
    };
    records.sort_by_cached_key(key);
}

/// The headings of [`columns`].
pub(crate) fn headings() -> Vec<String> {
    ["TIME", "SERVICE", "OPERATION", "GATEWAY", "OUTCOME", "LABELS", "SKIPPED", "USER"]
        .map(str::to_owned)
        .to_vec()
}

/// One line of the table.
pub(crate) fn columns(record: &Value) -> Vec<String> {
    let text = |field: &str| record[field].as_str().unwrap_or("-").to_owned();
    let pairs = |field: &str, sign: &str| -> Vec<String> {
        let entries = record[field].as_object().into_iter().flatten();
        entries.map(|(key, value)| format!("{sign}{key}={}", value.as_str().unwrap_or_default())).collect()
    };
    let keys = |field: &str, write: &dyn Fn(&str, &str) -> String| -> Vec<String> {
        let entries = record[field].as_array().into_iter().flatten();
        let parts = |entry: &Value| {
            write(entry["key"].as_str().unwrap_or_default(), entry["reason"].as_str().unwrap_or_default())
        };
        entries.map(parts).collect()
    };
    let mut labels = pairs("injected", "+");
    labels.extend(pairs("updated", "~"));
    labels.extend(keys("removed", &|key, _| format!("-{key}")));
    let skipped = keys("skipped", &|key, reason| format!("{key}:{reason}"));
    let list = |list: Vec<String>| if list.is_empty() { "-".to_owned() } else { list.join(",") };
    // A fraction of a second says nothing to a reader of a table.
    let time = text("time").split('.').next().unwrap_or_default().to_owned();
    vec![
        time.trim_end_matches('Z').to_owned(),
        text("service"),
        text("operation"),
        text("gateway"),
        text("outcome"),
        list(labels),
        list(skipped),
        text("user"),
    ]
}

#[cfg(test)]
mod tests;
