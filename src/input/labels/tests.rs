//! Labels against heads of every kind.

use super::*;
use crate::model::{Architecture, ProblemType};

fn config(names: &[&str], count: usize) -> ModelConfig {
    ModelConfig {
        head: TaskHead::Classifier { labels: count },
        label_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..ModelConfig::of(Architecture::BertTiny)
    }
}

fn file(labels: &[&str]) -> FileLabels {
    labels.iter().zip(2..).map(|(label, line)| ((*label).to_owned(), line)).collect()
}

fn matched(labels: &[&str], declared: &[(&str, ClassName)], config: &ModelConfig) -> Result<String, String> {
    let declared = declared.iter().map(|(label, class)| ((*label).to_owned(), class.clone())).collect();
    classes_of(&file(labels), &declared, &HeadClasses::of(config)?, true).map(|found| label_text(&found))
}

fn by_name(labels: &[&str], names: &[&str]) -> Result<String, String> {
    let config = config(names, names.len());
    let classes = classes_of(&file(labels), &BTreeMap::new(), &HeadClasses::of(&config)?, true)?;
    let labelled = classes.iter().filter_map(|of| Some(format!("{}={}", of.label.as_ref()?, of.class)));
    Ok(labelled.collect::<Vec<_>>().join(";"))
}

#[test]
fn sentiments_are_matched_by_name_in_either_order_and_spelling() {
    assert_eq!(by_name(&["0", "1"], &["negative", "positive"]).unwrap(), "0=0;1=1");
    assert_eq!(by_name(&["0", "1"], &["POSITIVE", "NEGATIVE"]).unwrap(), "0=1;1=0");
    assert_eq!(by_name(&["1"], &["Pos", "neg"]).unwrap(), "0=1;1=0", "one sentiment alone");
    assert_eq!(by_name(&["0", "1"], &["LABEL_0", "LABEL_1"]).unwrap(), "0=0;1=1");
    assert_eq!(by_name(&["0", "1"], &["1", "0"]).unwrap(), "0=1;1=0");
    assert_eq!(matched(&["0", "1"], &[], &config(&[], 2)).unwrap(), "0=class 0;1=class 1");
    assert_eq!(by_name(&["0", "1", "2"], &["LABEL_0", "LABEL_1", "LABEL_2"]).unwrap(), "0=0;1=1;2=2");
}

#[test]
fn numbers_of_examples_are_those_of_classes_where_nothing_speaks_against_it() {
    let of = |labels: &[&str], names: &[&str]| {
        let config = config(names, names.len());
        let classes = classes_of(&file(labels), &BTreeMap::new(), &HeadClasses::of(&config)?, false)?;
        let labelled = classes.iter().filter_map(|of| Some(format!("{}={}", of.label.as_ref()?, of.class)));
        Ok::<_, String>(labelled.collect::<Vec<_>>().join(";"))
    };
    let nli = ["entailment", "neutral", "contradiction"];
    assert_eq!(of(&["0", "2"], &nli).unwrap(), "0=0;2=2");
    assert_eq!(of(&["neutral"], &nli).unwrap(), "neutral=1");
    assert_eq!(of(&["1"], &["LABEL_0", "LABEL_1", "LABEL_2"]).unwrap(), "1=1");
    assert_eq!(of(&["0", "1"], &["negative", "positive"]).unwrap(), "0=0;1=1");
    assert_eq!(of(&["0", "1"], &["1", "0"]).unwrap(), "0=1;1=0", "numbers that are names");
    let refused = |labels: &[&str], names: &[&str]| of(labels, names).unwrap_err();
    assert!(refused(&["1", "3"], &nli).contains("label 3 of line 3 is no class of the head, which has 0 to 2"));
    assert!(refused(&["0", "1"], &["positive", "negative"]).contains("0 mostly means negative"));
    assert!(
        refused(&["1", "2"], &["1", "2", "3"]).contains("label 1 of line 2 is the number of one class and the name")
    );
}

#[test]
fn names_in_the_file_are_those_of_the_head() {
    let stars = ["1 star", "2 stars", "3 stars"];
    assert_eq!(by_name(&["3 Stars", "1 star"], &stars).unwrap(), "1 star=0;3 Stars=2");
    let found = by_name(&["negative", "neg"], &["positive", "negative", "neutral"]).unwrap();
    assert_eq!(found, "neg=1;negative=1");
    assert_eq!(by_name(&["label_1"], &["LABEL_0", "LABEL_1"]).unwrap(), "label_1=1");
    let refused = by_name(&["negative", "mixed"], &["positive", "negative", "neutral"]).unwrap_err();
    assert!(refused.starts_with("label `mixed` of line 3 is no class of the head"), "{refused}");
    let twins = by_name(&["positive"], &["Positive", "positive"]).unwrap_err();
    assert!(twins.starts_with("label `positive` of line 2 is the name of several classes of the head"), "{twins}");
}

#[test]
fn the_positive_class_is_that_of_a_label_and_not_of_an_order() {
    let of = |pairs: &[(&str, usize)]| {
        let class = |&(label, class): &(&str, usize)| LabelledClass {
            label: (!label.is_empty()).then(|| label.to_owned()),
            class,
            name: String::new(),
        };
        positive_class(&pairs.iter().map(class).collect::<Vec<_>>())
    };
    assert_eq!((of(&[("0", 0), ("1", 1)]), of(&[("0", 1), ("1", 0)])), (Some(1), Some(0)));
    assert_eq!((of(&[("no", 0), ("yes", 1)]), of(&[("yes", 0), ("no", 1)])), (Some(1), Some(0)));
    assert_eq!((of(&[("1", 0), ("2", 1)]), of(&[("0", 1), ("", 0)]), of(&[])), (Some(0), Some(1), None));
}

#[test]
fn classes_that_are_not_those_of_the_file_are_refused() {
    let refused = |labels: &[&str], names: &[&str]| by_name(labels, names).unwrap_err();
    let three = refused(&["0", "1"], &["positive", "negative", "neutral"]);
    assert!(three.contains("the head has 3 classes") && three.contains("those of 2"), "{three}");
    let two = refused(&["0", "1", "2"], &["negative", "positive"]);
    assert!(two.contains("the head has 2 classes") && two.contains("those of 3"), "{two}");
    for names in [["unacceptable", "acceptable"], ["LABEL_1", "LABEL_0"], ["negative", "neg"]] {
        let open = refused(&["0", "1"], &names);
        assert!(open.contains("is not known. Say it in the manifest's input"), "{open}");
    }
    let one = matched(&["0", "1"], &[], &config(&["LABEL_0"], 1)).unwrap_err();
    assert_eq!(one, "the head has one output, which is no class");
    let of = |problem| ModelConfig { problem_type: Some(problem), ..config(&[], 2) };
    let number = matched(&["0", "1"], &[], &of(ProblemType::Regression)).unwrap_err();
    assert!(number.contains("problem_type: regression"), "{number}");
    let several = matched(&["0", "1"], &[], &of(ProblemType::MultiLabelClassification)).unwrap_err();
    assert!(several.contains("multi_label_classification"), "{several}");
    let trunk =
        ModelConfig { dropped_head: Some("BertForMaskedLM".to_owned()), ..ModelConfig::of(Architecture::BertTiny) };
    let none = matched(&["0", "1"], &[], &trunk).unwrap_err();
    assert_eq!(none, "the model's output has no classes: the head of BertForMaskedLM is not computed");
}

#[test]
fn the_manifest_says_which_class_a_label_is() {
    let name = |name: &str| ClassName::Name(name.to_owned());
    let cola = config(&["unacceptable", "acceptable"], 2);
    let declared = [("0", name("Acceptable")), ("1", ClassName::Index(0))];
    assert_eq!(matched(&["0", "1"], &declared, &cola).unwrap(), "0=acceptable;1=unacceptable");
    let error = matched(&["0", "2"], &declared, &cola).unwrap_err();
    assert_eq!(error, "label `2` of line 3 is not among the manifest's `labels`");
    for wrong in [name("fine"), ClassName::Index(2)] {
        let error = matched(&["0"], &[("0", wrong)], &cola).unwrap_err();
        assert!(error.contains("which the head lacks: it has `unacceptable`, `acceptable`"), "{error}");
    }
    let twice = [("0", name("acceptable")), ("1", ClassName::Index(1))];
    let error = matched(&["0", "1"], &twice, &cola).unwrap_err();
    assert_eq!(error, "the manifest's `labels` name `acceptable` as the class of `0` and of `1`");
    let odd = matched(&["a;b"], &[("a;b", ClassName::Index(0))], &config(&["x=y", "z"], 2)).unwrap();
    assert_eq!(odd, "a\\;b=x\\=y;=z");
    let pair = |label: &str, class: &str| (label.to_owned(), class.to_owned());
    assert_eq!(labels_of_text(&odd), [pair("a;b", "x=y"), pair("", "z")]);
}

#[test]
fn classes_that_no_label_is_are_in_the_mapping_and_in_a_sentence() {
    let names = ["negative", "neutral", "positive", "mixed"];
    let declared = [("0", ClassName::Index(0)), ("1", ClassName::Name("positive".to_owned()))];
    let found = matched(&["0", "1"], &declared, &config(&names, 4)).unwrap();
    assert_eq!(found, "0=negative;1=positive;=neutral;=mixed");
    let declared = declared.map(|(label, class)| (label.to_owned(), class)).into();
    let notice = |names: &[&str]| left_out_notice(&FileLabels::new(), &declared, &config(names, names.len()), true);
    assert_eq!(
        notice(&names).unwrap(),
        "no label is `neutral`, `mixed`, classes of the head: an answer of one of them counts as wrong"
    );
    let three = notice(&names[..3]).unwrap();
    assert_eq!(three, "no label is `neutral`, a class of the head: an answer of it counts as wrong");
    assert_eq!(notice(&["negative", "positive"]), None);
    let of_file =
        |labels: &[&str]| left_out_notice(&file(labels), &BTreeMap::new(), &config(&["LABEL_0", "LABEL_1"], 2), false);
    let unscored = of_file(&["good", "bad"]).unwrap();
    assert!(unscored.starts_with("not scored: label `bad` of line 3 is no class of the head"), "{unscored}");
    assert_eq!((of_file(&["0", "1"]), of_file(&[])), (None, None));
    let found = matched(&["negative", "mixed"], &[], &config(&names, 4)).unwrap();
    assert_eq!(found, "mixed=mixed;negative=negative;=neutral;=positive", "without the manifest, too");
}

#[test]
fn numbers_of_labels_have_no_limit_but_the_heads() {
    let labels: Vec<String> = (0..300).map(|class| class.to_string()).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    assert!(matched(&labels, &[], &config(&[], 300)).unwrap().ends_with(";299=class 299"));
    let few = matched(&labels, &[], &config(&["a", "b"], 2)).unwrap_err();
    assert!(few.starts_with("the head has 2 classes (`a`, `b`), the labels of the file are those of 300."), "{few}");
}
