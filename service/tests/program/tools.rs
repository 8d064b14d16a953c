//! What an operator does to keys: compare, save, restore and delete them.

use serde_json::json;
use shared_store_support::{EtcdServer, Version};

use super::inspect::{ask, grant, objects, stdout};
use super::running::{run, stderr};

#[test]
fn diff_tells_what_is_below_one_prefix_and_not_below_the_other() {
    let server = EtcdServer::start(Version::V34);
    for (path, value) in [("p/a", "1"), ("q/a", "1"), ("p/b", "2"), ("q/c", "x"), ("p/d", "4"), ("q/d", "5")] {
        server.etcdctl(&["put", path, value]);
    }
    let output = run(&["--endpoints", &server.endpoint(), "diff", "p", "q"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("p and q differ in 3 keys"), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = "- b = 2 (revision 4)\n\
                    + c = (1 byte, not JSON: expected value at line 1 column 1) (revision 5)\n\
                    - d = 4 (revision 6)\n+ d = 5 (revision 7)\n";
    assert_eq!(text, expected);
    let output = run(&["--endpoints", &server.endpoint(), "--output", "json", "diff", "p", "q"]);
    let first = String::from_utf8(output.stdout).unwrap().lines().next().map(str::to_owned).unwrap();
    assert_eq!(first, r#"{"type":"difference","name":"b","first":{"value":2,"revision":4},"second":null}"#);
    let same = run(&["--endpoints", &server.endpoint(), "diff", "p", "p"]);
    assert_eq!((stdout(&same), &*stderr(&same)), (String::new(), "no difference: 3 keys below p and p\n"));
}

#[test]
fn what_is_exported_can_be_imported_and_keys_of_owners_are_left_alone() {
    let server = EtcdServer::start(Version::V34);
    for (path, value) in [("p/a", r#"{"ip":"1"}"#), ("p/b", "2"), ("p/c", "3")] {
        server.etcdctl(&["put", path, value]);
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    let file = file.to_str().unwrap();
    let output = ask(&server, &["export", file]);
    assert_eq!((stdout(&output), &*stderr(&output)), (String::new(), "exported 3 keys at revision 4\n"));
    assert_eq!(stdout(&ask(&server, &["export", "-"])), std::fs::read_to_string(file).unwrap());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no partial file is left");

    let lease = grant(&server, "600");
    server.etcdctl(&["del", "p/a"]);
    server.etcdctl(&["put", "p/b", "9"]);
    server.etcdctl(&["put", "p/c", "9", "--lease", &lease]);
    let plan = |arguments: &[&str]| {
        let output = ask(&server, &[&["--output", "json", "import", file, "--dry-run"], arguments].concat());
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>();
        (lines.iter().map(|line| line["action"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), output.status.code())
    };
    assert_eq!(plan(&[]), (vec!["create".to_owned(), "modify".to_owned(), "take_over".to_owned()], Some(0)));
    assert_eq!(plan(&["--no-lease"]), (vec!["create".to_owned(), "modify".to_owned(), "leave".to_owned()], Some(1)));
    assert_eq!(server.etcdctl(&["get", "p/a"]), "", "a dry run writes nothing");

    let output = ask(&server, &["import", "--no-lease", file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("wrote 2 of 3 keys\nerror: 1 key is left alone"), "{}", stderr(&output));
    assert_eq!(server.etcdctl(&["get", "--print-value-only", "--prefix", "p/"]), "{\"ip\":\"1\"}\n2\n9\n");
    server.etcdctl(&["del", "p/c"]);
    let output = ask(&server, &["import", "--no-lease", file]);
    assert!(stdout(&output).starts_with("unchanged a (revision "), "{output:?}");
    assert_eq!(objects(&ask(&server, &["--output", "json", "owners"]))[0]["lease"], json!(null));

    server.etcdctl(&["put", "p/bytes", "no json"]);
    let output = ask(&server, &["export", "-"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(stderr(&output).contains("nothing is exported: the value of 1 key is not"), "{}", stderr(&output));
}

#[test]
fn a_stuck_key_is_deleted_by_force_and_only_as_it_was_shown() {
    let server = EtcdServer::start(Version::V34);
    let lease = grant(&server, "600");
    server.etcdctl(&["put", "p/a", "1", "--lease", &lease]);
    for (arguments, code, cause) in [
        (&["delete", "a"][..], 2, "a key belongs to its owner"),
        (&["delete", "--force", "a"], 2, "--yes deletes without asking"),
        (&["delete", "--force", "--yes", "--revision", "7", "a"], 1, "another revision than --revision says"),
        (&["delete", "--force", "--yes", "none"], 1, "no key named \"none\" below p"),
    ] {
        let output = ask(&server, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(stderr(&output).contains(cause), "{arguments:?}: {}", stderr(&output));
    }
    let output = ask(&server, &["delete", "--force", "--yes", "--revision", "2", "a"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.starts_with(&format!("p/a: revision 2, 1 byte, owned by lease {lease}, time left: ")), "{said}");
    assert!(said.contains("\ndeleted at revision 3\nnote: its lease lives"), "{said}");
    assert_eq!(server.etcdctl(&["get", "p/a"]), "");
}
