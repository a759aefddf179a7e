//! The machines and builds the rows come from.

use crate::analysis::facts::engine_library;
use crate::numbers;
use crate::provenance::{Environment, Gpu};
use crate::report::sentences::machine::processor;
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
    add("Memory", environment.machine.memory_bytes.map(numbers::gibibytes));
    add("GPUs", Some(gpus(&environment.gpus)));
    add("System", Some(system(environment)));
    add("Pins", pins::all(rows));
    let libraries = environment.libraries.iter().map(|library| library.file.clone()).collect::<Vec<_>>();
    add("Libraries loaded at the start", Some(libraries.join(", ")));
    let variables = environment.variables.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    add("Variables", Some(variables.join(", ")));
    table
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
