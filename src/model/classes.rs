//! The classes of a classifier, as config.json names them.

use std::collections::BTreeMap;

use super::config::MAX_SIZE;
use super::keys::{ConfigKeys, quoted};

/// Names of the classes by index: those of `id2label`, or `LABEL_0` and so on for `num_labels`, which is 2 unless said.
pub(super) fn class_names(keys: &ConfigKeys) -> Result<Vec<String>, String> {
    let given = keys.get("num_labels").map(|_| keys.size(&["num_labels"], 2, MAX_SIZE)).transpose()?;
    let Some(value) = keys.get("id2label") else {
        return Ok((0..given.unwrap_or(2)).map(|class| format!("LABEL_{class}")).collect());
    };
    let entries = value.as_object().filter(|entries| !entries.is_empty());
    let Some(entries) = entries else {
        return Err(format!("id2label is {}; write {{\"0\": \"name\", …}}, a name for every class", quoted(value)));
    };
    let by_class = entries.iter().map(|(class, name)| {
        let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
        class
            .parse()
            .map(|class: usize| (class, name))
            .map_err(|_| format!("id2label has the key `{class}`; number the classes from 0"))
    });
    let by_class: BTreeMap<usize, String> = by_class.collect::<Result<_, _>>()?;
    let count = by_class.len();
    if !by_class.keys().copied().eq(0..count) {
        return Err(format!("id2label names {count} classes; number them from 0 to {}", count - 1));
    }
    match given.filter(|given| *given != count) {
        Some(given) => Err(format!("num_labels is {given} and id2label names {count} classes; correct one of the two")),
        None => Ok(by_class.into_values().collect()),
    }
}
