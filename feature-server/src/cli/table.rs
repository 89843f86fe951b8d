//! Plain tables: columns as wide as their widest cell.

use std::fmt::Write;

/// The rows under their header, as lines of text.
pub(super) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let mut line = |cells: [&str; N]| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{cell:width$}  ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(header);
    for row in rows {
        line(std::array::from_fn(|i| row[i].as_str()));
    }
    out
}

/// A length of time as people say it: its two largest units.
pub(super) fn span(micros: i64) -> String {
    let secs = micros / 1_000_000;
    if secs < 0 {
        return format!("-{}", span(micros.saturating_neg()));
    }
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let Some(first) = units.iter().position(|(size, _)| secs >= *size) else {
        return format!("{} ms", micros / 1_000);
    };
    let (size, unit) = units[first];
    match units.get(first + 1).map(|(next, name)| (secs % size / next, name)) {
        Some((rest, name)) if rest > 0 => format!("{}{unit} {rest}{name}", secs / size),
        _ => format!("{}{unit}", secs / size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_spans_are_short() {
        let rows = [["a".to_owned(), "1".to_owned()], ["longer".to_owned(), String::new()]];
        assert_eq!(table(["view", "n"], &rows), "view    n\na       1\nlonger\n");
        for (micros, text) in [
            (0, "0 ms"),
            (1_500_000, "1s"),
            (90_000_000, "1m 30s"),
            (90_000_000_000, "1d 1h"),
            (-60_000_000, "-1m"),
        ] {
            assert_eq!(span(micros), text);
        }
    }
}
