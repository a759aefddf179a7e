//! Text that came from a file, as a terminal or a page may show it: what would move the cursor, change colours, hide or turn
//! around what stands beside it is spelled out.

use std::borrow::Cow;

/// Whether a reader cannot see the character, or it changes how others are shown: control characters, line separators, and the
/// characters that set the direction of writing.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        )
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `text` of one or several lines, with hidden characters as escapes like `\u{1b}`; line breaks and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'), |c| c.escape_default().to_string())
}

/// `text` as part of a line: as [`printable`], without line breaks and tabs.
pub fn printable_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden, |c| c.escape_default().to_string())
}

/// JSON with hidden characters as escapes of JSON, which it holds in its strings alone.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    // None of them needs a second UTF-16 unit.
    escaped(json, |c| is_hidden(c) && !c.is_ascii_whitespace(), |c| format!("\\u{:04x}", u32::from(c)))
}

fn escaped(text: &str, hidden: impl Fn(char) -> bool, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return text.into();
    }
    text.chars().map(|c| if hidden(c) { escape(c) } else { c.to_string() }).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_file_reaches_the_terminal_as_a_command() {
        assert_eq!(printable("ok\u{1b}]0;owned\u{7}\n\tnext"), "ok\\u{1b}]0;owned\\u{7}\n\tnext");
        assert_eq!(printable_line("a\nb\u{9b}31m\r"), "a\\nb\\u{9b}31m\\r");
        assert_eq!(printable("user\u{202e}txt.exe"), "user\\u{202e}txt.exe");
        assert_eq!(printable("naïve 模型 ✓"), "naïve 模型 ✓");
    }

    #[test]
    fn json_stays_json() {
        let text = "a\u{1b}\u{9b}\u{202e}\u{7f}\n";
        let json = serde_json::to_string_pretty(&[text]).unwrap();
        let shown = printable_json(&json);
        assert!(!shown.chars().any(|c| is_hidden(c) && c != '\n'), "{shown:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), [text]);
    }
}
