//! pvs, vgs and lvs: rows, columns, and the two forms they are printed in.

mod attr;
mod fields;
mod layout;
mod row;

pub use fields::{FIELDS, Field, Scope};
pub use layout::{Form, print};
pub use row::{PvRow, Row, View};

use crate::opts::bad_value;
use crate::stop::{Result, Stop};

/// A cell: what is shown and what it is sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub text: String,
    /// For numbers and sizes.
    pub number: Option<i128>,
}

impl Cell {
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), number: None }
    }

    #[must_use]
    pub fn number(number: impl Into<i128>) -> Self {
        let number = number.into();
        Self { text: number.to_string(), number: Some(number) }
    }
}

/// The columns of `-o`: names in place of the default ones, or added with `+` and left out with
/// `-`; several `-o` follow each other.
///
/// # Errors
/// A name nobody knows; the message lists the known ones.
pub fn columns(kind: &str, defaults: &[&str], chosen: &[&str], allowed: &[Scope]) -> Result<Vec<&'static Field>> {
    let mut columns = names(kind, defaults, allowed)?;
    for chosen in chosen {
        let (sign, list) = match chosen.chars().next() {
            Some(sign @ ('+' | '-' | '#')) => (sign, &chosen[1..]),
            _ => ('=', *chosen),
        };
        let list: Vec<&str> = list.split(',').filter(|name| !name.is_empty()).collect();
        let list = names(kind, &list, allowed)?;
        match sign {
            '+' => columns.extend(list),
            '-' => columns.retain(|column| !list.iter().any(|other| other.name == column.name)),
            // Fields to be made compact; nothing is ever left out here.
            '#' => {}
            _ => columns = list,
        }
    }
    Ok(columns)
}

fn names(kind: &str, names: &[&str], allowed: &[Scope]) -> Result<Vec<&'static Field>> {
    let mut found = Vec::new();
    for name in names {
        match find(kind, name, allowed) {
            Some(field) => found.push(field),
            None => return Err(unknown(name, allowed)),
        }
    }
    Ok(found)
}

/// A field by its name; the prefix of the report's own kind may be left out.
fn find(kind: &str, name: &str, allowed: &[Scope]) -> Option<&'static Field> {
    let prefixed =
        [name.to_owned(), format!("{kind}_{name}"), format!("vg_{name}"), format!("seg_{name}"), format!("pv_{name}")];
    prefixed.iter().find_map(|name| FIELDS.iter().find(|field| field.name == name && allowed.contains(&field.scope)))
}

fn unknown(name: &str, allowed: &[Scope]) -> Stop {
    let mut lines = format!("Unrecognised field: {name}\nFields of this report:\n");
    for field in FIELDS.iter().filter(|field| allowed.contains(&field.scope)) {
        lines.push_str(&format!("  {}\n", field.name));
    }
    Stop { code: crate::stop::USAGE, message: lines.trim_end().to_owned() }
}

/// `-O`: fields to sort by, `-` before one turns it around.
///
/// # Errors
/// A name nobody knows.
pub fn sort_keys(kind: &str, text: &str, allowed: &[Scope]) -> Result<Vec<(&'static Field, bool)>> {
    text.split(',')
        .filter(|key| !key.is_empty())
        .map(|key| {
            let name = key.trim_start_matches(['+', '-']);
            find(kind, name, allowed).map(|field| (field, key.starts_with('-'))).ok_or_else(|| bad_value("sort", key))
        })
        .collect()
}

/// Sorts rows by keys; rows equal in all of them keep their order.
pub fn sort(rows: &mut [Row<'_>], keys: &[(&'static Field, bool)]) {
    rows.sort_by(|a, b| {
        for (field, reversed) in keys {
            let (a, b) = ((field.cell)(a), (field.cell)(b));
            // Brackets around hidden volumes do not count.
            let plain = |cell: &Cell| cell.text.trim_start_matches('[').trim_end_matches(']').to_owned();
            let order = match (a.number, b.number) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ if field.name == "lv_name" => plain(&a).cmp(&plain(&b)),
                _ => a.text.cmp(&b.text),
            };
            let order = if *reversed { order.reverse() } else { order };
            if order.is_ne() {
                return order;
            }
        }
        std::cmp::Ordering::Equal
    });
}
