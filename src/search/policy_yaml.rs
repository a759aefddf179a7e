//! A policy as an item of a manifest's `precisions:`.

use std::fmt::Write as _;

use crate::graph::{Format, OpClass, PrecisionPolicy, Preset, ReductionOrder, Rounding};

/// The policy as YAML: a preset's name, or the preset that it differs least from and what differs. Each line of `why` becomes a
/// comment above it.
pub(super) fn policy_yaml(policy: &PrecisionPolicy, why: &[String]) -> String {
    let mut text: String = why.iter().map(|line| format!("# {line}\n")).collect();
    if let Some(preset) = policy.as_preset() {
        let _ = writeln!(text, "{preset}");
        return text;
    }
    let bases = Preset::ALL.map(PrecisionPolicy::preset);
    // The first of those that differ least.
    let Some(base) = bases.iter().min_by_key(|base| differing(base, policy).len()) else { return text };
    let _ = writeln!(text, "name: {}\nbase: {}", policy.name, base.name);
    let classes = differing(base, policy);
    if !classes.is_empty() {
        text += "classes:\n";
        for class in classes {
            let _ = writeln!(text, "  {class}: {}", formats(policy.rounding("", class)));
        }
    }
    if !policy.overrides.is_empty() {
        text += "ops:\n";
        for (op, rounding) in &policy.overrides {
            let _ = writeln!(text, "  {op}: {}", formats(*rounding));
        }
    }
    if policy.layer_norm_reduction == ReductionOrder::DivideFirst {
        text += "layer_norm_reduction: divide_first\n";
    }
    text
}

/// The classes whose formats differ.
fn differing(base: &PrecisionPolicy, policy: &PrecisionPolicy) -> Vec<OpClass> {
    let differs = |class: &OpClass| base.classes.get(class) != policy.classes.get(class);
    OpClass::ALL.into_iter().filter(differs).collect()
}

fn formats(rounding: Rounding) -> String {
    if rounding == Rounding::uniform(Format::Fp32) {
        return Format::Fp32.to_string();
    }
    let Rounding { compute, accumulate, store } = rounding;
    format!("{{compute: {compute}, accumulate: {accumulate}, store: {store}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::schema::Manifest;

    /// The policies of a manifest whose `precisions` has the text as its one item.
    fn read(item: &str) -> PrecisionPolicy {
        let item: String = item.lines().map(|line| format!("    {line}\n")).collect();
        let manifest = format!(
            "schema: 1\nname: test\nquestion: What?\nmodels: {{tiny: {{random: 1, architecture: bert-tiny}}}}\n\
             backends: [reference]\nprecisions:\n  -\n{item}batch_sizes: [1]\nsequence_lengths: [8]\n\
             inputs: {{random: {{random: 7}}}}\nexpect_configurations: 1\n"
        );
        let manifest = Manifest::parse(&manifest, "test.yaml").unwrap_or_else(|error| panic!("{error}\n{manifest}"));
        manifest.precisions[0].clone()
    }

    #[test]
    fn a_manifest_reads_back_every_policy_that_a_search_may_end_with() {
        let why = ["Two lines:".to_owned(), "of reasons.".to_owned()];
        for preset in Preset::ALL {
            let preset = PrecisionPolicy::preset(preset);
            assert_eq!(read(&policy_yaml(&preset, &why)), preset);
            let mut policy = PrecisionPolicy { name: "found".to_owned(), ..preset };
            let op = |layer| format!("layer.{layer}/mlp/layer_norm");
            policy.overrides.insert(op(0), Rounding::uniform(Format::Fp32));
            policy.overrides.insert(op(1), Rounding::fp32_stored_as(Format::Fp16));
            assert_eq!(read(&policy_yaml(&policy, &why)), policy);
            policy.layer_norm_reduction = ReductionOrder::DivideFirst;
            policy.classes.insert(OpClass::Linear, Rounding::into_fp32(Format::Tf32));
            policy.classes.insert(OpClass::Softmax, Rounding::uniform(Format::Bf16));
            assert_eq!(read(&policy_yaml(&policy, &[])), policy);
        }
    }

    #[test]
    fn what_a_reader_sees_is_short() {
        let mut policy = PrecisionPolicy::preset(Preset::Fp16);
        "fp16-searched".clone_into(&mut policy.name);
        policy.overrides.insert("layer.9/mlp/layer_norm".to_owned(), Rounding::uniform(Format::Fp32));
        let text = policy_yaml(&policy, &["Found.".to_owned()]);
        assert_eq!(text, "# Found.\nname: fp16-searched\nbase: fp16\nops:\n  layer.9/mlp/layer_norm: fp32\n");
    }
}
