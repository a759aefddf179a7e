//! Precision policies: presets by name, or a preset with changes.

use super::axes::{DraftAxis, list_axis};
use super::cursor::{Cursor, Fields, NAME_WORDS, valid_name};
use super::diagnostic::{Report, one_of, quoted, suggestion};
use super::tree::YamlValue;
use crate::graph::{Format, OpClass, PrecisionPolicy, Preset, ReductionOrder, Rounding};

/// Formats that operands may have. FP64 is reserved for the oracle.
const COMPUTE: [(&str, Format); 4] =
    [("fp32", Format::Fp32), ("tf32", Format::Tf32), ("bf16", Format::Bf16), ("fp16", Format::Fp16)];
/// Formats of sums, tensors and element-wise arithmetic: TF32 exists only inside products.
const STORE: [(&str, Format); 3] = [("fp32", Format::Fp32), ("bf16", Format::Bf16), ("fp16", Format::Fp16)];

/// `precisions: [fp32, hybrid, {name: mine, base: hybrid, classes: {softmax: fp16}}]`
pub(super) fn precisions(cursor: Option<&Cursor<'_>>, report: &mut Report<'_>) -> DraftAxis<PrecisionPolicy> {
    let mut axis = list_axis(cursor, report, ("a list of precision policies", "[fp32, hybrid]"), precision);
    for i in 1..axis.values.len() {
        let (before, [policy, ..]) = axis.values.split_at(i) else { continue };
        let same = before
            .iter()
            .find(|other| PrecisionPolicy { name: policy.value.name.clone(), ..other.value.clone() } == policy.value);
        if let Some(other) = same {
            let message = format!(
                "found a policy that equals `{}` under another name; change something or remove it",
                other.value.name
            );
            report.push(policy.position, &policy.path, message);
            axis.whole = false;
        }
    }
    axis
}

fn precision(item: &Cursor<'_>, report: &mut Report<'_>) -> (Option<String>, Option<PrecisionPolicy>) {
    let names = Preset::ALL.map(Preset::name);
    match &item.node.value {
        YamlValue::Text(text) => {
            let preset = Preset::ALL.into_iter().find(|preset| preset.name() == text);
            if preset.is_none() {
                let (allowed, near) = (one_of(&names), suggestion(text, &names));
                let message = format!(
                    "found the text {}, expected {allowed}, or a mapping with `name` and `base`{near}",
                    quoted(text)
                );
                item.reject(report, message);
            }
            (Some(text.clone()), preset.map(PrecisionPolicy::preset))
        }
        YamlValue::Mapping(_) => custom(item, report),
        _ => {
            let expected = format!("{}, or a mapping with `name` and `base`", one_of(&names));
            item.mismatch(report, &expected, "");
            (None, None)
        }
    }
}

fn custom(item: &Cursor<'_>, report: &mut Report<'_>) -> (Option<String>, Option<PrecisionPolicy>) {
    let allowed = ["name", "base", "accumulate", "classes", "ops", "layer_norm_reduction"];
    let before = report.len();
    let Some(fields) = Fields::open(item, report, "a precision policy", &allowed) else { return (None, None) };
    let name = fields.required(report, "name", "hybrid-fp16-softmax").and_then(|name| policy_name(name, report));
    let presets = Preset::ALL.map(|preset| (preset.name(), preset));
    let base = fields.required(report, "base", "hybrid").and_then(|base| base.choice(report, &presets));
    // Changes are read even without a base, so that their mistakes are reported.
    let mut policy = PrecisionPolicy::preset(base.unwrap_or(Preset::Fp32));
    changes(&fields, report, &mut policy);
    if report.len() == before
        && let Some(same) = policy.as_preset()
    {
        let message = format!("found a policy that equals the preset `{same}`; write `{same}` or change something");
        item.reject(report, message);
    }
    if let Some(name) = &name {
        policy.name.clone_from(name);
    }
    (name, (report.len() == before).then_some(policy))
}

/// Applies what a custom policy changes: the accumulator of all products, then classes, then ops.
fn changes(fields: &Fields<'_>, report: &mut Report<'_>, policy: &mut PrecisionPolicy) {
    if let Some(format) = fields.optional("accumulate").and_then(|cursor| cursor.choice(report, &STORE)) {
        for (_, rounding) in policy.classes.iter_mut().filter(|(class, _)| class.is_product()) {
            rounding.accumulate = format;
        }
    }
    if let Some(cursor) = fields.optional("classes") {
        read_classes(cursor, report, policy);
    }
    if let Some(cursor) = fields.optional("ops") {
        read_ops(cursor, report, policy);
    }
    let orders = [("sum_then_divide", ReductionOrder::SumThenDivide), ("divide_first", ReductionOrder::DivideFirst)];
    if let Some(order) = fields.optional("layer_norm_reduction").and_then(|cursor| cursor.choice(report, &orders)) {
        policy.layer_norm_reduction = order;
    }
}

fn policy_name(cursor: &Cursor<'_>, report: &mut Report<'_>) -> Option<String> {
    let name = cursor.text(report, NAME_WORDS)?;
    if !valid_name(name) {
        cursor.mismatch(report, NAME_WORDS, "");
        return None;
    }
    if Format::ALL.iter().any(|format| format.name() == name) || Preset::ALL.iter().any(|preset| preset.name() == name)
    {
        cursor.mismatch(report, "a name that no preset or format has", &format!("call it `{name}-mine`, say"));
        return None;
    }
    Some(name.to_owned())
}

/// `classes: {softmax: fp16, linear: {compute: fp16, accumulate: fp32, store: fp32}}`
fn read_classes(cursor: &Cursor<'_>, report: &mut Report<'_>, policy: &mut PrecisionPolicy) {
    let names = OpClass::ALL.map(OpClass::name);
    let Some(fields) = Fields::open(cursor, report, "a mapping from op classes to formats", &names) else { return };
    for class in OpClass::ALL {
        let rounding = fields.optional(class.name()).and_then(|entry| rounding(entry, report, Some(class)));
        if let Some(rounding) = rounding {
            policy.classes.insert(class, rounding);
        }
    }
}

/// `ops: {layer.3/attention/softmax: fp32}`
fn read_ops(cursor: &Cursor<'_>, report: &mut Report<'_>, policy: &mut PrecisionPolicy) {
    let expected = "a mapping from op names to formats, like `layer.3/attention/softmax: fp32`";
    for (key, entry) in cursor.named_entries(report, expected).unwrap_or_default() {
        if let Some(rounding) = rounding(&entry, report, None) {
            policy.overrides.insert(key.text.clone(), rounding);
        }
    }
}

/// A bare format, or all three formats. The class decides what a bare format means: products keep FP32 sums.
fn rounding(entry: &Cursor<'_>, report: &mut Report<'_>, class: Option<OpClass>) -> Option<Rounding> {
    let product = class.is_none_or(OpClass::is_product);
    let formats: &[(&str, Format)] = if product { &COMPUTE } else { &STORE };
    if let YamlValue::Mapping(_) = entry.node.value {
        let fields = Fields::open(entry, report, "formats", &["compute", "accumulate", "store"])?;
        let compute = fields.required(report, "compute", "fp16").and_then(|format| format.choice(report, formats));
        let accumulate = fields.required(report, "accumulate", "fp32").and_then(|format| format.choice(report, &STORE));
        let store = fields.required(report, "store", "fp16").and_then(|format| format.choice(report, &STORE));
        return Some(Rounding { compute: compute?, accumulate: accumulate?, store: store? });
    }
    let format = entry.choice(report, formats)?;
    match class {
        Some(class) if class.is_product() => Some(Rounding::fp32_accumulated(format)),
        Some(_) => Some(Rounding::uniform(format)),
        // FP32 and TF32 sum in FP32 either way. A narrow format sums in FP32 only in products, and an op's name does not
        // say whether it is one.
        None if Rounding::uniform(format) == Rounding::fp32_accumulated(format) => Some(Rounding::uniform(format)),
        None => {
            let cure = format!("write `{{compute: {format}, accumulate: fp32, store: {format}}}`");
            entry.mismatch(report, "the format of its sums too", &cure);
            None
        }
    }
}
