//! Rows as Postgres's COPY reads them.

use crate::world::{Group, Row, Stamp, written};

pub(super) fn tag(row: &Row) -> String {
    format!("{:08}", row.tag)
}

/// A row as a line of COPY's text form.
pub(super) fn copied(group: &Group, row: &Row) -> String {
    let null = || "\\N".to_owned();
    let text = |value: Option<String>| value.unwrap_or_else(null);
    let stamp = |stamp: Stamp| match stamp {
        Stamp::Null => null(),
        Stamp::At(at) => written(at),
        Stamp::MinusInfinity => "-infinity".to_owned(),
        Stamp::Infinity => "infinity".to_owned(),
    };
    let fields = [
        tag(row),
        text(row.user.map(|user| group.user(user))),
        text(row.item.map(|item| group.item(item).to_string())),
        stamp(row.event),
        stamp(row.created),
        // Ids are a group's own.
        text(row.id.map(|id| (group.number * 8 + usize::from(id)).to_string())),
        text(row.leg.map(|leg| leg.to_string())),
        text(row.deleted.map(|deleted| deleted.to_string())),
        text(row.x.map(|x| x.to_string())),
        text(row.y.map(|y| y.to_string())),
        text(row.n.map(|n| n.to_string())),
        text(row.s.map(str::to_owned)),
        text(row.b.map(|b| b.to_string())),
        stamp(row.w),
    ];
    fields.join("\t") + "\n"
}
