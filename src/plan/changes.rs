//! Which settings of a manifest made configurations of its former plan others: their rows are of other ids, so a run measures
//! them again.

use std::collections::BTreeMap;

use super::{Configuration, ConfigurationId, Plan};
use crate::input::InputSource;

impl Plan {
    /// The settings that differ from those of an earlier plan, like `labels of sst2`, and the numbers of configurations that
    /// were measured under the former ones and are not measured under the present ones.
    pub fn changed_settings(
        &self,
        before: &Plan,
        is_measured: impl Fn(&ConfigurationId) -> bool,
    ) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for now in self.configurations.iter().filter(|now| !is_measured(&now.id)) {
            let same_cell = |before: &&Configuration| before.cell() == now.cell() && is_measured(&before.id);
            let former = before.configurations.iter().find(same_cell);
            for setting in former.into_iter().flat_map(|former| now.settings_unlike(former)) {
                *counts.entry(setting).or_default() += 1;
            }
        }
        counts
    }
}

impl Configuration {
    /// The settings in which it differs from a configuration of the same names.
    fn settings_unlike(&self, other: &Configuration) -> Vec<String> {
        let settings = [
            (self.model_source != other.model_source, format!("source of {}", self.model)),
            (self.head != other.head, format!("head of {}", self.model)),
            (self.policy != other.policy, format!("policy {}", self.policy.name)),
            (self.input_source.labels() != other.input_source.labels(), format!("labels of {}", self.input)),
            (
                without_labels(&self.input_source) != without_labels(&other.input_source),
                format!("source of {}", self.input),
            ),
        ];
        settings.into_iter().filter(|(differs, _)| *differs).map(|(_, setting)| setting).collect()
    }
}

fn without_labels(source: &InputSource) -> InputSource {
    let mut source = source.clone();
    if let InputSource::Sst2 { labels, .. } | InputSource::Examples { labels, .. } = &mut source {
        labels.clear();
    }
    source
}
