//! A claims file's text: read, and judged by results that answer nothing.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mixprec::claims::{Claims, judge};
use mixprec::results::data::Data;
use mixprec::store::derive;
use mixprec_fuzz::base;

static DATA: LazyLock<Data> = LazyLock::new(|| {
    let (plan, records, environment) = base().clone();
    let rows = derive::derive(&plan, &records);
    Data { plan, rows, environments: BTreeMap::from([(records[0].environment.clone(), environment)]) }
});

fuzz_target!(|text: &str| {
    if let Ok(claims) = Claims::parse(text, "claims.yaml") {
        let _ = judge(&DATA, &claims);
    }
});
