//! What a study is made of, in words.

use super::caveats::list;
use crate::analysis::facts::has_random_weights;
use crate::numbers;
use crate::record::Status;
use crate::results::data::Data;
use crate::results::study::Study;

/// The other experiments, with the number of configurations that each measured.
pub fn others(study: &Study) -> String {
    let measured = |data: &Data| numbers::plural(data.count(Status::Ok), "configuration");
    let of = |data: &Data| match data.count(Status::Built) {
        0 => format!("{} ({} measured)", data.plan.name, measured(data)),
        built => format!("{} ({} measured, {} built)", data.plan.name, measured(data), numbers::count(built as u64)),
    };
    if study.others.is_empty() {
        return "No other experiment is part of these results.".to_owned();
    }
    format!("The other experiments are {}.", list(study.others.iter().map(of)))
}

/// Whether the models have trained or random weights.
pub fn weights(data: &Data) -> &'static str {
    let random: Vec<bool> = data.measured().map(has_random_weights).collect();
    match (random.contains(&true), random.contains(&false)) {
        (true, false) => "All models of this experiment have random weights.",
        (true, true) => "Some models of this experiment have random weights.",
        (false, true) => "The weights are those of checkpoints.",
        (false, false) => "Nothing in this experiment was measured.",
    }
}
