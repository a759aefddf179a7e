//! The machines and builds the rows come from.

use std::collections::BTreeSet;

use crate::analysis::facts::engine_library;
use crate::numbers;
use crate::provenance::{Environment, Gpu};
use crate::report::sentences::pins;
use crate::report::table::{Heading, Table, TableCell};
use crate::results::data::{Data, distinct};

/// A table per environment.
pub fn environments(data: &Data) -> Vec<Table> {
    if data.environments.is_empty() {
        let why = "The run has stored no environment.";
        return vec![Table::empty("environment", "Environment.", why)];
    }
    data.environments.iter().map(|(id, environment)| table(data, id, environment)).collect()
}

fn table(data: &Data, id: &str, environment: &Environment) -> Table {
    let rows = data.rows.iter().filter(|row| row.environment.as_deref() == Some(id));
    let caption = format!("Environment {id}: {}.", numbers::plural(rows.clone().count(), "configuration"));
    let headings = vec![Heading::text("Property"), Heading::sentences("Value", 11)];
    let mut table = Table::new(format!("environment-{}", crate::results::data::slug(id)), caption, headings);
    let libraries = distinct(rows.clone().filter_map(engine_library));
    let mut add = |property: &str, value: Option<String>| {
        table.push(vec![property.into(), TableCell::optional(value.filter(|text| !text.is_empty()))]);
    };
    add("Program", Some(environment.build.summary()));
    add("Compiler", environment.build.rustc.clone());
    add("Engines", Some(libraries.join("; ")));
    add("Processor", Some(processor(environment)));
    add("Processor features", Some(environment.machine.cpu.features.join(" ")));
    add("Frequency governor", environment.machine.cpu.governor.clone());
    add("Memory", environment.machine.memory_bytes.map(gibibytes));
    add("GPUs", Some(gpus(&environment.gpus)));
    add("System", Some(system(environment)));
    add("Pins", pins::all(rows));
    let libraries = environment.libraries.iter().map(|library| library.file.clone()).collect::<Vec<_>>();
    add("Libraries loaded at the start", Some(libraries.join(", ")));
    let variables = environment.variables.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    add("Variables", Some(variables.join(", ")));
    table
}

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

/// Bytes in GiB.
pub fn gibibytes(bytes: u64) -> String {
    format!("{} GiB", numbers::fixed(bytes as f64 / (1_u64 << 30) as f64, 1))
}

fn gpus(gpus: &[Gpu]) -> String {
    if gpus.is_empty() {
        return "none".to_owned();
    }
    gpus.iter().map(Gpu::describe).collect::<Vec<_>>().join("; ")
}

fn system(environment: &Environment) -> String {
    let machine = &environment.machine;
    let mut parts = vec![machine.os.clone()];
    parts.extend(machine.kernel.as_ref().map(|kernel| format!("kernel {kernel}")));
    parts.extend(machine.libc.clone());
    parts.extend(machine.container.as_ref().map(|container| format!("in a container ({container})")));
    if machine.virtual_machine == Some(true) {
        parts.push("virtual machine".to_owned());
    }
    parts.join(", ")
}
