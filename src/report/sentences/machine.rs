//! Processors of a machine in words.

use std::collections::BTreeSet;

use crate::numbers;
use crate::provenance::Environment;

/// `Intel Xeon (x86_64), 2 cores, 2 threads usable`
pub fn processor(environment: &Environment) -> String {
    let usable = environment.machine.cpu.usable_cpus.map(|n| format!("{} usable", numbers::plural(n, "thread")));
    [Some(processor_model(environment)), usable].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `Intel Xeon (x86_64), 2 cores`
pub fn processor_model(environment: &Environment) -> String {
    let cpu = &environment.machine.cpu;
    let mut parts = vec![match &cpu.model {
        Some(model) => format!("{model} ({})", cpu.architecture),
        None => cpu.architecture.clone(),
    }];
    let core = if environment.machine.virtual_machine == Some(true) { "virtual core" } else { "core" };
    parts.extend(cpu.physical_cores.map(|n| numbers::plural(n, core)));
    parts.join(", ")
}

/// Each processor once, with all the numbers of threads that runs were bound to.
pub fn processors<'a>(environments: impl Iterator<Item = &'a Environment>) -> String {
    let mut found: Vec<(String, BTreeSet<usize>)> = Vec::new();
    for environment in environments {
        let (model, usable) = (processor_model(environment), environment.machine.cpu.usable_cpus);
        match found.iter_mut().find(|(known, _)| *known == model) {
            Some((_, all)) => all.extend(usable),
            None => found.push((model, usable.into_iter().collect())),
        }
    }
    let one = |(model, usable): &(String, BTreeSet<usize>)| match Vec::from_iter(usable.iter().copied()).as_slice() {
        [] => model.clone(),
        [one] => format!("{model}, {} usable", numbers::plural(*one, "thread")),
        several => {
            let several: Vec<String> = several.iter().map(usize::to_string).collect();
            format!("{model}, {} threads usable", several.join(" or "))
        }
    };
    found.iter().map(one).collect::<Vec<_>>().join("; ")
}
