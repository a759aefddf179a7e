//! `tokenizer.json` of a folder whose other files are right, and a few texts through it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mixprec::model::{Family, Tokenizer};
use mixprec_fuzz::{put, scratch};

fuzz_target!(|bytes: &[u8]| {
    put("tokenizer/tokenizer.json", bytes);
    let classes = ["BertTokenizer", "GPT2Tokenizer", "PreTrainedTokenizerFast"];
    for (family, class) in [Family::Bert, Family::Gpt2].into_iter().flat_map(|family| classes.map(|class| (family, class))) {
        put("tokenizer/tokenizer_config.json", format!("{{\"tokenizer_class\": \"{class}\"}}").as_bytes());
        let Ok(tokenizer) = Tokenizer::open(&scratch().join("tokenizer"), 1000, family) else { continue };
        for text in ["", "a sentence", "\u{1F600} \u{0} \u{FEFF}x"] {
            let _ = (tokenizer.sentence(text), tokenizer.running_text(text));
        }
        let _ = (tokenizer.token(0), tokenizer.token(u32::MAX));
    }
});
