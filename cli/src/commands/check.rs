// SPDX-License-Identifier: Apache-2.0
//! `check`.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::reading::Source;
use crate::{
    args::{CheckArgs, CheckOutput, Global},
    checks::Report,
    io::{
        lists::Depth,
        terminal::{Terminal, tell},
    },
    picture::Picture,
    render,
    run::Ending,
    trace,
};

/// Between two attempts of `--wait`.
const PAUSE: Duration = Duration::from_secs(2);

/// Checks, with `--wait` until nothing is wrong.
pub(crate) async fn run(global: &Global, args: &CheckArgs, terminal: Terminal) -> anyhow::Result<Ending> {
    let source = Source::open(global, &args.input).await?;
    #[allow(clippy::disallowed_methods, reason = "the shell reads the clock")]
    let deadline = args.wait.map(|wait| Instant::now() + wait);
    let mut told = String::new();
    loop {
        let report = once(&source).await;
        #[allow(clippy::disallowed_methods, reason = "the shell reads the clock")]
        let again = deadline.is_some_and(|deadline| Instant::now() + PAUSE < deadline);
        match report {
            Ok(report) if !report.has_errors() || !again => return finish(&report, args, terminal),
            Err(error) if !again => return Err(error),
            Ok(report) => {
                waiting(&mut told, report.findings().next().map(ToString::to_string).unwrap_or_default());
            }
            Err(error) => waiting(&mut told, format!("{error:#}")),
        }
        sleep(PAUSE).await;
    }
}

async fn once(source: &Source) -> anyhow::Result<Report> {
    let (snapshot, rules) = source.snapshot(Depth::Everything).await?;
    let picture = Picture::new(&snapshot, rules.as_ref());
    Ok(Report::new(&picture, &trace::all(&picture)))
}

fn waiting(told: &mut String, what: String) {
    if *told != what {
        tell(&format!("waiting: {what}"));
        *told = what;
    }
}

fn finish(report: &Report, args: &CheckArgs, terminal: Terminal) -> anyhow::Result<Ending> {
    let text = match args.output {
        CheckOutput::Full => render::report::full(report, terminal.style),
        CheckOutput::Short => render::report::short(report),
        CheckOutput::Json => format!("{:#}\n", render::report::json(report)),
    };
    terminal.write(&text)?;
    Ok(if report.has_errors() { Ending::SomethingIsWrong } else { Ending::Fine })
}

#[cfg(test)]
mod tests;
