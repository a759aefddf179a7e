//! Other engines timed beside mixprec, a row for each model, shape and peer.

use crate::numbers;
use crate::report::sentences::peers::setting;
use crate::report::table::{Heading, Table, TableCell};
use crate::results::peers::PeerRow;

const CAPTION: &str = "Median time of a forward pass in mixprec's engine and in other engines, by turns, and their ratio with its \
                       95 % interval: above 1 mixprec is faster.";

/// The table of these rows.
pub fn peers(rows: &[PeerRow]) -> Table {
    let headings = vec![
        Heading::text("Model"),
        Heading::number("Shape"),
        Heading::text("Peer"),
        Heading::number("mixprec, ms"),
        Heading::number("peer, ms"),
        Heading::interval("peer over mixprec"),
    ];
    let mut table = Table::new("peers", CAPTION, headings);
    for row in rows {
        let (ratio, detail) = numbers::with_interval(row.ratio, Some(row.interval), 3);
        table.push(vec![
            (&row.model).into(),
            row.shape_label().into(),
            (&row.peer).into(),
            numbers::significant(row.mixprec_ms, 3).into(),
            numbers::significant(row.peer_ms, 3).into(),
            TableCell { detail, ..TableCell::new(ratio) },
        ]);
    }
    table.pins = Some(setting(rows));
    Table { in_appendix: true, ..table.rule_between_groups(1) }
}
