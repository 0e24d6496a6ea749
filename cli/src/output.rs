//! What goes to standard output: text, tables, JSON. A reader that has gone away is not an error.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

/// Writes a line to standard output.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// Writes a JSON document, indented, to standard output.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    line(&format!("{value:#}"))
}

/// Whether a person watches standard error: the only case in which progress is drawn.
pub(crate) fn watched() -> bool {
    io::stderr().is_terminal()
}

/// A table of text: numbers to the right, words to the left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading.
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The text: columns two spaces apart, a rule below the heading; a column in which no row has a value is left out.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
        let filled = |column: &usize| self.rows[1..].iter().any(|row| !cell(row, *column).is_empty());
        let kept: Vec<usize> = (0..columns).filter(|column| self.rows.len() == 1 || filled(column)).collect();
        let width = |column: &usize| self.rows.iter().map(|row| cell(row, *column).chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = kept.iter().map(width).collect();
        let mut lines = Vec::new();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, width) in kept.iter().zip(&widths) {
                let text = cell(row, *column);
                let number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
                let numeric = self.rows[1..].iter().all(|row| {
                    cell(row, *column).is_empty() || cell(row, *column).starts_with(|c: char| c.is_ascii_digit())
                });
                let pad = " ".repeat(width - text.chars().count());
                line += &if number || (index == 0 && numeric) {
                    format!("{pad}{text}  ")
                } else {
                    format!("{text}{pad}  ")
                };
            }
            lines.push(line.trim_end().to_owned());
            if index == 0 {
                lines.push("-".repeat(widths.iter().map(|width| width + 2).sum::<usize>().saturating_sub(2)));
            }
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn numbers_stand_right_and_empty_columns_are_left_out() {
        let mut table = Table::new(&["op", "nothing", "bytes"]);
        table.row(vec!["a/b".into(), String::new(), "5".into()]);
        table.row(vec!["a/long".into(), String::new(), "1234567".into()]);
        let text = "op        bytes\n---------------\na/b           5\na/long  1234567";
        assert_eq!(table.render(), text);
    }
}
