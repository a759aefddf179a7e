//! What stands where a file of a checkpoint should: the leavings of downloads that went wrong.

/// What begins like this, in words; `None` of what may be the file itself.
pub(super) fn instead_of_a_file(start: &[u8]) -> Option<&'static str> {
    if start.is_empty() {
        return Some("it is empty");
    }
    if start.starts_with(b"version https://git-lfs") {
        return Some("it is a pointer of Git LFS, not the file itself, which `git lfs pull` brings");
    }
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    (first == Some(&b'<')).then_some("it is a web page or XML, not the file itself")
}
