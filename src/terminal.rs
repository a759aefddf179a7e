//! Text that came from a file, as a terminal or a page may show it: what would move the cursor, change colours, hide or turn
//! around what stands beside it is spelled out.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::Path;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Characters with the property `Default_Ignorable_Code_Point` of Unicode 17, from its file `DerivedCoreProperties.txt`: a page
/// shows nothing in their place. The ranges hold what is reserved for later ones too.
const IGNORABLE: [RangeInclusive<char>; 17] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{202a}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fff8}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Whether a reader cannot see the character, or it changes how others are shown: control and format characters, line separators,
/// those of private use, those that a page leaves out, and what is no character.
pub fn is_hidden(c: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator, PrivateUse};
    let category =
        || matches!(c.general_category(), Control | Format | LineSeparator | ParagraphSeparator | PrivateUse);
    let ignorable = || IGNORABLE.iter().any(|range| range.contains(&c));
    if c.is_ascii() { c.is_ascii_control() } else { category() || ignorable() || is_noncharacter(c) }
}

/// Whether Unicode will never give the code point to a character: no font shows it.
fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe
}

/// `text` of one or several lines, with hidden characters as escapes like `\u{1b}`; line breaks and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'), |c| c.escape_default().to_string())
}

/// `text` as part of a line: as [`printable`], without line breaks and tabs.
pub fn printable_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden, |c| c.escape_default().to_string())
}

/// A path as one word of a command line that a person copies into a shell.
pub fn shell_word(path: &Path) -> String {
    let word = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// JSON with hidden characters as escapes of JSON, which it holds in its strings alone.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let escape = |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect();
    escaped(json, |c| is_hidden(c) && !c.is_ascii_whitespace(), escape)
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
        let marks = "\u{ad}\u{34f}\u{200d}\u{fe0f}\u{fff9}\u{13430}\u{1d173}\u{e0001}\u{e0041}\u{e0100}\u{e000}\u{10fffd}\u{fdd0}\u{fffe}";
        for mark in marks.chars() {
            assert_eq!(printable(&mark.to_string()), format!("\\u{{{:x}}}", u32::from(mark)));
        }
        assert_eq!(printable("naïve 模型 ✓"), "naïve 模型 ✓");
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        let word = |path: &str| shell_word(Path::new(path));
        assert_eq!(word("runs/quick-1.2"), "runs/quick-1.2");
        assert_eq!(word("my run"), "'my run'");
        assert_eq!(word("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(word(""), "''");
    }

    #[test]
    fn json_stays_json() {
        let text = "a\u{e0041}\u{1b}\u{9b}\u{202e}\u{7f}\n";
        let json = serde_json::to_string_pretty(&[text]).unwrap();
        let shown = printable_json(&json);
        assert!(!shown.chars().any(|c| is_hidden(c) && c != '\n'), "{shown:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), [text]);
    }
}
