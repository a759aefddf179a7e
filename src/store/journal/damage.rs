//! Finds and moves lines that a kill, a full disk or a bad disk damaged.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::{DAMAGED_FILE, Header, JOURNAL_VERSION, JournalContents, JournalError, OnDamage, decode, encode};
use crate::files::replace;
use crate::record::Record;
use crate::store::weights::complete_record;

/// One line, decoded.
enum JournalLine {
    Header(Header),
    Record(Box<Record>),
    Damaged,
}

/// A journal's lines and their bytes, newline included.
pub(super) struct Scan<'a> {
    lines: Vec<(&'a [u8], JournalLine)>,
}

/// Splits a journal into lines and checks each.
pub(super) fn scan(bytes: &[u8]) -> Scan<'_> {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n').enumerate();
    Scan { lines: lines.map(|(index, line)| (line, understand(index, line))).collect() }
}

fn understand(index: usize, line: &[u8]) -> JournalLine {
    let Some(body) = line.strip_suffix(b"\n") else {
        return JournalLine::Damaged;
    };
    let record = || decode(body).and_then(complete_record).map(|record| JournalLine::Record(Box::new(record)));
    let understood = if index == 0 { decode(body).map(JournalLine::Header) } else { record() };
    understood.unwrap_or(JournalLine::Damaged)
}

impl Scan<'_> {
    fn damaged(&self) -> impl Iterator<Item = usize> {
        self.lines
            .iter()
            .enumerate()
            .filter(|(_, (_, line))| matches!(line, JournalLine::Damaged))
            .map(|(index, _)| index)
    }

    /// Indices of the damaged lines before the last line.
    fn damaged_within(&self) -> Vec<usize> {
        self.damaged().filter(|&index| index + 1 < self.lines.len()).collect()
    }

    fn tail_damaged(&self) -> bool {
        self.damaged().any(|index| index + 1 == self.lines.len())
    }

    fn damage_error(&self, path: &Path) -> Option<JournalError> {
        let damaged = self.damaged_within();
        let first = *damaged.first()?;
        Some(JournalError::Damaged { path: path.to_owned(), line: first + 1, count: damaged.len() })
    }

    /// Refuses a journal of another version or protocol before anything else is checked or changed.
    fn check_header(&self, path: &Path, wanted: &Header) -> Result<(), JournalError> {
        let Some((_, JournalLine::Header(found))) = self.lines.first() else {
            return Ok(());
        };
        check_version(path, found)?;
        if found.protocol_sha256 != wanted.protocol_sha256 {
            let short = |hash: &str| hash.chars().take(8).collect();
            let (found, wanted) = (short(&found.protocol_sha256), short(&wanted.protocol_sha256));
            return Err(JournalError::Protocol { path: path.to_owned(), found, wanted });
        }
        Ok(())
    }

    /// The header and the records. `None` when the first line is absent or damaged.
    pub(super) fn contents(self, path: &Path) -> Result<Option<JournalContents>, JournalError> {
        if let Some((_, JournalLine::Header(header))) = self.lines.first() {
            check_version(path, header)?;
        }
        if let Some(error) = self.damage_error(path) {
            return Err(error);
        }
        let tail_damaged = self.tail_damaged();
        let mut lines = self.lines.into_iter().map(|(_, line)| line);
        let Some(JournalLine::Header(header)) = lines.next() else {
            return Ok(None);
        };
        let record = |line| if let JournalLine::Record(record) = line { Some(*record) } else { None };
        Ok(Some(JournalContents { header, records: lines.filter_map(record).collect(), tail_damaged }))
    }
}

fn check_version(path: &Path, header: &Header) -> Result<(), JournalError> {
    match header.version {
        JOURNAL_VERSION => Ok(()),
        found => Err(JournalError::Version { path: path.to_owned(), found }),
    }
}

/// Repairs the file and returns its bytes: starts an empty journal, removes a damaged last line, and moves other
/// damaged lines when `on_damage` allows it. Also returns a notice per repair.
pub(super) fn repair(
    path: &Path,
    bytes: Vec<u8>,
    header: &Header,
    on_damage: OnDamage,
) -> Result<(Vec<u8>, Vec<String>), JournalError> {
    let scan = scan(&bytes);
    scan.check_header(path, header)?;
    let within = scan.damaged_within();
    if on_damage == OnDamage::Refuse
        && let Some(error) = scan.damage_error(path)
    {
        return Err(error);
    }
    let mut notices = Vec::new();
    if within.is_empty() && !scan.tail_damaged() && !bytes.is_empty() {
        return Ok((bytes, notices));
    }
    let io_error = |source| JournalError::Io { path: path.to_owned(), source };
    let header_damaged = matches!(scan.lines.first(), Some((_, JournalLine::Damaged)) | None);
    let kept: Vec<u8> = if header_damaged {
        // The protocol of the rows is no longer known, so none of them is kept.
        encode(header).map_err(io_error)?
    } else {
        let whole = scan.lines.iter().filter(|(_, line)| !matches!(line, JournalLine::Damaged));
        whole.flat_map(|(line, _)| line.iter().copied()).collect()
    };
    if !within.is_empty() {
        let moved: Vec<&[u8]> = if header_damaged {
            scan.lines.iter().map(|(line, _)| *line).collect()
        } else {
            scan.damaged().map(|index| scan.lines[index].0).collect()
        };
        set_aside(path, &moved)?;
        notices.push(format!(
            "{}: moved {} line(s) to {DAMAGED_FILE}; they are run again",
            path.display(),
            moved.len()
        ));
    } else if scan.tail_damaged() {
        let line = scan.lines.len();
        notices.push(format!("{}:{line}: cut off a torn last line; its configuration is run again", path.display()));
    }
    replace(path, &kept).map_err(io_error)?;
    Ok((kept, notices))
}

/// Appends damaged lines to [`DAMAGED_FILE`] next to the journal, before they are removed from it.
fn set_aside(journal: &Path, lines: &[&[u8]]) -> Result<(), JournalError> {
    let path = journal.with_file_name(DAMAGED_FILE);
    let write = || {
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        for line in lines {
            file.write_all(line)?;
            if !line.ends_with(b"\n") {
                file.write_all(b"\n")?;
            }
        }
        file.sync_all()
    };
    write().map_err(|source| JournalError::Io { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{JOURNAL_FILE, Journal, OpenedJournal, read};
    use super::*;
    use crate::plan::ConfigurationId;
    use crate::record::{Failure, FailureKind, Outcome};

    fn header() -> Header {
        Header {
            version: JOURNAL_VERSION,
            plan: "test".to_owned(),
            manifest_sha256: "ab".repeat(32),
            protocol_sha256: "cd".repeat(32),
        }
    }

    fn record(id: &str) -> Record {
        let failure =
            Failure { kind: FailureKind::Error, reason: format!("no \"{id}\"\n"), files: None, libraries: None };
        Record {
            id: ConfigurationId(id.to_owned()),
            environment: "e".to_owned(),
            finished_unix_s: Some(1_764_000_000),
            wall_s: None,
            gpu: None,
            outcome: Outcome::Failed(failure),
        }
    }

    fn open(dir: &Path, on_damage: OnDamage) -> Result<OpenedJournal, JournalError> {
        Journal::open(dir, &header(), on_damage)
    }

    fn ids(contents: &JournalContents) -> Vec<&str> {
        contents.records.iter().map(|record| record.id.0.as_str()).collect()
    }

    /// A folder with a journal of the rows a, b and c.
    fn three_rows() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let mut opened = open(dir.path(), OnDamage::Refuse).unwrap();
        for id in ["a", "b", "c"] {
            opened.journal.append(&record(id)).unwrap();
        }
        let path = dir.path().join(JOURNAL_FILE);
        (dir, path)
    }

    #[test]
    fn rows_come_back() {
        let (dir, _) = three_rows();
        let opened = open(dir.path(), OnDamage::Refuse).unwrap();
        assert_eq!(opened.contents.records, [record("a"), record("b"), record("c")]);
        assert!(opened.notices.is_empty());
        assert_eq!(read(dir.path()).unwrap(), opened.contents);
    }

    #[test]
    fn the_last_record_of_a_configuration_counts() {
        let (dir, _) = three_rows();
        let mut again = record("a");
        again.environment = "later".to_owned();
        open(dir.path(), OnDamage::Refuse).unwrap().journal.append(&again).unwrap();
        let contents = read(dir.path()).unwrap();
        assert_eq!(contents.latest().len(), 3);
        assert_eq!(contents.latest()[&again.id], &again);
    }

    #[test]
    fn cut_anywhere_it_keeps_every_whole_row() {
        let (dir, path) = three_rows();
        let whole = std::fs::read(&path).unwrap();
        // Every line's end, and bytes of every residue within the lines.
        let ends = |cut: usize| cut > 0 && whole[cut - 1] == b'\n';
        for cut in (0..whole.len()).filter(|&cut| cut % 11 == 0 || ends(cut)) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let rows = whole[..cut].iter().filter(|&&byte| byte == b'\n').count().saturating_sub(1);
            let mut opened = open(dir.path(), OnDamage::Refuse).unwrap();
            assert_eq!(opened.contents.records.len(), rows, "cut at {cut}");
            let torn = cut > 0 && !ends(cut);
            assert_eq!(!opened.notices.is_empty(), torn, "cut at {cut}");
            opened.journal.append(&record("z")).unwrap();
            assert_eq!(read(dir.path()).unwrap().records.len(), rows + 1, "cut at {cut}");
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed_and_no_wrong_row_read() {
        let (dir, path) = three_rows();
        let whole = std::fs::read(&path).unwrap();
        for position in (0..whole.len() * 8).step_by(61) {
            let mut bytes = whole.clone();
            bytes[position / 8] ^= 1 << (position % 8);
            std::fs::write(&path, &bytes).unwrap();
            match open(dir.path(), OnDamage::Refuse) {
                Ok(opened) => {
                    assert_eq!(opened.notices.len(), 1, "bit {position}");
                    assert!(matches!(ids(&opened.contents)[..], ["a"] | ["a", "b"]), "bit {position}");
                }
                Err(JournalError::Damaged { .. }) => {
                    let forced = open(dir.path(), OnDamage::SetAside).unwrap();
                    let wrong = forced.contents.records.iter().find(|r| **r != record(&r.id.0));
                    assert!(wrong.is_none() && forced.contents.records.len() < 3, "bit {position}");
                }
                Err(other) => panic!("bit {position}: {other}"),
            }
        }
    }

    #[test]
    fn damage_in_the_middle_is_refused_then_set_aside() {
        let (dir, path) = three_rows();
        let text = std::fs::read_to_string(&path).unwrap().replacen("no \\\"b", "no \\\"x", 1);
        std::fs::write(&path, text).unwrap();
        let refused = open(dir.path(), OnDamage::Refuse).unwrap_err().to_string();
        assert!(refused.contains("journal.jsonl:3: 1 damaged line(s)") && refused.contains("--force"), "{refused}");
        assert!(matches!(read(dir.path()), Err(JournalError::Damaged { line: 3, count: 1, .. })));
        let opened = open(dir.path(), OnDamage::SetAside).unwrap();
        assert_eq!(ids(&opened.contents), ["a", "c"]);
        assert!(std::fs::read_to_string(dir.path().join(DAMAGED_FILE)).unwrap().contains("no \\\"x"));
        assert!(open(dir.path(), OnDamage::Refuse).unwrap().notices.is_empty());
    }

    #[test]
    fn rows_without_a_header_are_set_aside_whole() {
        let (dir, path) = three_rows();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(open(dir.path(), OnDamage::Refuse), Err(JournalError::Damaged { line: 1, .. })));
        let opened = open(dir.path(), OnDamage::SetAside).unwrap();
        assert!(opened.contents.records.is_empty());
        assert_eq!(std::fs::read(dir.path().join(DAMAGED_FILE)).unwrap(), bytes);
    }

    #[test]
    fn another_protocol_or_version_is_refused() {
        let (dir, _) = three_rows();
        let other = Header { protocol_sha256: "ef".repeat(32), ..header() };
        let error = Journal::open(dir.path(), &other, OnDamage::SetAside).unwrap_err().to_string();
        assert!(error.contains("protocol cdcdcdcd, this manifest efefefef"), "{error}");
        let newer = tempfile::tempdir().unwrap();
        let journal = [encode(&Header { version: 99, ..header() }).unwrap(), encode(&"a row of the future").unwrap()];
        let path = newer.path().join(JOURNAL_FILE);
        std::fs::write(&path, journal.concat()).unwrap();
        assert!(matches!(open(newer.path(), OnDamage::SetAside), Err(JournalError::Version { found: 99, .. })));
        assert!(matches!(read(newer.path()), Err(JournalError::Version { found: 99, .. })));
        assert_eq!(std::fs::read(&path).unwrap(), journal.concat());
        assert!(matches!(read(dir.path().join("absent").as_path()), Err(JournalError::Absent { .. })));
    }
}
