// SPDX-License-Identifier: Apache-2.0
//! What the story looks like in a terminal.

use std::io::Write;
use std::path::Path;

use tokio::time::Instant;

use crate::settings;

/// The width of a paragraph.
const WIDTH: usize = 100;

/// Prints, and remembers what held.
#[derive(Debug)]
pub(super) struct Narrator {
    colours: bool,
    start: Instant,
    chapter: usize,
    checks: Vec<(bool, String)>,
    /// Whether the last line is a blank one.
    blank: bool,
}

impl Narrator {
    pub(super) fn new() -> Self {
        Self {
            colours: settings::colours(),
            start: Instant::now(),
            chapter: 0,
            checks: Vec::new(),
            blank: false,
        }
    }

    pub(super) fn title(&self, text: &str) -> anyhow::Result<()> {
        line(&format!("\n{}\n{}", self.paint("1", text), self.paint("2", &"═".repeat(text.chars().count()))))
    }

    /// Begins a numbered part.
    pub(super) fn chapter(&mut self, title: &str) -> anyhow::Result<()> {
        self.chapter += 1;
        let time = self.paint("2", &format!("[{:>3} s]", self.start.elapsed().as_secs()));
        self.apart()?;
        line(&format!("{} {time}", self.paint("1;36", &format!("{}. {title}", self.chapter))))?;
        self.apart_next()
    }

    /// A paragraph.
    pub(super) fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.apart()?;
        line(&wrap(text))?;
        self.apart_next()
    }

    /// Something happened.
    pub(super) fn step(&mut self, text: &str) -> anyhow::Result<()> {
        self.blank = false;
        line(&format!("  {} {text}", self.paint("2", "·")))
    }

    /// A command and what it wrote.
    pub(super) fn command(&mut self, command: &str, output: &str) -> anyhow::Result<()> {
        self.apart()?;
        line(&format!("  {} {}", self.paint("33", "$"), self.paint("33", command)))?;
        for text in output.trim_end().lines() {
            line(&format!("    {}", text.trim_end()))?;
        }
        self.apart_next()
    }

    /// A claim of the story, and whether it is true.
    pub(super) fn check(&mut self, held: bool, claim: &str) -> anyhow::Result<()> {
        let mark = if held { self.paint("1;32", "✔") } else { self.paint("1;31", "✘") };
        self.checks.push((held, claim.to_owned()));
        self.blank = false;
        line(&format!("  {mark} {claim}"))
    }

    /// The story can't go on.
    pub(super) fn failed(&mut self, error: &str) -> anyhow::Result<()> {
        self.check(false, &format!("the story stopped: {error}"))
    }

    pub(super) fn all_held(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|(held, _)| *held)
    }

    pub(super) fn summary(&self) -> anyhow::Result<()> {
        line(&format!("\n{}\n", self.paint("1;36", "Summary")))?;
        for (held, claim) in &self.checks {
            let mark = if *held { self.paint("32", "✔") } else { self.paint("1;31", "✘") };
            line(&format!("  {mark} {claim}"))?;
        }
        let failed = self.checks.iter().filter(|(held, _)| !held).count();
        let verdict = match failed {
            0 if self.checks.is_empty() => self.paint("1;31", "Nothing was shown."),
            0 => self.paint("1;32", &format!("All {} held.", self.checks.len())),
            _ => self.paint("1;31", &format!("{failed} of {} did not hold.", self.checks.len())),
        };
        line(&format!(
            "\n{verdict} {}\n",
            self.paint("2", &format!("({} s)", self.start.elapsed().as_secs()))
        ))
    }

    pub(super) fn look_around(&self, script: &Path) -> anyhow::Result<()> {
        let look = script.display();
        line(&wrap("Everything keeps running until Ctrl-C. From another terminal, as root:"))?;
        for command in [
            "cp kubectl get gateways,services -n prod --show-labels",
            "cp kubectl get leases -n gateherald-system",
            "cp kubectl get ciliuml2announcementpolicies mdhlabs-layer2-policy -o yaml",
            "client arping -I eth0 -c 3 192.168.99.128",
            "worker-1 ip -brief address",
        ] {
            line(&format!("  {}", self.paint("33", &format!("{look} {command}"))))?;
        }
        line("")
    }

    /// Sets what follows apart from what was printed.
    fn apart(&mut self) -> anyhow::Result<()> {
        if self.blank { Ok(()) } else { self.apart_next() }
    }

    fn apart_next(&mut self) -> anyhow::Result<()> {
        self.blank = true;
        line("")
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

fn wrap(text: &str) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    for word in text.split_ascii_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            wrapped.push('\n');
            column = 0;
        }
        if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += width;
    }
    wrapped
}

#[cfg(test)]
mod tests;
