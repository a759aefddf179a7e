//! A checkpoint folder: `config.json` up to the first zero byte, the header of `model.safetensors` after it, which is
//! followed by as many zeros as it asks for, up to a limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mixprec::graph::ParamId;
use mixprec::model::ModelSource;
use mixprec::model::{Head, Model};
use mixprec_fuzz::{put, scratch};

const MOST_DATA: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let at = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let (config, rest) = bytes.split_at(at);
    let header = rest.get(1..).unwrap_or_default();
    put("checkpoint/config.json", config);
    let mut file = Vec::from((header.len() as u64).to_le_bytes());
    file.extend_from_slice(header);
    let end = |tensor: &serde_json::Value| tensor["data_offsets"][1].as_u64();
    let data = serde_json::from_slice::<serde_json::Value>(header).ok();
    let data = data.as_ref().and_then(|found| found.as_object()?.values().filter_map(end).max());
    file.resize(file.len() + data.map_or(0, |bytes| (bytes as usize).min(MOST_DATA)), 0);
    put("checkpoint/model.safetensors", &file);
    let source = ModelSource::Checkpoint { path: "checkpoint".into(), sha256: None };
    for head in Head::ALL {
        let Ok(model) = Model::open("fuzzed", &source, scratch(), head) else { continue };
        for index in 0..model.graph.params.len() {
            let _ = model.param(ParamId(index));
        }
    }
});
