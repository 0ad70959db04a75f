// SPDX-License-Identifier: Apache-2.0
//! The table of values in the chart's README, made from the comments of values.yaml.
//!
//! A value is a key that is set on its own line. The comment lines directly above it describe it; a blank line ends them, so
//! examples that are commented out stand before one. Keys with further keys below are groups: their comments are headings.

use anyhow::{Context, bail};

/// Where the table goes in the template.
const MARK: &str = "<!-- values -->";

/// One line of values.yaml that sets a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Like `webhook.replicas`.
    pub path: String,
    /// As the file has it; empty for a group and for a list on lines of its own.
    pub default: String,
    /// Its comment, in one line.
    pub comment: String,
    /// Whether there are keys below it.
    pub group: bool,
}

/// The README: the template with the table in it.
///
/// # Errors
/// When the template has no mark, or a value no comment.
pub fn render(template: &str, values: &str) -> anyhow::Result<String> {
    let (head, tail) =
        template.split_once(MARK).with_context(|| format!("the template has no line {MARK}"))?;
    let mut table = String::from("| value | default | meaning |\n|---|---|---|\n");
    for value in parse(values).into_iter().filter(|value| !value.group) {
        let Value { path, default, comment, .. } = value;
        if comment.is_empty() {
            bail!("values.yaml: {path} has no comment");
        }
        let default = if default.is_empty() { "see values.yaml".to_owned() } else { format!("`{default}`") };
        table.push_str(&format!("| `{path}` | {default} | {comment} |\n").replace("||", "\\|\\|"));
    }
    Ok(format!("{head}{}{tail}", table.trim_end()))
}

/// Every key of the file, in its order.
pub fn parse(values: &str) -> Vec<Value> {
    let (mut found, mut path, mut comment) = (Vec::<Value>::new(), Vec::<&str>::new(), Vec::<&str>::new());
    for line in values.lines() {
        let text = line.trim_start();
        if let Some(words) = text.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        if let Some((key, default)) = text.split_once(':').filter(|(key, _)| is_key(key)) {
            let depth = (line.len() - text.len()) / 2;
            path.truncate(depth);
            path.push(key);
            if let Some(parent) = found.last_mut().filter(|last| path[..depth].join(".") == last.path) {
                parent.group = true;
            }
            let (path, default, comment) = (path.join("."), default.trim().to_owned(), comment.join(" "));
            found.push(Value { path, default, comment, group: false });
        }
        comment.clear();
    }
    found
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests;
