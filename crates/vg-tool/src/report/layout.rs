//! Rows as text: columns padded to their widest cell, or JSON laid out as LVM2 lays it out.

use std::io::{self, Write};

use super::{Field, Row};
use crate::stop::{Result, Stop};

/// How a report looks.
#[derive(Debug, Clone)]
pub enum Form {
    Basic {
        headings: bool,
        separator: Option<String>,
        aligned: bool,
    },
    /// Under this key: `lv`.
    Json(&'static str),
}

/// Prints a report. A reader that went away is no failure.
///
/// # Errors
/// stdout cannot be written.
pub fn print(rows: &[Row<'_>], columns: &[&Field], form: &Form) -> Result<()> {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| (column.cell)(row).text).collect()).collect();
    let text = match form {
        Form::Basic { headings, separator, aligned } => {
            basic(&cells, columns, *headings, separator.as_deref(), *aligned || separator.is_none())
        }
        Form::Json(kind) => json(&cells, columns, kind),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Stop::failed(format_args!("stdout: {error}"))),
        _ => Ok(()),
    }
}

fn basic(cells: &[Vec<String>], columns: &[&Field], headings: bool, separator: Option<&str>, aligned: bool) -> String {
    if cells.is_empty() {
        return String::new();
    }
    let between = separator.unwrap_or(" ");
    let mut widths: Vec<usize> = columns
        .iter()
        .map(|column| if headings { column.width.max(column.heading.len()) } else { column.width.min(column.floor) })
        .collect();
    for row in cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let mut line = |row: &mut dyn Iterator<Item = (&str, bool)>| {
        out.push_str("  ");
        for (index, ((cell, right), width)) in row.zip(&widths).enumerate() {
            if index > 0 {
                out.push_str(between);
            }
            match (aligned, right) {
                (false, _) => out.push_str(cell),
                (true, true) => out.push_str(&format!("{cell:>width$}")),
                (true, false) => out.push_str(&format!("{cell:<width$}")),
            }
        }
        out.push('\n');
    };
    if headings {
        line(&mut columns.iter().map(|column| (column.heading, false)));
    }
    for row in cells {
        line(&mut row.iter().zip(columns).map(|(cell, column)| (cell.as_str(), column.right)));
    }
    out
}

fn json(cells: &[Vec<String>], columns: &[&Field], kind: &str) -> String {
    let mut out = format!("  {{\n      \"report\": [\n          {{\n              \"{kind}\": [\n");
    for (index, row) in cells.iter().enumerate() {
        out.push_str("                  {");
        for (index, (cell, column)) in row.iter().zip(columns).enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            // Every value is a string, as LVM2 prints them; serde_json escapes it.
            let value = serde_json::Value::from(cell.as_str());
            out.push_str(&format!("\"{}\":{value}", column.name));
        }
        out.push_str(if index + 1 < cells.len() { "},\n" } else { "}\n" });
    }
    out.push_str("              ]\n          }\n      ]\n  }\n");
    out
}
