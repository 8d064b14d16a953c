use super::*;

const LOCAL: &str = "endpoints = [\"http://local:2379\"]\n";

fn error(text: &str) -> String {
    Settings::parse(text, &[]).unwrap_err()
}

fn source(cluster: &str, more: &str) -> String {
    format!("[[source]]\ncluster = {cluster:?}\nendpoints = [\"http://{cluster}:2379\"]\n{more}")
}

fn copy(name: &str, from: &str, to: &str) -> String {
    format!("[[source.copy]]\nname = {name:?}\nfrom = {from:?}\nto = {to:?}\n")
}

/// The names of a type's members, from its `Debug` text.
fn members(shown: &str) -> impl Iterator<Item = &str> {
    shown.split([' ', '{', '(']).filter_map(|word| word.strip_suffix(':'))
}

#[test]
fn the_example_file_is_valid_and_names_every_key() {
    let text = include_str!("../../../mirror.toml");
    let settings = Settings::parse(text, &[]).unwrap();
    assert_eq!(settings.sources.len(), 2);
    // Every setting that is commented out is valid, too, and none is missing.
    let all: String = text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n").collect();
    let parsed = Settings::parse(&all, &[]).unwrap();
    let [source, other] = &parsed.sources[..] else { panic!("{parsed:?}") };
    let (source, copy) = (source.get_ref().clone(), other.get_ref().copy[0].get_ref().clone());
    let (settings, source) = (Settings { sources: Vec::new(), ..parsed }, Source { copy: Vec::new(), ..source });
    for shown in [format!("{settings:?}"), format!("{source:?}"), format!("{copy:?}")] {
        assert!(!shown.contains(": None"), "not in the example: {shown}");
        for key in members(&shown).filter(|key| !["sources", "copy"].contains(key)) {
            assert!(all.contains(&format!("{key} = ")), "{key} is not in the example");
        }
    }
    let defaults = Settings { endpoints: settings.endpoints.clone(), ..Settings::default() };
    let example = Settings { sources: Vec::new(), listen: None, ..Settings::parse(text, &[]).unwrap() };
    assert_eq!(example, defaults, "what the example says is the default");
}

#[test]
fn an_error_names_the_line_and_the_reason() {
    for (text, told) in [
        ("listen = 3".to_owned(), "line 1"),
        (format!("{LOCAL}colour = 1"), "unknown field `colour`"),
        (format!("{LOCAL}keep = \"5 parsecs\""), "write 30s"),
        (String::new(), "endpoints is missing: give the URLs of the etcd that the copies go to"),
        (format!("{LOCAL}owner = \"\""), "owner is empty"),
        (format!("{LOCAL}[[source]]\ncluster = \"a\"\n"), "line 2, source \"a\": endpoints is missing"),
        (format!("{LOCAL}{}", source("A", "")), "line 2, source \"A\": \"A\" is no name of a cluster"),
        (format!("{LOCAL}{}", source("a", "user = \"u\"")), "line 2, source \"a\": user needs password_file"),
        (format!("{LOCAL}{}", source("a", "preset = \"other\"")), "line 5"),
        (format!("{LOCAL}{0}\n{0}", source("a", "")), "lines 2 and 6: both sources are the cluster \"a\""),
        (
            format!("{LOCAL}{}{}", source("a", "preset = \"cilium\"\n"), copy("n", "f", "t")),
            "line 2, source \"a\": there is a preset and [[source.copy]]",
        ),
        (
            format!("{LOCAL}{}{}{}", source("a", ""), copy("n", "f", "t"), copy("n", "f", "u")),
            "line 2, source \"a\": lines 5 and 9: both copies are named \"n\"",
        ),
        (format!("{LOCAL}{}{}", source("a", ""), copy("n", "f", "/t/")), "line 8"),
        (
            format!("{LOCAL}{}{}canary = \"\"", source("a", ""), copy("n", "f", "t")),
            "line 2, source \"a\": the canary of line 5 is empty",
        ),
    ] {
        let error = error(&text);
        assert!(error.contains(told), "{text}: {error}");
    }
}

#[test]
fn rules_that_get_in_each_others_way_are_refused() {
    let local_eu = "[[source]]\ncluster = \"eu\"\nendpoints = [\"LOCAL:2379/\"]\n";
    for (text, told) in [
        (
            format!("{}{}{}", source("a", ""), copy("n", "f", "t"), copy("m", "g", "t/u")),
            "lines 5 and 9: copy \"n\" of source \"a\" writes t/, and copy \"m\" of source \"a\" writes t/u/",
        ),
        (
            format!("{}{}{}", source("a", ""), copy("n", "f", "cilium/cache/nodes/v1/b/x"), source("b", "")),
            "copy \"n\" of source \"a\" writes cilium/cache/nodes/v1/b/x/, and source \"b\" writes cilium/cache/nodes/v1/b/",
        ),
        (
            format!("{}{}announce = {{ prefix = \"t\", name = \"done\" }}", source("a", ""), copy("n", "f", "t")),
            "copy \"n\" of source \"a\" writes t/, and copy \"n\" of source \"a\" writes t/done",
        ),
        (
            format!("{local_eu}{}", copy("n", "t/x", "t")),
            "lines 5 and 5: copy \"n\" of source \"eu\" writes t/, which copy \"n\" of source \"eu\" reads from the same kvstore as t/x/",
        ),
        (
            format!("{local_eu}{}{}{}", copy("n", "f", "t"), source("b", ""), copy("m", "g", "f/b")),
            "copy \"m\" of source \"b\" writes f/b/, which copy \"n\" of source \"eu\" reads",
        ),
        (local_eu.to_owned(), "source \"eu\" writes cilium/cluster-config/eu, which source \"eu\" reads"),
    ] {
        let error = error(&format!("{LOCAL}{text}"));
        assert!(error.contains(told), "{text}: {error}");
    }
    let neighbours = format!("{}{}{}", source("a", ""), copy("n", "f", "t/a"), copy("m", "f", "t/ab"));
    let elsewhere = format!("{}{}", source("b", ""), copy("n", "t/b", "t/b"));
    for good in [neighbours, elsewhere, source("a", "") + &source("ab", "")] {
        Settings::parse(&format!("{LOCAL}{good}"), &[]).unwrap();
    }
    // The command line says where the copies go.
    let text = format!("{LOCAL}{}{}", source("b", ""), copy("n", "t/b", "t/b"));
    assert!(Settings::parse(&text, &["http://b:2379".to_owned()]).unwrap_err().contains("from the same kvstore"));
}
