//! Labels of a file's rows, matched with the classes of a head by name.
//!
//! A class has the name that config.json's `id2label` gives it. `LABEL_0` and the class's own number are placeholders, no
//! names: where every class has one, a label that is a number means the class of that number. The labels 0 and 1 alone are
//! SST-2's: negative and positive. Whatever remains open is refused, since an accuracy of the wrong classes is a wrong
//! number without a sign.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{ModelConfig, ScoreFunction, TaskHead};

/// A class of a head, as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClassName {
    /// Its index, from 0.
    Index(usize),
    /// Its name in config.json.
    Name(String),
}

/// A class of a head and the label of a file that is this class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledClass {
    /// The label; `None` of a class that no label is, so that an answer of it is wrong.
    pub label: Option<String>,
    /// Index of the class, from 0.
    pub class: usize,
    /// The class's name in config.json, or its number.
    pub name: String,
}

/// `0=negative;1=positive`, and `;=neutral` for a class that no label is; a separator within a name has a backslash before it.
pub fn label_text(classes: &[LabelledClass]) -> String {
    let escaped = |name: &str| {
        let parts = name.chars().map(|c| if matches!(c, ';' | '=' | '\\') { format!("\\{c}") } else { c.to_string() });
        parts.collect::<String>()
    };
    let one =
        |of: &LabelledClass| format!("{}={}", escaped(of.label.as_deref().unwrap_or_default()), escaped(&of.name));
    classes.iter().map(one).collect::<Vec<_>>().join(";")
}

/// The labels of such a text, each with the name of its class; the label of a class that no label is is empty.
pub fn labels_of_text(text: &str) -> Vec<(String, String)> {
    let mut pairs = vec![[String::new(), String::new()]];
    let (mut side, mut characters) = (0, text.chars());
    while let Some(next) = characters.next() {
        match (next, pairs.last_mut()) {
            (';', _) => {
                pairs.push(Default::default());
                side = 0;
            }
            ('=', _) => side = 1,
            (_, Some(pair)) => pair[side].push(if next == '\\' { characters.next().unwrap_or(next) } else { next }),
            (_, None) => {}
        }
    }
    pairs.into_iter().map(|[label, class]| (label, class)).collect()
}

/// The class that an F1 of two classes is of, whichever order the checkpoint has them in: that of label 1, or of the last label by
/// its characters. `None` without labels.
pub fn positive_class(classes: &[LabelledClass]) -> Option<u32> {
    let labelled = || classes.iter().filter(|of| of.label.is_some());
    let of_one = labelled().find(|of| of.label.as_deref() == Some("1"));
    u32::try_from(of_one.or_else(|| labelled().max_by_key(|of| &of.label))?.class).ok()
}

/// The labels of a file, each with the first line that has it.
pub(super) type FileLabels = BTreeMap<String, usize>;

/// The class of each label of a file, by the manifest's `declared` classes where it has any, else by name; then the classes of
/// the head that no label is. Labels that are numbers are those of `sentiments` as in SST-2's file, or of classes.
///
/// # Errors
/// Why the head's classes are not those of the file, and the cure where there is one.
pub(super) fn classes_of(
    labels: &FileLabels,
    declared: &BTreeMap<String, ClassName>,
    head: &HeadClasses<'_>,
    sentiments: bool,
) -> Result<Vec<LabelledClass>, String> {
    let mut classes = if !declared.is_empty() {
        if let Some((label, line)) = labels.iter().find(|(label, _)| !declared.contains_key(*label)) {
            return Err(format!("label `{label}` of line {line} is not among the manifest's `labels`"));
        }
        head.by_manifest(declared)?
    } else if !sentiments && numbers(labels).is_some() {
        head.by_name(labels).map_or_else(|| head.by_class_number(labels), Ok)?
    } else {
        head.by_name(labels).map_or_else(|| head.by_number(labels), Ok)?
    };
    classes.extend(head.unlabelled(&classes));
    Ok(classes)
}

/// The notice of classes that no label is, or of labels that are no classes of the head, so that its rows are not scored; `None`
/// where there are none, of a file without labels, and of a head that has no classes.
pub(super) fn left_out_notice(
    labels: &FileLabels,
    declared: &BTreeMap<String, ClassName>,
    config: &ModelConfig,
    sentiments: bool,
) -> Option<String> {
    if labels.is_empty() && declared.is_empty() {
        return None;
    }
    let classes = match classes_of(labels, declared, &HeadClasses::of(config).ok()?, sentiments) {
        Ok(classes) => classes,
        Err(reason) => return (!labels.is_empty()).then(|| format!("not scored: {reason}")),
    };
    let names = classes.iter().filter(|of| of.label.is_none()).map(|of| of.name.as_str());
    unlabelled_sentence(&names.collect::<Vec<_>>())
}

/// ``no label is `neutral`, a class of the head: an answer of it is wrong``; `None` where every class has a label.
pub fn unlabelled_sentence(names: &[&str]) -> Option<String> {
    let shown = quoted_names(names.iter().copied(), names.len());
    match names.len() {
        0 => None,
        1 => Some(format!("no label is {shown}, a class of the head: an answer of it counts as wrong")),
        _ => Some(format!("no label is {shown}, classes of the head: an answer of one of them counts as wrong")),
    }
}

/// Names for a message: `` `negative`, `neutral`, `positive` ``, or the first of many.
fn quoted_names(names: impl Iterator<Item = impl AsRef<str>>, count: usize) -> String {
    let shown: Vec<String> = names.take(SHOWN).map(|name| format!("`{}`", name.as_ref())).collect();
    let more = if count > SHOWN { format!(" and {} more", count - SHOWN) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// The classes of a head.
pub(super) struct HeadClasses<'a> {
    config: &'a ModelConfig,
    count: usize,
}

impl HeadClasses<'_> {
    /// Those of a head of which one class is right.
    ///
    /// # Errors
    /// Why no single class is the answer.
    pub fn of(config: &ModelConfig) -> Result<HeadClasses<'_>, String> {
        let head = HeadClasses::of_several(config)?;
        if let TaskHead::TokenClassifier { .. } = config.head {
            return Err("the model has classes of tokens, not of sentences".to_owned());
        }
        match config.score_function() {
            ScoreFunction::Softmax => Ok(head),
            ScoreFunction::None => {
                Err("the head's outputs are numbers, not classes (problem_type: regression)".to_owned())
            }
            ScoreFunction::Sigmoid if head.count == 1 => Err("the head has one output, which is no class".to_owned()),
            ScoreFunction::Sigmoid => {
                let why = "several labels of the head may hold at once (problem_type: multi_label_classification)";
                Err(format!("{why}, so that no single class is the answer"))
            }
        }
    }

    /// Those of any head.
    ///
    /// # Errors
    /// Why the output has no classes.
    pub fn of_several(config: &ModelConfig) -> Result<HeadClasses<'_>, String> {
        let count = match config.head {
            TaskHead::Classifier { labels } | TaskHead::TokenClassifier { labels } => labels,
            TaskHead::None | TaskHead::Spans | TaskHead::MaskedLanguageModel | TaskHead::LanguageModel { .. } => {
                let dropped =
                    config.dropped_head.as_ref().map(|class| format!(": the head of {class} is not computed"));
                return Err(format!("the model's output has no classes{}", dropped.unwrap_or_default()));
            }
        };
        Ok(HeadClasses { config, count })
    }

    fn labelled(&self, label: &str, class: usize) -> LabelledClass {
        LabelledClass { label: Some(label.to_owned()), class, name: self.config.label(class) }
    }

    /// The only class of this name.
    fn named(&self, name: &str) -> Option<usize> {
        let mut found = (0..self.count).filter(|&class| spelling(&self.config.label(class)) == spelling(name));
        found.next().filter(|_| found.next().is_none())
    }

    /// Whether no class has a name of its own.
    fn is_nameless(&self) -> bool {
        (0..self.count).all(|class| {
            let name = self.config.label(class).to_lowercase();
            [format!("label_{class}"), format!("class {class}"), class.to_string()].contains(&name)
        })
    }

    fn names(&self) -> String {
        quoted_names((0..self.count).map(|class| self.config.label(class)), self.count)
    }

    /// The classes that are no label's.
    fn unlabelled(&self, labelled: &[LabelledClass]) -> Vec<LabelledClass> {
        let left_out = (0..self.count).filter(|class| labelled.iter().all(|of| of.class != *class));
        left_out.map(|class| LabelledClass { label: None, class, name: self.config.label(class) }).collect()
    }

    /// The classes that the manifest declares, each for one label.
    fn by_manifest(&self, declared: &BTreeMap<String, ClassName>) -> Result<Vec<LabelledClass>, String> {
        let classes: Vec<LabelledClass> =
            declared.iter().map(|(label, class)| self.declared(label, class)).collect::<Result<_, _>>()?;
        for (one, (label, _)) in classes.iter().zip(declared) {
            let other =
                classes.iter().zip(declared).find(|(other, (first, _))| other.class == one.class && *first < label);
            if let Some((_, (first, _))) = other {
                let name = &one.name;
                return Err(format!(
                    "the manifest's `labels` name `{name}` as the class of `{first}` and of `{label}`"
                ));
            }
        }
        Ok(classes)
    }

    fn declared(&self, label: &str, class: &ClassName) -> Result<LabelledClass, String> {
        let (found, words) = match class {
            ClassName::Index(index) => (Some(*index).filter(|index| *index < self.count), index.to_string()),
            ClassName::Name(name) => (self.named(name), format!("`{name}`")),
        };
        let missing =
            || format!("the manifest's `labels` name class {words}, which the head lacks: it has {}", self.names());
        found.map(|class| self.labelled(label, class)).ok_or_else(missing)
    }

    /// Every label is the name of a class. Where labels are numbers, the head has no further class either.
    fn by_name(&self, labels: &FileLabels) -> Option<Vec<LabelledClass>> {
        if numbers(labels).is_some() && (self.is_nameless() || labels.len() != self.count) {
            return None;
        }
        labels.keys().map(|label| Some(self.labelled(label, self.named(label)?))).collect()
    }

    /// Labels are numbers of classes. Where the names of two classes are the sentiments and the first is positive, they may as well
    /// be those of the file's author.
    fn by_class_number(&self, labels: &FileLabels) -> Result<Vec<LabelledClass>, String> {
        if self.count == 2 && [NEGATIVE, POSITIVE].map(|sentiment| self.named(sentiment)) == [Some(1), Some(0)] {
            return Err(format!(
                "class 0 of the head is {}, and 0 mostly means negative: which of them a label of the file is, is not known. \
                 {CURE}",
                self.config.label(0)
            ));
        }
        let class = |(label, line): (&String, &usize)| {
            let class = label.parse().ok().filter(|class| *class < self.count);
            let last = self.count - 1;
            if let Some(other) = self.named(label).filter(|other| class.is_some() && class != Some(*other)) {
                return Err(format!(
                    "label {label} of line {line} is the number of one class and the name of class {other}. {CURE}"
                ));
            }
            let outside = || {
                let names = self.names();
                format!("label {label} of line {line} is no class of the head, which has 0 to {last} ({names}). {CURE}")
            };
            class.map(|class| self.labelled(label, class)).ok_or_else(outside)
        };
        labels.iter().map(class).collect()
    }

    /// Labels are numbers: those of SST-2's two sentiments, or of classes without names.
    fn by_number(&self, labels: &FileLabels) -> Result<Vec<LabelledClass>, String> {
        let Some(largest) = numbers(labels) else {
            let unknown = labels.iter().find(|(label, _)| self.named(label).is_none());
            let (label, line) = unknown.map_or(("", 0), |(label, line)| (label.as_str(), *line));
            let is_name = (0..self.count).any(|class| spelling(&self.config.label(class)) == spelling(label));
            let why = if is_name { "the name of several classes of the head" } else { "no class of the head" };
            return Err(format!("label `{label}` of line {line} is {why}, which has {}. {CURE}", self.names()));
        };
        // A file of SST-2's kind may hold one sentiment alone.
        let count = largest.saturating_add(1).max(2);
        if count != self.count {
            let classes = if self.count == 1 { "class" } else { "classes" };
            return Err(format!(
                "the head has {} {classes} ({}), the labels of the file are those of {count}. {CURE}",
                self.count,
                self.names()
            ));
        }
        let labels = (0..count).map(|label| label.to_string());
        if self.is_nameless() {
            return Ok(labels.enumerate().map(|(class, label)| self.labelled(&label, class)).collect());
        }
        match [NEGATIVE, POSITIVE].map(|sentiment| self.named(sentiment)) {
            [Some(negative), Some(positive)] if count == 2 => {
                Ok(labels.zip([negative, positive]).map(|(label, class)| self.labelled(&label, class)).collect())
            }
            _ => Err(format!(
                "the classes of the head are {}: which of them a label of the file is, is not known. {CURE}",
                self.names()
            )),
        }
    }
}

/// Classes that a message names.
const SHOWN: usize = 6;
const CURE: &str = "Say it in the manifest's input: `labels: {LABEL: CLASS}`";
const NEGATIVE: &str = "negative";
const POSITIVE: &str = "positive";

/// The largest of labels that are all class numbers.
fn numbers(labels: &FileLabels) -> Option<usize> {
    let number = |label: &String| label.parse().ok().filter(|number: &usize| number.to_string() == *label);
    let numbers: Option<Vec<usize>> = labels.keys().map(number).collect();
    numbers?.into_iter().max()
}

/// A name without case, and the two sentiments in full.
fn spelling(name: &str) -> String {
    let name = name.trim().to_lowercase().replace(['_', '-'], " ");
    match name.as_str() {
        "neg" => NEGATIVE.to_owned(),
        "pos" => POSITIVE.to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests;
