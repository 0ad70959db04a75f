// SPDX-License-Identifier: Apache-2.0
//! A report of all checks: for people, short, as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Style;
use crate::{
    checks::{CheckResult, Outcome, Report},
    finding::{Finding, Severity},
    trace::State,
};

/// Of many findings of one check so many are shown in full.
const SHOWN: usize = 10;

/// Grouped, one line per check, findings below.
pub(crate) fn full(report: &Report, style: Style) -> String {
    let mut text = String::new();
    let mut group = None;
    for result in &report.results {
        if group != Some(result.check.group) {
            let heading = result.check.group.heading();
            let blank = if group.is_some() { "\n" } else { "" };
            let _ = writeln!(text, "{blank}{}\n{}", style.bold(heading), "-".repeat(heading.chars().count()));
            group = Some(result.check.group);
        }
        line(&mut text, result, style);
    }
    let _ = writeln!(text, "\n{}", summary(report, style));
    text
}

/// One line per finding: severity, code, object, and what is wrong; nothing else.
pub(crate) fn short(report: &Report) -> String {
    let line = |finding: &Finding| {
        let severity = match finding.severity {
            Severity::Error => "Error",
            Severity::Warning => "Warning",
        };
        format!("{severity} [{}] ({}) {}\n", finding.code, place(finding), finding.says)
    };
    report.findings().map(line).collect()
}

/// Everything, as JSON.
pub(crate) fn json(report: &Report) -> Value {
    let check = |result: &CheckResult| {
        let mut value = json!(result.outcome);
        value["code"] = json!(result.check.code);
        value["group"] = json!(result.check.group);
        value["title"] = json!(result.check.title);
        value["page"] = json!(result.check.page());
        if !result.note.is_empty() {
            value["note"] = json!(result.note);
        }
        value
    };
    let (errors, warnings, skipped) = counts(report);
    json!({
        "checks": report.results.iter().map(check).collect::<Vec<_>>(),
        "errors": errors,
        "warnings": warnings,
        "skipped": skipped,
    })
}

fn line(text: &mut String, result: &CheckResult, style: Style) {
    let title = result.check.title;
    match &result.outcome {
        Outcome::Passed => {
            let note = if result.note.is_empty() { String::new() } else { format!(" ({})", result.note) };
            let _ = writeln!(text, "{} {title}{note}", style.mark(State::Good));
        }
        Outcome::Skipped { why } => {
            let _ = writeln!(text, "{} {title}: skipped, {why}", style.mark(State::Unknown));
        }
        Outcome::Failed { findings } => {
            let worst = findings.iter().map(|finding| finding.severity).min();
            let state = if worst == Some(Severity::Error) { State::Broken } else { State::Warning };
            let _ = writeln!(text, "{} {title}", style.mark(state));
            for finding in findings.iter().take(SHOWN) {
                let _ = writeln!(text, "    {} {finding}", finding.code);
                let _ = writeln!(text, "      {}", finding.mend);
            }
            if findings.len() > SHOWN {
                let _ = writeln!(
                    text,
                    "    … and {} more: -o short or -o json shows all",
                    findings.len() - SHOWN
                );
            }
            let _ = writeln!(text, "    see {}", result.check.page());
        }
    }
}

fn place(finding: &Finding) -> String {
    if finding.field.is_empty() {
        finding.object.clone()
    } else {
        format!("{}, {}", finding.object, finding.field)
    }
}

fn counts(report: &Report) -> (usize, usize, usize) {
    let of = |severity| report.findings().filter(|finding| finding.severity == severity).count();
    let skipped = report.results.iter().filter(|r| matches!(r.outcome, Outcome::Skipped { .. })).count();
    (of(Severity::Error), of(Severity::Warning), skipped)
}

fn summary(report: &Report, style: Style) -> String {
    let (errors, warnings, skipped) = counts(report);
    let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} checks skipped") };
    let state = match (errors, warnings) {
        (0, 0) => State::Good,
        (0, _) => State::Warning,
        _ => State::Broken,
    };
    let number = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!(
        "Result: {} {}, {}{skipped}",
        style.mark(state),
        number(errors, "error"),
        number(warnings, "warning")
    )
}
