//! `audit`: the cache against the kvstore at the same revision.

use std::fmt::Write as _;

use shared_store::{AuditReport, Difference, DifferenceKind};

use crate::cli::{Common, Format};
use crate::document::Document;
use crate::output::print_all;
use crate::printable::{counted, counted_are, printable};
use crate::read::joined;
use crate::record::{self, Audit, Record, json};
use crate::setup::{self, Failure};
use crate::value::Form;

pub(crate) async fn run<V: Form>(common: &Common) -> Result<(), Failure> {
    let store = joined::<Document<V>>(common).await?;
    let report = store.audit(common.list_timeout).await.map_err(Failure::promise)?;
    store.release().await?;
    let line = match common.output {
        Format::Json => {
            let record = Record::Audit { revision: report.revision.0, report: record(&report) };
            format!("{}\n", json(&record))
        }
        Format::Text => text(&report),
    };
    print_all(|out| out.write_all(line.as_bytes()))?;
    notes::<V>(&report).iter().for_each(setup::say);
    verdict(&report)
}

/// Only a difference that nothing explains is a failure.
fn verdict(report: &AuditReport) -> Result<(), Failure> {
    match report.unexplained().count() {
        0 => Ok(()),
        count => Err(Failure::promise(format_args!(
            "the cache and the kvstore differ in {}, and nothing explains it: run the audit again, and report a bug with \
             its output under --log debug if keys differ again",
            counted(count, "key")
        ))),
    }
}

/// What is no difference, and good to know.
fn notes<V: Form>(report: &AuditReport) -> Vec<String> {
    let mut notes = Vec::new();
    let explained = report.differences.iter().filter(|difference| difference.kind.is_explained());
    let (undecodable, others): (Vec<_>, Vec<_>) =
        explained.partition(|difference| matches!(difference.kind, DifferenceKind::Undecodable { .. }));
    if !undecodable.is_empty() {
        let (count, form) = (counted(undecodable.len(), "key"), V::NAME);
        notes.push(format!("note: the value of {count} is not {form}: see list --undecodable"));
    }
    if report.ignored > 0 {
        notes.push(format!("note: {} ignored whose name is empty or not UTF-8", counted_are(report.ignored, "key")));
    }
    let note = |other: &&Difference| format!("note: {}: {}", printable(other.name.as_str()), other.kind);
    notes.extend(others.iter().map(note));
    notes
}

/// The report in JSON output.
pub(crate) fn record(report: &AuditReport) -> Audit {
    let differences = report.differences.iter().map(|difference| record::Difference {
        name: difference.name.to_string(),
        difference: difference.kind.to_string(),
        explained: difference.kind.is_explained(),
    });
    Audit { keys: report.keys, ignored: report.ignored, differences: differences.collect() }
}

fn text(report: &AuditReport) -> String {
    let (keys, revision) = (counted(report.keys, "key"), report.revision);
    let count = counted(report.unexplained().count(), "difference");
    let mut text = format!("audit: {keys} compared at revision {revision}, {count}\n");
    for difference in report.unexplained() {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{}: {}", printable(difference.name.as_str()), difference.kind);
    }
    text
}

#[cfg(test)]
mod tests {
    use shared_store::{KeyName, Revision};

    use super::*;
    use crate::value::Text;

    const REVISION: Revision = Revision(7);

    fn report(kinds: &[DifferenceKind]) -> AuditReport {
        let difference = |kind: &DifferenceKind| Difference { name: KeyName::new("a").unwrap(), kind: *kind };
        AuditReport { revision: REVISION, keys: 3, ignored: 2, differences: kinds.iter().map(difference).collect() }
    }

    #[test]
    fn what_is_explained_is_a_note_and_no_failure() {
        let explained = report(&[
            DifferenceKind::Undecodable { kvstore: REVISION },
            DifferenceKind::BeingRepaired,
            DifferenceKind::HeldBack,
        ]);
        assert!(verdict(&explained).is_ok());
        assert_eq!(text(&explained), "audit: 3 keys compared at revision 7, 0 differences\n");
        assert_eq!(
            notes::<Text>(&explained),
            [
                "note: the value of 1 key is not text: see list --undecodable",
                "note: 2 keys are ignored whose name is empty or not UTF-8",
                "note: a: being repaired: an own key that somebody deleted",
                "note: a: held back: its deletion waits for the delay",
            ]
        );
    }

    #[test]
    fn a_difference_that_nothing_explains_is_printed_and_a_failure() {
        let missing = DifferenceKind::Missing { kvstore: REVISION };
        let report = report(&[missing, DifferenceKind::Undecodable { kvstore: REVISION }]);
        let failure = verdict(&report).unwrap_err();
        assert_eq!(failure.code(), 1);
        assert!(failure.to_string().starts_with("the cache and the kvstore differ in 1 key,"), "{failure}");
        assert_eq!(
            text(&report),
            "audit: 3 keys compared at revision 7, 1 difference\na: missing: the kvstore has it since revision 7\n"
        );
    }
}
