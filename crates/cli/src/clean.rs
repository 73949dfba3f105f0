//! Text of others, safe to show: names, notes and values may come from a file or another host.

use std::borrow::Cow;

/// `text` with everything escaped that a terminal acts on or that could hide what follows:
/// control characters, line and paragraph separators, and the marks that turn the direction of
/// writing or take no room.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_harmful(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out.into()
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn nothing_a_terminal_acts_on_comes_through() {
        assert_eq!(clean("\x1b]0;owned\x07\u{9b}2J"), "\\u{1b}]0;owned\\u{7}\\u{9b}2J");
        assert_eq!(clean("a\tb\nc\u{202e}d\u{7f}"), "a\\tb\\nc\\u{202e}d\\u{7f}");
        assert_eq!(clean("xen1.san größer 節点"), "xen1.san größer 節点");
    }
}
