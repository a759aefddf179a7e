//! Text made safe for LaTeX, Markdown and HTML.

use std::io::{self, Write};

use crate::terminal::{is_hidden, printable};

/// Writes `text` so that LaTeX prints it and executes none of it.
pub fn latex(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut characters = text.chars().peekable();
    let mut previous = ' ';
    while let Some(c) = characters.next() {
        let before = std::mem::replace(&mut previous, c);
        let number = before.is_ascii_digit() || superscript(before).is_some();
        if c == ' ' && number && characters.peek() == Some(&'%') {
            // No line begins with a percent sign.
            out.write_all(b"\\,")?;
        } else if let Some(first) = superscript(c) {
            let mut run = String::from(first);
            while let Some(next) = characters.peek().copied().and_then(superscript) {
                run.push(next);
                characters.next();
            }
            write!(out, "\\ensuremath{{^{{{run}}}}}")?;
        } else if let Some(replacement) = replacement(c) {
            out.write_all(replacement.as_bytes())?;
        } else if c.is_control() {
            out.write_all(b" ")?;
        } else if is_in_t1(c) {
            write!(out, "{c}")?;
        } else {
            // Named rather than printed: it would stop the build.
            write!(out, "\\texttt{{[U+{:04X}]}}", u32::from(c))?;
        }
    }
    Ok(())
}

/// Whether LaTeX prints the character with T1 fonts and `textcomp`: ASCII, Latin-1 and Latin Extended-A, without the nine letters
/// of the last that T1 lacks.
fn is_in_t1(c: char) -> bool {
    c.is_ascii() || ('\u{a1}'..='\u{17f}').contains(&c) && !is_hidden(c) && !"ĦħĸĿŀŉŦŧſ".contains(c)
}

/// Whether [`latex`] names characters of `text` by their code points.
pub fn is_named_in_latex(text: &str) -> bool {
    text.chars().any(|c| !is_in_t1(c) && !c.is_control() && replacement(c).is_none() && superscript(c).is_none())
}

/// [`latex`] into a string.
pub fn latex_string(text: &str) -> String {
    let mut out = Vec::new();
    // A vector takes every byte.
    let _ = latex(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes `text` so that Markdown, and the HTML inside it, shows it and reads none of it as markup.
pub fn markdown(text: &str, out: &mut dyn Write) -> io::Result<()> {
    for c in text.chars() {
        match c {
            '&' => out.write_all(b"&amp;")?,
            '<' => out.write_all(b"&lt;")?,
            '>' => out.write_all(b"&gt;")?,
            // Not before a letter, where a list or a heading cannot begin, and nothing but emphasis, links or code.
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '$' | '!' => write!(out, "\\{c}")?,
            c if c.is_control() => out.write_all(b" ")?,
            c if is_hidden(c) => write!(out, "\\[U+{:04X}\\]", u32::from(c))?,
            c => write!(out, "{c}")?,
        }
    }
    Ok(())
}

/// Writes `text` so that HTML shows it and reads none of it as markup; hidden characters are spelled out.
pub fn html(text: &str, out: &mut dyn Write) -> io::Result<()> {
    tera::escape_html(&printable(text), out)
}

/// Writes `text` as it is but for hidden characters, which are spelled out.
pub fn plain(text: &str, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(printable(text).as_bytes())
}

/// `text` as a Markdown code span: between more backticks than it holds in a row.
pub fn markdown_code(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = printable(&text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if text.starts_with('`') || text.ends_with('`') || text.is_empty() { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

fn superscript(c: char) -> Option<char> {
    "⁻⁰¹²³⁴⁵⁶⁷⁸⁹".chars().zip("-0123456789".chars()).find(|(raised, _)| *raised == c).map(|(_, plain)| plain)
}

fn replacement(c: char) -> Option<&'static str> {
    Some(match c {
        '₂' => "\\ensuremath{_{2}}",
        'Σ' => "\\ensuremath{\\Sigma}",
        '\\' => "\\textbackslash{}",
        '{' => "\\{",
        '}' => "\\}",
        '$' => "\\$",
        '&' => "\\&",
        '#' => "\\#",
        '%' => "\\%",
        '_' => "\\_",
        '^' => "\\textasciicircum{}",
        '~' => "\\textasciitilde{}",
        '<' => "\\textless{}",
        '>' => "\\textgreater{}",
        '|' => "\\textbar{}",
        '"' => "\\textquotedbl{}",
        '\'' => "\\textquotesingle{}",
        '`' => "\\textasciigrave{}",
        // Ligatures would turn two of them into a dash.
        '-' => "{-}",
        '[' => "{[}",
        ']' => "{]}",
        '*' => "{*}",
        '\u{a0}' => "~",
        '\u{2009}' => "\\,",
        '–' => "\\textendash{}",
        '—' => "\\textemdash{}",
        '−' => "\\ensuremath{-}",
        '×' => "\\ensuremath{\\times}",
        '±' => "\\ensuremath{\\pm}",
        '≥' => "\\ensuremath{\\geq}",
        '≤' => "\\ensuremath{\\leq}",
        '∞' => "\\ensuremath{\\infty}",
        '√' => "\\ensuremath{\\surd}",
        '…' => "\\ldots{}",
        '†' => "\\textdagger{}",
        '“' => "\\textquotedblleft{}",
        '”' => "\\textquotedblright{}",
        '‘' => "\\textquoteleft{}",
        '’' => "\\textquoteright{}",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_print_and_do_nothing() {
        assert_eq!(latex_string(r"a_b&c<script>"), r"a\_b\&c\textless{}script\textgreater{}");
        assert_eq!(latex_string(r"\input{x}% $y$"), r"\textbackslash{}input\{x\}\% \$y\$");
        assert_eq!(latex_string("two\nlines\u{0}"), "two lines ");
    }

    #[test]
    fn markdown_shows_what_it_is_given() {
        let shown = |text: &str| {
            let mut out = Vec::new();
            markdown(text, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown("<script>alert(1)</script>"), "&lt;script&gt;alert(1)&lt;/script&gt;");
        assert_eq!(shown("[x](javascript:y) a_b *c* `d`"), r"\[x\](javascript:y) a\_b \*c\* \`d\`");
        assert_eq!(shown("![x](y)\n# t | &lt;"), r"\!\[x\](y) \# t \| &amp;lt;");
        assert_eq!(shown("a\u{202e}b"), r"a\[U+202E\]b");
        let mut page = Vec::new();
        html("<b>\u{202e}\u{1b}[1m", &mut page).unwrap();
        assert_eq!(String::from_utf8(page).unwrap(), r"&lt;b&gt;\u{202e}\u{1b}[1m");
        assert_eq!(markdown_code("a`b``c"), "```a`b``c```");
        assert_eq!(markdown_code("`<b>`\n"), "`` `<b>`  ``");
        assert_eq!(markdown_code(""), "`  `");
    }

    #[test]
    fn symbols_become_commands_and_the_rest_is_named() {
        assert_eq!(latex_string("2.3×10⁻⁶"), r"2.3\ensuremath{\times}10\ensuremath{^{-6}}");
        assert_eq!(latex_string("Σ log₂ x"), r"\ensuremath{\Sigma} log\ensuremath{_{2}} x");
        assert_eq!(latex_string("naïve 模"), r"naïve \texttt{[U+6A21]}");
        assert_eq!(latex_string("Ħal Łódź ſ"), r"\texttt{[U+0126]}al Łódź \texttt{[U+017F]}");
        assert_eq!(latex_string("a\u{202e}b\u{9b}c"), r"a\texttt{[U+202E]}b c");
        assert!(is_named_in_latex("Ħ") && !is_named_in_latex("Łódź × 10⁻⁶ ≥ “a”\n"));
        assert_eq!(latex_string("a--b"), "a{-}{-}b");
        assert_eq!(latex_string("95 % of 3, a % b"), r"95\,\% of 3, a \% b");
        assert_eq!(latex_string("10⁻⁴ %"), r"10\ensuremath{^{-4}}\,\%");
    }
}
