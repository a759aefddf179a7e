//! Outputs by input: a row per model, backend and policy, so that what random ids hide stands beside what text shows.

use crate::analysis::facts::{any_fails, smallest_cosine};
use crate::numbers;
use crate::report::sentences::failures;
use crate::report::table::{Heading, Note, Table, TableCell};
use crate::results::data::{Data, distinct, series};
use crate::store::schema::ResultRow;

const SLUG: &str = "outputs";

/// A row per model, backend and policy; before it, where these are several of a policy, a table of the policies alone. None where
/// fewer than two inputs were examined over several passes.
pub fn by_input(data: &Data) -> Vec<Table> {
    let examined: Vec<&ResultRow> = data.measured().filter(|row| row.forwards > Some(1)).collect();
    let inputs = distinct(examined.iter().map(|row| row.input.as_str()));
    if inputs.len() < 2 {
        return Vec::new();
    }
    let outputs = ExaminedOutputs { data, examined, inputs };
    let policies = distinct(outputs.examined.iter().map(|row| row.precision.as_str()));
    let each = distinct(outputs.examined.iter().map(|row| (row.model.as_str(), series(row))));
    let mut tables = Vec::new();
    if policies.len() < each.len() {
        let caption =
            "Smallest cosine to FP32 and failed passes among all examined ones, over all models and backends.";
        let mut table = outputs.table("outputs-policies", caption, &["Precision"]);
        for policy in policies {
            outputs.push(&mut table, vec![policy.into()], &|row| row.precision == policy);
        }
        tables.push(table);
    }
    let caption = "Smallest cosine to FP32 and failed passes among all examined ones, input by input.";
    let mut table = outputs.table(SLUG, caption, &["Model", "Backend", "Precision"]);
    for (model, wanted) in each {
        let names = vec![model.into(), wanted.builder().into(), TableCell::new(&wanted.precision)];
        outputs.push(&mut table, names, &|row| row.model == model && series(row) == wanted);
    }
    tables.push(table.rule_between_groups(2));
    tables
}

/// The examined rows and their inputs.
struct ExaminedOutputs<'a> {
    data: &'a Data,
    examined: Vec<&'a ResultRow>,
    inputs: Vec<&'a str>,
}

impl ExaminedOutputs<'_> {
    /// Two columns for each input behind those that name a row.
    fn table(&self, slug: &str, caption: &str, names: &[&str]) -> Table {
        let of_input = |input: &&str| ["smallest cosine", "failed"].map(|text| Heading::number(text).under(input));
        let names = names.iter().map(|name| Heading::text(name));
        let headings = names.chain(self.inputs.iter().flat_map(of_input)).collect();
        let mut table = Table::new(slug, caption, headings);
        let text = failures::definition(self.data.plan.numerics);
        table.notes.push(Note { mark: String::new(), text });
        table.with_spans()
    }

    /// A row over the rows that are wanted.
    fn push(&self, table: &mut Table, mut cells: Vec<TableCell>, wanted: &dyn Fn(&ResultRow) -> bool) {
        let rows = || self.examined.iter().copied().filter(|row| wanted(row));
        for input in &self.inputs {
            let of_input: Vec<&ResultRow> = rows().filter(|row| row.input == *input).collect();
            let traced = |cell: TableCell| cell.of(of_input.iter().copied());
            cells.extend(of(&of_input).map(traced));
        }
        table.push_of(cells, rows());
    }
}

/// The cells of one input; dashes where nothing was compared.
fn of(rows: &[&ResultRow]) -> [TableCell; 2] {
    let cosines: Option<Vec<f64>> = rows.iter().map(|row| smallest_cosine(row)).collect();
    let smallest = cosines.and_then(|cosines| cosines.into_iter().reduce(f64::min));
    let counts: Option<Vec<(u64, u64)>> = rows.iter().map(|row| row.failed_forwards.zip(row.forwards)).collect();
    let counts = counts.and_then(|counts| counts.into_iter().reduce(|(a, b), (c, d)| (a + c, b + d)));
    let failed = counts.map(|(failed, all)| format!("{}/{}", numbers::count(failed), numbers::count(all)));
    [
        TableCell::optional(smallest.map(numbers::cosine)),
        TableCell::optional(failed).failing_if(any_fails(rows.iter().copied())),
    ]
}
