#!/usr/bin/env bash
# What no lint checks: the layout and the habits of the project. Never writes.
set -u
failed=0
refuse() { # refuse REASON FOUND
  if [ -n "$2" ]; then printf '%s:\n%s\n' "$1" "$2" >&2; failed=1; fi
}
refuse "mod.rs files" "$(git ls-files | grep -E '(^|/)mod\.rs$')"
refuse "#[path] in use" "$(git grep -nE '#\[path' -- '*.rs')"
refuse "unfinished code or ignored tests" "$(git grep -nE '\b(todo|unimplemented)!\(|#\[ignore' -- '*.rs')"
refuse "etcd_client named outside its backend" "$(git grep -lE 'etcd_client' -- '*.rs' ':!src/backend/etcd*')"
refuse "actix named in the core" "$(git grep -nE '\bactix' -- 'src/*.rs')"
refuse "files over 450 lines" "$(git ls-files '*.rs' '*.js' '*.mjs' '*.css' | xargs wc -l | awk '$2 != "total" && $1 > 450')"
refuse "code in the guide that is not compiled" "$(git grep -nE '^```(rust,.*)?ignore' -- '*.md'
for chapter in $(git grep -lE '^```rust' -- README.md docs/src); do
  grep -qF "include_str!(\"../$chapter\")" src/lib.rs || echo "$chapter"
done)"
# A shell of a machine sleeps where the machine says so, and a slow line of the proxy is slow by sleeping.
refuse "sleeping in tests outside tests/support/waiting.rs" "$(git grep -nE '\bsleep(_until)?\(' -- 'tests/*.rs' '*/tests/*.rs' '*tests.rs' \
  ':!tests/support/waiting.rs' ':!tests/support/proxy.rs' ':!tests/promises/collaborator.rs')"
refuse "real_time without a comment before it that says what has to run out" "$(git grep -hE -B1 '\breal_time(_blocking)?\(' -- '*.rs' \
  ':!tests/support/waiting.rs' | awk '/real_time(_blocking)?\(/ && before !~ /\/\// { print } { before = $0 }')"
refuse "riddles (STYLE.md, Language): say who does what" "$(git grep -niE '\bwhoever\b|\bcomes? about\b|\bto (its|their) leases?\b|\bhow it is\b|\b(may|might) have gone\b' -- \
  '*.rs' '*.md' '*.js' '*.mjs' '*.html' '*.py' '*.toml')"
msrv=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
grep -q "Rust $msrv" README.md || refuse "README.md does not name the MSRV" "Rust $msrv"
exit $failed
