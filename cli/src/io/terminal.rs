// SPDX-License-Identifier: Apache-2.0
//! The terminal.

use std::io::{BufRead, ErrorKind, IsTerminal, Write};

use terminal_size::{Width, terminal_size_of};

use crate::{args::Global, render::Style};

/// The standard output, and what it can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    pub(crate) style: Style,
    is_one: bool,
}

impl Terminal {
    /// Looks at the standard output.
    pub(crate) fn new(global: &Global) -> Self {
        let is_one = std::io::stdout().is_terminal();
        let no_color = global.no_color.as_ref().is_some_and(|value| !value.is_empty());
        let dumb = global.term.as_deref() == Some("dumb");
        let size = terminal_size_of(std::io::stdout()).filter(|_| is_one);
        let width = size.map(|(Width(columns), _)| usize::from(columns));
        Self { style: Style { signs: is_one, colours: is_one && !no_color && !dumb, width }, is_one }
    }

    /// Writes text. Somebody who has seen enough (`| head`) is no error.
    #[allow(clippy::unused_self, reason = "who has the terminal may write to it")]
    pub(crate) fn write(self, text: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
            result => result,
        }
    }

    /// Asks a person; `yes` was said on the command line. Where nobody can be asked, that is needed.
    pub(crate) fn confirmed(self, question: &str, yes: bool) -> anyhow::Result<bool> {
        if yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            anyhow::bail!("there is nobody to ask: use --yes");
        }
        self.write(&format!("{question} [y/N] "))?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Writes text in the place of what is there; where nothing can be replaced, below it.
    pub(crate) fn replace(self, text: &str) -> std::io::Result<()> {
        if self.is_one {
            self.write(&format!("\u{1b}[H\u{1b}[2J{text}"))
        } else {
            self.write(&format!("{text}\n"))
        }
    }
}

/// Writes a line for people beside the output.
pub(crate) fn tell(text: &str) {
    // There is nobody to tell that this failed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
