//! Outputs by input: a row per model, backend and policy, so that what random ids hide stands beside what text shows.

use crate::analysis::facts::{any_fails, smallest_cosine};
use crate::numbers;
use crate::report::sentences::failures;
use crate::report::table::{Heading, Note, Table, TableCell};
use crate::results::data::{Data, distinct, series};
use crate::store::schema::ResultRow;

const SLUG: &str = "outputs";

/// `None` where fewer than two inputs were examined over several passes.
pub fn by_input(data: &Data) -> Option<Table> {
    let examined: Vec<&ResultRow> = data.measured().filter(|row| row.forwards > Some(1)).collect();
    let inputs = distinct(examined.iter().map(|row| row.input.as_str()));
    if inputs.len() < 2 {
        return None;
    }
    let caption = "Smallest cosine to FP32 and failed passes among all examined ones, input by input.";
    let names = ["Model", "Backend", "Precision"].map(Heading::text);
    let of_input = |input: &&str| ["smallest cosine", "failed"].map(|text| Heading::number(text).under(input));
    let headings = names.into_iter().chain(inputs.iter().flat_map(of_input)).collect();
    let mut table = Table::new(SLUG, caption, headings);
    for (model, wanted) in distinct(examined.iter().map(|row| (row.model.as_str(), series(row)))) {
        let rows = || examined.iter().copied().filter(|row| row.model == model && series(row) == wanted);
        let mut cells = vec![model.into(), wanted.builder().into(), TableCell::new(&wanted.precision)];
        for input in &inputs {
            let of_input: Vec<&ResultRow> = rows().filter(|row| row.input == *input).collect();
            let traced = |cell: TableCell| cell.of(of_input.iter().copied());
            cells.extend(of(&of_input).map(traced));
        }
        table.push_of(cells, rows());
    }
    let text = failures::definition(data.plan.numerics);
    table.notes.push(Note { mark: String::new(), text });
    Some(table.with_spans().rule_between_groups(2))
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
