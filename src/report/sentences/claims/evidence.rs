//! Which rows answered a claim, in words.

use crate::claims::evidence::Evidence;
use crate::numbers;

impl Evidence {
    /// What sets the rows apart from a trained model on hardware that has the format: `emulated on the CPU`,
    /// `random weights`.
    pub fn limits(&self) -> Vec<&'static str> {
        self.emulation().into_iter().chain((!self.random_models.is_empty()).then_some("random weights")).collect()
    }

    /// Whether all or some of the rows emulate their formats; `None` where none does.
    pub fn emulation(&self) -> Option<&'static str> {
        match (self.emulated, self.native) {
            (true, false) => Some("emulated on the CPU"),
            (true, true) => Some("partly emulated on the CPU"),
            (false, _) => None,
        }
    }

    /// `Answered by models bert-base, gpt2 (random weights) on input random.`
    pub fn sentence(&self) -> String {
        let all_random = self.random_models.len() == self.models.len();
        let name = |model: &String| match self.random_models.contains(model) {
            true if !all_random => format!("{model} (random weights)"),
            _ => model.clone(),
        };
        let models = self.models.iter().map(name).collect::<Vec<_>>().join(", ");
        let names = self.unrecorded_inputs.join(", ");
        let unrecorded = match self.unrecorded_inputs.len() {
            0 => String::new(),
            1 => format!(" That {names} is the file in question rests on its name: no digest of it is recorded."),
            _ => format!(
                " That {names} are the files in question rests on their names: no digests of them are recorded."
            ),
        };
        format!(
            "Answered by {} {models}{} on {} {}.{unrecorded}",
            numbers::noun(self.models.len(), "model"),
            match (all_random, self.models.len()) {
                (true, 1) => " (random weights)",
                (true, _) => " (all with random weights)",
                (false, _) => "",
            },
            numbers::noun(self.inputs.len(), "input"),
            self.inputs.join(", ")
        )
    }

    /// `bert-base, gpt2; input random`; empty for no rows.
    pub fn labels(&self) -> String {
        if self.models.is_empty() {
            return String::new();
        }
        let inputs = numbers::noun(self.inputs.len(), "input");
        format!("{}; {inputs} {}", self.models.join(", "), self.inputs.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_limits_the_rows_is_named_with_the_models() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
        let mixed = Evidence {
            models: names(&["bert-base", "gpt2"]),
            random_models: names(&["gpt2"]),
            inputs: names(&["random"]),
            unrecorded_inputs: vec![],
            emulated: true,
            native: true,
        };
        assert_eq!(mixed.sentence(), "Answered by models bert-base, gpt2 (random weights) on input random.");
        assert_eq!(mixed.labels(), "bert-base, gpt2; input random");
        assert_eq!(mixed.limits(), ["partly emulated on the CPU", "random weights"]);
        let random = Evidence { random_models: mixed.models.clone(), native: false, ..mixed };
        assert_eq!(random.sentence(), "Answered by models bert-base, gpt2 (all with random weights) on input random.");
        assert_eq!(random.limits(), ["emulated on the CPU", "random weights"]);
        assert_eq!(Evidence::default().labels(), "");
    }
}
