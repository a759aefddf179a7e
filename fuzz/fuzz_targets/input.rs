//! The texts that inputs read, as SST-2 sentences and as a running text, through the tokenizer of a tiny model.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mixprec::graph::Shape;
use mixprec::input::InputSource;
use mixprec::input::InputStream;
use mixprec::model::ModelSource;
use mixprec::model::{Head, Model};
use mixprec_fuzz::{checkpoint, put, scratch};

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    checkpoint("input-model", true, [1, 8, 2, 8, 64, 32], 2, 0);
    put("input-model/tokenizer.json", include_bytes!("../seeds/tokenizer/bert.json"));
    let source = ModelSource::Checkpoint { path: "input-model".into(), sha256: None };
    Model::open("tiny", &source, scratch(), Head::Natural).expect("the tiny model")
});

fuzz_target!(|bytes: &[u8]| {
    put("input.txt", bytes);
    let sources = [
        InputSource::Sst2 { path: "input.txt".into(), sha256: None, labels: BTreeMap::new() },
        InputSource::Text { path: "input.txt".into(), sha256: None },
    ];
    for source in sources {
        let Ok(stream) = InputStream::open(&source, scratch(), &MODEL) else { continue };
        for (batch, sequence) in [(1, 1), (3, 2), (2, 16)] {
            let Ok(found) = stream.batch(Shape { batch, sequence }, 5) else { continue };
            assert_eq!(found.ids.len(), batch * sequence);
            assert!(found.lengths.iter().all(|&length| (1..=sequence).contains(&length)));
        }
    }
});
