//! What the names of a plan stand for. Readers know a model, an input and a policy by name, so that one table has one
//! definition of each. Files may lie elsewhere on another machine: the digests in the rows tell them apart
//! ([`crate::store::materials`]).

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

use super::{Configuration, OtherRules, Plan};
use crate::graph::PrecisionPolicy;
use crate::input::InputSource;
use crate::model::ModelSource;

/// The kinds of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum NameKind {
    Model,
    Input,
    Policy,
}

/// What is defined in two ways under one name in any of these configurations, like `labels of sst2`.
fn ambiguous<'a>(configurations: impl Iterator<Item = &'a Configuration>) -> BTreeSet<String> {
    let mut first: BTreeMap<(NameKind, &str), &Configuration> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for one in configurations {
        let names =
            [(NameKind::Model, &one.model), (NameKind::Input, &one.input), (NameKind::Policy, &one.policy.name)];
        for (kind, name) in names {
            let other = *first.entry((kind, name)).or_insert(one);
            found.extend(unlike(kind, one, other).map(|part| format!("{part} {name}")));
        }
    }
    found
}

impl Plan {
    /// What the plan defines in two ways under one name, like `labels of sst2`. Only a merge of an older program does.
    pub fn ambiguous(&self) -> BTreeSet<String> {
        ambiguous(self.configurations.iter())
    }

    /// Compares the definitions of the names that both plans have.
    ///
    /// # Errors
    /// [`OtherRules::Definition`].
    pub fn check_same_definitions(&self, other: &Plan) -> Result<(), OtherRules> {
        let found = ambiguous(other.configurations.iter().chain(&self.configurations));
        let parts: Vec<String> = found.into_iter().collect();
        if parts.is_empty() { Ok(()) } else { Err(OtherRules::Definition { parts: parts.join(", ") }) }
    }
}

/// The part of a definition in which two configurations of one name differ.
fn unlike(kind: NameKind, one: &Configuration, other: &Configuration) -> Option<&'static str> {
    match kind {
        NameKind::Model if one.head != other.head => Some("head of"),
        NameKind::Model => (!same_model(&one.model_source, &other.model_source)).then_some("source of"),
        NameKind::Input if !same_input(&one.input_source, &other.input_source) => Some("source of"),
        NameKind::Input => (one.input_source.labels() != other.input_source.labels()).then_some("labels of"),
        NameKind::Policy => (!same_policy(&one.policy, &other.policy)).then_some("policy"),
    }
}

/// Whether both are read from files or drawn alike. Weights from files are compared by their digests in the rows.
fn same_model(one: &ModelSource, other: &ModelSource) -> bool {
    let is_random = |source: &ModelSource| matches!(source.base(), ModelSource::Random { .. });
    let (drawn, other_drawn) = (one.base().stand_in(), other.base().stand_in());
    let drawn_alike = match is_random(one) || is_random(other) {
        true => one.base() == other.base(),
        false => drawn.zip(other_drawn).is_none_or(|(one, other)| one == other),
    };
    drawn_alike && one.injection() == other.injection()
}

/// Whether the ids are drawn alike or read from the same kind of file.
fn same_input(one: &InputSource, other: &InputSource) -> bool {
    match one.path() {
        Some(_) => discriminant(one) == discriminant(other),
        None => one == other,
    }
}

/// Whether they are equal, as far as both know the classes: plans may be older than a class.
fn same_policy(one: &PrecisionPolicy, other: &PrecisionPolicy) -> bool {
    let known = |class, rounding| other.classes.get(class).is_none_or(|other| other == rounding);
    one.classes.iter().all(|(class, rounding)| known(class, rounding))
        && (&one.overrides, one.layer_norm_reduction) == (&other.overrides, other.layer_norm_reduction)
}
