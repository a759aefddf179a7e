//! A Markdown page and the marks around its generated sections.

const OPENING: &str = "<!-- generated: ";
const OPENING_END: &str = " -->";
const CLOSING: &str = "<!-- /generated -->";

/// A page, in pieces.
#[derive(Debug)]
pub(super) struct Page {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    /// Lines that a person writes.
    Prose(String),
    /// A generated section.
    Generated(GeneratedSection),
}

/// What stands between two marks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GeneratedSection {
    /// Name in the opening mark.
    pub name: String,
    /// Line of the opening mark, from 1.
    pub line: usize,
    /// Text between the marks, without empty lines around it.
    pub body: String,
}

impl Page {
    /// Reads the marks. A mark has a line of its own.
    ///
    /// # Errors
    /// The line of a wrong mark, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Page, (usize, String)> {
        let mut pieces = Vec::new();
        let mut prose = String::new();
        let mut open: Option<GeneratedSection> = None;
        for (line, text) in (1..).zip(text.split_inclusive('\n')) {
            let trimmed = text.trim();
            match (&mut open, opening(trimmed)) {
                (Some(section), Some(_)) => {
                    let (name, begins) = (&section.name, section.line);
                    let message =
                        format!("the section `{name}` of line {begins} is still open; close it with {CLOSING}");
                    return Err((line, message));
                }
                (None, Some(name)) => {
                    pieces.push(Piece::Prose(std::mem::take(&mut prose)));
                    open = Some(GeneratedSection { name: name.to_owned(), line, body: String::new() });
                }
                (None, None) if trimmed == CLOSING => {
                    return Err((line, format!("no section is open; begin it with {OPENING}NAME{OPENING_END}")));
                }
                (None, None) => prose.push_str(text),
                (Some(section), None) if trimmed == CLOSING => {
                    section.body = section.body.trim_matches('\n').to_owned();
                    pieces.extend(open.take().map(Piece::Generated));
                }
                (Some(section), None) => section.body.push_str(text),
            }
        }
        if let Some(section) = open {
            return Err((section.line, format!("the section `{}` has no end; close it with {CLOSING}", section.name)));
        }
        pieces.push(Piece::Prose(prose));
        Ok(Page { pieces })
    }

    /// The generated sections, in order.
    pub fn sections(&self) -> impl Iterator<Item = &GeneratedSection> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Generated(section) => Some(section),
            Piece::Prose(_) => None,
        })
    }

    /// The page with every section's text replaced.
    ///
    /// # Errors
    /// Those of `fresh`.
    pub fn render<E>(&self, mut fresh: impl FnMut(&GeneratedSection) -> Result<String, E>) -> Result<String, E> {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Prose(text) => out.push_str(text),
                Piece::Generated(section) => {
                    let body = fresh(section)?;
                    let name = &section.name;
                    out.push_str(&format!("{OPENING}{name}{OPENING_END}\n\n{body}\n\n{CLOSING}\n"));
                }
            }
        }
        Ok(out)
    }
}

fn opening(line: &str) -> Option<&str> {
    line.strip_prefix(OPENING)?.strip_suffix(OPENING_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Title\n<!-- generated: a -->\n\nold\n\n<!-- /generated -->\ntext\n<!-- generated: b -->\n<!-- /generated -->\n";

    #[test]
    fn what_stands_between_marks_is_replaced_and_nothing_else() {
        let page = Page::parse(PAGE).unwrap();
        assert_eq!(page.sections().map(|section| section.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let mut seen = Vec::new();
        let text = page
            .render(|section| {
                seen.push((section.name.clone(), section.line, section.body.clone()));
                Ok::<_, ()>(format!("new {}", section.name))
            })
            .unwrap();
        assert_eq!(seen, [("a".into(), 2, "old".into()), ("b".into(), 8, String::new())]);
        assert_eq!(text, PAGE.replace("old", "new a").replace("b -->\n", "b -->\n\nnew b\n\n"));
        let again = Page::parse(&text).unwrap().render(|section| Ok::<_, ()>(section.body.clone())).unwrap();
        assert_eq!(again, text);
    }

    #[test]
    fn a_wrong_mark_is_named_with_its_line_and_cure() {
        let open = Page::parse("<!-- generated: a -->\ntext\n").unwrap_err();
        assert_eq!(open, (1, "the section `a` has no end; close it with <!-- /generated -->".to_owned()));
        let nested = Page::parse("<!-- generated: a -->\n<!-- generated: b -->\n").unwrap_err();
        assert_eq!((nested.0, nested.1.contains("`a` of line 1 is still open")), (2, true));
        let closed = Page::parse("text\n<!-- /generated -->\n").unwrap_err();
        assert_eq!((closed.0, closed.1.contains("no section is open")), (2, true));
    }
}
