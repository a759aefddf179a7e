//! Messages of the library's log, kept so that a failure has the library's own words.

use std::sync::{Arc, Mutex, PoisonError};

/// Messages that are kept; a failing build writes a handful.
const MAX_MESSAGES: usize = 32;

/// Warnings and errors since the last [`Messages::clear`].
#[derive(Debug, Clone, Default)]
pub(super) struct Messages(Arc<Mutex<Vec<(Level, String)>>>);

/// How grave a message is; what is less than a warning is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warning,
}

impl Messages {
    /// Discards the messages so far.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Keeps a message.
    pub fn record(&self, level: Level, message: &str) {
        let mut messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An error counts however many warnings came before it.
        if messages.len() < MAX_MESSAGES || (level == Level::Error && messages.len() < 2 * MAX_MESSAGES) {
            messages.push((level, message.to_owned()));
        }
    }

    /// The library's reason for a failure: its first error, since later ones follow from it, or its last warning if it logged
    /// no error.
    pub fn reason(&self) -> Option<String> {
        let messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let error = messages.iter().find(|(level, _)| *level == Level::Error);
        error.or_else(|| messages.last()).map(|(_, message)| sentence(message))
    }
}

/// The sentence in a log message: on one line, without source position, error code and API name.
///
/// `IBuilder::x: Error Code 9: API Usage Error (Target GPU SM 90 is not supported. In f at a.cpp:7)` becomes
/// `Target GPU SM 90 is not supported`.
fn sentence(line: &str) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let coded = line.split_once("Error Code").and_then(|(_, rest)| rest.split_once(" ("));
    // `Error Code 2: OutOfMemory (no further information)`
    let inner = coded.map(|(code, inner)| match inner.starts_with("no further information") {
        true => code.rsplit(": ").next().unwrap_or(code),
        false => inner,
    });
    let text = inner.map_or(line.as_str(), |inner| inner.strip_suffix(')').unwrap_or(inner));
    let text = text.split(" In ").next().filter(|_| text.contains(".cpp:")).unwrap_or(text);
    let text = text.trim().trim_end_matches('.');
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_the_reason_and_warnings_only_without_one() {
        let messages = Messages::default();
        assert_eq!(messages.reason(), None);
        messages.record(Level::Warning, "no device");
        assert_eq!(messages.reason().as_deref(), Some("no device"));
        messages.record(Level::Error, "the cause");
        messages.record(Level::Error, "what follows from it");
        assert_eq!(messages.reason().as_deref(), Some("the cause"));
        messages.clear();
        assert_eq!(messages.reason(), None);
    }

    #[test]
    fn a_flood_of_warnings_is_cut_off() {
        let messages = Messages::default();
        (0..100).for_each(|i| messages.record(Level::Warning, &i.to_string()));
        assert_eq!(messages.0.lock().unwrap().len(), MAX_MESSAGES);
        messages.record(Level::Error, "the cause");
        assert_eq!(messages.reason().as_deref(), Some("the cause"));
    }

    #[test]
    fn sentences_lose_their_wrapping() {
        let line =
            "IBuilder::buildSerializedNetwork: Error Code 9: API Usage Error (Target GPU SM 90 is not\nsupported.)";
        assert_eq!(sentence(line), "Target GPU SM 90 is not supported");
        let line = "[a] Error Code 4: Internal Error (no optimization profile. In validate at b/c.cpp:1208)";
        assert_eq!(sentence(line), "no optimization profile");
        assert_eq!(sentence("[a] Error Code 2: OutOfMemory (no further information)"), "OutOfMemory");
        assert_eq!(sentence("plain words (as they are)"), "plain words (as they are)");
    }
}
