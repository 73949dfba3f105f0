//! A full screen on a terminal, and the terminal as it was when it ends.

use std::io::{self, IsTerminal, Stdin, StdinLock, Stdout, Write};

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};

/// The other screen, no cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// The cursor, and the screen there was.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A terminal that shows pictures. Dropping it gives the terminal back as it was.
#[derive(Debug)]
pub struct Terminal {
    out: Stdout,
    input: Stdin,
    /// What the keyboard was set to, where the keyboard is one.
    keys: Option<Termios>,
}

impl Terminal {
    /// # Errors
    /// The terminal does not take it.
    pub fn new() -> io::Result<Self> {
        let input = io::stdin();
        let keys = if input.is_terminal() { Some(tcgetattr(&input)?) } else { None };
        let terminal = Self { out: io::stdout(), input, keys };
        terminal.enter()?;
        Ok(terminal)
    }

    /// Takes the screen, at the start and after a stop.
    pub fn enter(&self) -> io::Result<()> {
        if let Some(keys) = &self.keys {
            // One key at a time, not shown; those that send signals go on sending them.
            let mut raw = keys.clone();
            raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
            raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
            raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
            tcsetattr(&self.input, SetArg::TCSANOW, &raw)?;
        }
        self.write(ENTER)
    }

    /// Gives it back.
    pub fn leave(&self) -> io::Result<()> {
        if let Some(keys) = &self.keys {
            tcsetattr(&self.input, SetArg::TCSANOW, keys)?;
        }
        self.write(LEAVE)
    }

    /// Whether there are keys to wait for.
    pub fn keyboard(&self) -> Option<StdinLock<'static>> {
        self.keys.is_some().then(|| self.input.lock())
    }

    /// Shows `text` from the top left on, as much of it as there is room for.
    pub fn show(&self, text: &str) -> io::Result<()> {
        let (rows, columns) = nines_sys::term::size(&self.out).unwrap_or((24, 80));
        self.write(&fitted(text, usize::from(rows), usize::from(columns)))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut out = self.out.lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing useful is left to do on a terminal that is gone.
        let _ = self.leave();
    }
}

/// What is written to a screen of that size: each line cut, the rest of it cleared, and a word
/// about lines that are left out.
fn fitted(text: &str, rows: usize, columns: usize) -> String {
    let (rows, columns) = if rows == 0 || columns == 0 { (24, 80) } else { (rows, columns) };
    let lines: Vec<&str> = text.lines().collect();
    let shown = if lines.len() > rows { rows - 1 } else { lines.len() };
    let mut out = String::from("\x1b[H");
    let more = format!("... {} more lines", lines.len() - shown);
    let last = (shown < lines.len()).then_some(more.as_str());
    for (at, line) in lines[..shown].iter().copied().chain(last).enumerate() {
        if at > 0 {
            out.push_str("\r\n");
        }
        // Clear first: a line that fills its row leaves the cursor on its last cell.
        out.push_str("\x1b[2K");
        out.push_str(&cut(line, columns));
    }
    out.push_str("\x1b[0J");
    out
}

/// As much of a line as fits; a tab goes to the next eighth column.
fn cut(line: &str, columns: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for c in line.chars() {
        let (width, c) = match c {
            '\t' => (8 - used % 8, ' '),
            c if is_wide(c) => (2, c),
            c => (1, c),
        };
        if used + width > columns {
            break;
        }
        used += width;
        let times = if c == ' ' { width } else { 1 };
        out.extend(std::iter::repeat_n(c, times));
    }
    out
}

/// Letters that take two columns, by the blocks they are in.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}')
        || matches!(c, '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}')
        || matches!(c, '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_never_takes_more_than_the_screen() {
        assert_eq!(fitted("ab\ncdef\n", 4, 3), "\x1b[H\x1b[2Kab\r\n\x1b[2Kcde\x1b[0J");
        assert_eq!(fitted("1\n2\n3\n4\n", 3, 80), "\x1b[H\x1b[2K1\r\n\x1b[2K2\r\n\x1b[2K... 2 more lines\x1b[0J");
        assert_eq!(fitted("1\n2\n", 1, 5), "\x1b[H\x1b[2K... 2\x1b[0J");
        assert!(fitted("x", 0, 0).contains('x'));
    }

    #[test]
    fn tabs_and_wide_letters_are_counted() {
        assert_eq!(cut("a\tb", 20), "a       b");
        assert_eq!(cut("a\tb", 5), "a");
        assert_eq!(cut("節点x", 4), "節点");
        assert_eq!(cut("節点x", 3), "節");
    }
}
