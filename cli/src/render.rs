// SPDX-License-Identifier: Apache-2.0
//! Reports, chains and graphs as text. Pure: whether there are colours is told.

use jiff::Timestamp;

use crate::trace::State;

pub(crate) mod dot;
pub(crate) mod html;
mod layout;
pub(crate) mod mermaid;
pub(crate) mod report;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod tree;

/// How a terminal may be written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// A person looks at it: signs instead of words.
    pub(crate) signs: bool,
    /// It shows colours.
    pub(crate) colours: bool,
    /// Characters in a line of it; nothing is folded where there is none.
    pub(crate) width: Option<usize>,
}

impl Style {
    /// The mark before a line.
    pub(crate) fn mark(self, state: State) -> String {
        let text = match (self.signs, state) {
            (true, State::Good) => "√",
            (true, State::Unknown) => "?",
            (true, State::Waiting) => "…",
            (true, State::Warning) => "‼",
            (true, State::Broken) => "×",
            (false, State::Good) => "ok",
            (false, State::Unknown) => "unknown",
            (false, State::Waiting) => "waiting",
            (false, State::Warning) => "warning",
            (false, State::Broken) => "BROKEN",
        };
        self.coloured(state, text)
    }

    /// Text in the colour of a state.
    pub(crate) fn coloured(self, state: State, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match state {
            State::Good => "32",
            State::Unknown | State::Waiting => "90",
            State::Warning => "33",
            State::Broken => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Text that stands out.
    pub(crate) fn bold(self, text: &str) -> String {
        if self.colours { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// How long ago, as kubectl writes it: `45s`, `3m`, `5h`, `12d`. Clocks differ: the future is now.
pub(crate) fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = (now.as_second() - then.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Text in lines of so many characters. Words are broken only when they are longer than a line.
pub(crate) fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        for piece in word.chars().collect::<Vec<_>>().chunks(width.max(1)) {
            let piece: String = piece.iter().collect();
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(&piece),
                Some(line) if line.chars().count() + 1 + piece.chars().count() <= width => {
                    line.push(' ');
                    line.push_str(&piece);
                }
                _ => lines.push(piece),
            }
        }
    }
    lines
}

/// Characters that XML gives a meaning to, escaped.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters are no XML at all.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
