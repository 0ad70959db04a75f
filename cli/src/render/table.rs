// SPDX-License-Identifier: Apache-2.0
//! Tables as kubectl writes them: columns as wide as their widest cell, three spaces between.

/// A table that may grow while it is read. Lines that come later stand below the first ones, unless they are wider.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Until they are written.
    headings: Option<Vec<String>>,
    widths: Vec<usize>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: Vec<String>) -> Self {
        Self { widths: headings.iter().map(|cell| cell.chars().count()).collect(), headings: Some(headings) }
    }

    /// Lines of these rows, the first time below the headings.
    pub(crate) fn lines(&mut self, rows: &[Vec<String>]) -> String {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let headings = self.headings.take();
        headings.iter().chain(rows).map(|row| self.line(row)).collect()
    }

    fn line(&self, cells: &[String]) -> String {
        let padded = cells.iter().zip(&self.widths).map(|(cell, width)| {
            let padding = width.saturating_sub(cell.chars().count());
            format!("{cell}{}", " ".repeat(padding))
        });
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    }
}
