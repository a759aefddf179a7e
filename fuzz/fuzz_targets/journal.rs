//! A journal's bytes: read, refused or repaired, never lost. Lines that begin with `~` get the right checksum.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mixprec::store::derive;
use mixprec::store::journal::{Header, JOURNAL_VERSION, Journal, OnDamage, read};
use mixprec_fuzz::{base, journal_line, put, scratch};

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let file: Vec<u8> = lines
        .flat_map(|line| match line.strip_prefix(b"~") {
            Some(json) => journal_line(json.strip_suffix(b"\n").unwrap_or(json)),
            None => line.to_vec(),
        })
        .collect();
    put("journal/journal.jsonl", &file);
    let dir = scratch().join("journal");
    if let Ok(contents) = read(&dir) {
        let rows = derive::derive(&base().0, &contents.records);
        assert_eq!(rows.len(), base().0.configurations.len());
    }
    let header = Header {
        version: JOURNAL_VERSION,
        plan: "fuzzed".to_owned(),
        manifest_sha256: String::new(),
        protocol_sha256: "a".repeat(64),
    };
    match Journal::open(&dir, &header, OnDamage::SetAside) {
        Ok(opened) => {
            // What was repaired is whole.
            let again = read(&dir).expect("a repaired journal can be read");
            assert!(!again.tail_damaged);
            assert_eq!(again.records.len(), opened.contents.records.len());
        }
        Err(_) => {
            assert_eq!(std::fs::read(dir.join("journal.jsonl")).ok(), Some(file), "a refused journal was changed")
        }
    }
});
