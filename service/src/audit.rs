//! `audit`: the cache against the kvstore at the same revision.

use std::fmt::Write as _;

use shared_store_actors::AuditReport;

use crate::cli::{Common, Format};
use crate::document::Document;
use crate::output::print_all;
use crate::printable::{printable, quoted};
use crate::read::joined;
use crate::setup::Failure;
use crate::value::Form;

pub(crate) async fn run<V: Form>(common: &Common) -> Result<(), Failure> {
    let store = joined::<Document<V>>(common, None).await?;
    let report = store.audit(common.list_timeout).await.map_err(Failure::promise)?;
    store.release().await?;
    let line = match common.output {
        Format::Json => format!("{{\"type\":\"audit\",\"revision\":{}{}}}\n", report.revision, members(&report)),
        Format::Text => text(&report),
    };
    print_all(|out| out.write_all(line.as_bytes()))?;
    match report.differences.len() {
        0 => Ok(()),
        count => Err(Failure::promise(format_args!("{count} keys differ between the cache and the kvstore"))),
    }
}

/// The report's members of a JSON object, each with a comma before it.
pub(crate) fn members(report: &AuditReport) -> String {
    let differences = report.differences.iter().map(|difference| {
        let (name, kind) = (quoted(difference.name.as_str()), quoted(&difference.kind.to_string()));
        format!("{{\"name\":{name},\"difference\":{kind},\"explained\":{}}}", difference.kind.is_explained())
    });
    format!(",\"keys\":{},\"differences\":[{}]", report.keys, differences.collect::<Vec<_>>().join(","))
}

fn text(report: &AuditReport) -> String {
    let (keys, revision, count) = (report.keys, report.revision, report.differences.len());
    let mut text = format!("audit: {keys} keys compared at revision {revision}, {count} differences\n");
    for difference in &report.differences {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{}: {}", printable(difference.name.as_str()), difference.kind);
    }
    text
}
