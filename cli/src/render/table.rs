// SPDX-License-Identifier: Apache-2.0
//! Tables as kubectl writes them: columns as wide as their widest cell, three spaces between.

/// Lines of these rows, the headings first.
pub(crate) fn table(headings: &[String], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| {
            let padding = width.saturating_sub(cell.chars().count());
            format!("{cell}{}", " ".repeat(padding))
        });
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    std::iter::once(headings).chain(rows.iter().map(Vec::as_slice)).map(line).collect()
}
