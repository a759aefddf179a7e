//! What an audit found, in words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Computed, JudgedOp};
use crate::graph::{Format, OpClass};

/// Ops named in a message; an ellipsis stands for the others.
const NAMED: usize = 3;

/// A way to differ from the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Aspect {
    Computed,
    Stored,
}

/// The name that a message gives to classes of one family.
fn family(class: OpClass) -> &'static str {
    match class {
        OpClass::Linear | OpClass::ResidualLinear | OpClass::OutputLinear => "linear",
        OpClass::AttentionScores | OpClass::AttentionContext => "attention",
        other => other.name(),
    }
}

/// `31 % of linear FLOPs in fp32 (layer.0/attention/qkv, ...); softmax results stored in fp16 (...)`; empty if every type is
/// the requested one.
pub(super) fn findings(judged: &[JudgedOp<'_>]) -> String {
    let mut total: BTreeMap<&str, u64> = BTreeMap::new();
    let mut wrong: BTreeMap<(Aspect, &str, Format), (u64, Vec<&str>)> = BTreeMap::new();
    for JudgedOp { op, computed, stored } in judged {
        let family = family(op.class);
        for Computed { format, flops, asked, .. } in computed {
            *total.entry(family).or_default() += flops;
            if !asked {
                note(wrong.entry((Aspect::Computed, family, *format)).or_default(), &op.name, *flops);
            }
        }
        if !stored.1 {
            note(wrong.entry((Aspect::Stored, family, stored.0)).or_default(), &op.name, 0);
        }
    }
    let mut text = String::new();
    for ((aspect, family, format), (flops, ops)) in wrong {
        let separator = if text.is_empty() { "" } else { "; " };
        let named = ops[..ops.len().min(NAMED)].join(", ");
        let more = if ops.len() > NAMED { ", ..." } else { "" };
        let share = 100.0 * flops as f64 / total.get(family).copied().unwrap_or(0).max(1) as f64;
        let what = match aspect {
            Aspect::Computed if flops > 0 => format!("{share:.0} % of {family} FLOPs in {format}"),
            Aspect::Computed => format!("{family} epilogues in {format}"),
            Aspect::Stored => format!("{family} results stored in {format}"),
        };
        let _ = write!(text, "{separator}{what} ({named}{more})");
    }
    text
}

/// Adds an op once, and its FLOPs.
fn note<'a>(finding: &mut (u64, Vec<&'a str>), op: &'a str, flops: u64) {
    finding.0 += flops;
    if finding.1.last() != Some(&op) {
        finding.1.push(op);
    }
}
