//! Every machine of merged results, and what each says of the claims.

use crate::numbers;
use crate::record::Status;
use crate::report::sentences::claims::WordedVerdict;
use crate::report::sentences::machine::processor;
use crate::report::table::{Heading, Table, TableCell};
use crate::results::data::distinct;
use crate::results::machines::Machine;

/// A row per machine.
pub fn machines(machines: &[Machine]) -> Table {
    let headings = vec![
        Heading::number("Machine"),
        Heading::sentences("GPUs", 4),
        Heading::sentences("Driver", 2),
        Heading::sentences("Processor", 5),
        Heading::number("Measured"),
        Heading::number("Failed"),
        Heading::sentences("Environments", 3),
    ];
    let mut table = Table::new("machines", "Machines whose results are joined here.", headings);
    for (index, machine) in machines.iter().enumerate() {
        let data = &machine.data;
        let or_none = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        table.push(vec![
            (index + 1).to_string().into(),
            or_none(machine.gpus()).into(),
            TableCell::optional(Some(machine.drivers().join(", ")).filter(|text| !text.is_empty())),
            distinct(data.environments.values().map(processor)).join("; ").into(),
            numbers::count(data.count(Status::Ok) as u64).into(),
            numbers::count(data.count(Status::Failed) as u64).into(),
            data.environments.keys().cloned().collect::<Vec<_>>().join(", ").into(),
        ]);
    }
    table
}

/// A row per claim, second reading and finding, a column per machine.
pub fn claims(machines: &[Machine], verdicts: &[WordedVerdict]) -> Table {
    let mut headings = vec![Heading::text("Claim"), Heading::text("Paper")];
    headings.extend(machines.iter().map(|machine| Heading::sentences(&machine.label, 4)));
    let mut table = Table::new("claims-machines", "Verdicts by machine: each judged by its own rows.", headings);
    for verdict in verdicts.iter().flat_map(WordedVerdict::readings) {
        let mut cells: Vec<TableCell> =
            vec![verdict.id.as_str().into(), TableCell::optional(verdict.paper_value.clone())];
        cells.extend(verdict.machines.iter().map(|one| TableCell::new(one.summary())));
        table.push(cells);
    }
    table
}
