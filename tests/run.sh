#!/usr/bin/env bash
# All tests, on a fresh machine too: bash tests/run.sh
#
# Needs cargo, Go, Python 3, Node 20.19 or newer with npm, script (util-linux), prove (Perl), ctest (CMake) and Maven with a JDK; in CI (CI is set)
# apt-get brings what is missing of all but cargo, and but for a Node that is too old. The
# runners that the tests drive go into a venv, and Loki is built once (LOKI_URL, LOKI_BIN or a loki on the PATH saves that);
# both are kept in the target directory until what is pinned changes. Nothing is skipped: what cannot be run fails.
# The listeners run with the newest runners only; tests/listeners/README.md says how to run them with older ones.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
mkdir -p "$target"
started=$SECONDS

step() { printf '\n== %s (%d s)\n' "$*" $((SECONDS - started)) >&2; }
fail() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

# Installs packages, but only on machines that are thrown away afterwards.
in_ci_install() {
    [ -n "${CI:-}" ] && command -v apt-get >/dev/null || return 0
    local sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    step "installing $*"
    $sudo apt-get update -q && $sudo apt-get install -qy --no-install-recommends "$@"
}

have_cargo() { cargo --version && cargo fmt --version && cargo clippy --version; }
# From 1.21 on, Go gets the version that go.mod names by itself.
have_go() { go version | grep -Eq 'go1\.(2[1-9]|[3-9][0-9])'; }
have_python() { python3 -c 'import ensurepip, venv'; }
have_node() {
    npm --version && node -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 20 || (major == 20 && minor >= 19) ? 0 : 1)'
}
have_script() { script -qec true /dev/null; }
have_prove() { prove --version; }
have_ctest() { ctest --version; }
have_maven() { mvn --version && javac -version; }

# need CHECK WHAT PACKAGES HINT
need() {
    "$1" >/dev/null 2>&1 && return
    [ -z "$3" ] || in_ci_install $3
    "$1" >/dev/null 2>&1 || fail "the tests need $2" "$4"
}

step "tools"
need have_cargo "cargo with rustfmt and clippy" "" "install Rust from https://rustup.rs"
need have_go "Go 1.21 or newer" golang-go "install Go from https://go.dev/dl"
need have_python "Python 3 with venv" "python3 python3-venv" "install python3 and python3-venv"

need have_node "Node 20.19 or newer with npm" "nodejs npm" "install Node from https://nodejs.org"
need have_script "script of util-linux" bsdutils "install util-linux"
need have_prove "prove of Perl" perl "install perl"
need have_ctest "ctest of CMake" cmake "install cmake"
need have_maven "Maven and a JDK from 8 on" "maven default-jdk-headless" "install Maven and a JDK"

step "runners of tests/requirements.txt"
venv=$target/venv
# Another Python needs another venv as well. Written last, so that a half-made one is made again.
wanted=$(python3 --version; cat tests/requirements.txt)
if [ "$wanted" != "$(cat "$venv/installed.txt" 2>/dev/null)" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt
    printf '%s\n' "$wanted" >"$venv/installed.txt"
fi
export TESTWIRE_TEST_PYTHON=$venv/bin

step "runners of tests/projects/js"
js=$target/js
# Another Node needs other builds as well. Written last, so that a half-made one is made again.
wanted=$(node --version; cat tests/projects/js/package-lock.json)
if [ "$wanted" != "$(cat "$js/installed.txt" 2>/dev/null)" ]; then
    rm -rf "$js"
    mkdir -p "$js"
    cp tests/projects/js/package.json tests/projects/js/package-lock.json "$js"
    # Not `npm ci`: the lock names the packages of this platform only where a registry has no others.
    (cd "$js" && npm install --no-save --no-audit --no-fund --loglevel=error)
    printf '%s\n' "$wanted" >"$js/installed.txt"
fi
export TESTWIRE_TEST_NODE=$js

step "JUnit of tests/projects/maven"
maven=$target/maven
wanted=$(javac -version 2>&1; mvn --version; cat tests/projects/maven/pom.xml)
if [ "$wanted" != "$(cat "$maven/installed.txt" 2>/dev/null)" ]; then
    rm -rf "$maven"
    mkdir -p "$maven"
    cp -r tests/projects/maven "$maven/project"
    # A run fetches all that a run needs; its tests fail on purpose.
    fetch=(mvn -q -B -f "$maven/project/pom.xml" "-Dmaven.repo.local=$maven/repository" test)
    "${fetch[@]}" -Dmaven.test.failure.ignore >"$maven/fetch.log" 2>&1 || { cat "$maven/fetch.log" >&2; fail "Maven cannot fetch JUnit" "see above"; }
    printf '%s\n' "$wanted" >"$maven/installed.txt"
fi
export TESTWIRE_TEST_MAVEN=$maven/repository

step "types of tests/grafana"
types=$target/grafana-types
wanted=$(cat tests/grafana/package-lock.json)
if [ "$wanted" != "$(cat "$types/installed.txt" 2>/dev/null)" ]; then
    rm -rf "$types"
    mkdir -p "$types"
    cp tests/grafana/package.json tests/grafana/package-lock.json "$types"
    (cd "$types" && npm install --no-save --no-audit --no-fund --loglevel=error)
    printf '%s\n' "$wanted" >"$types/installed.txt"
fi

step "clients of tests/requirements-clients.txt"
clients=$target/clients
wanted=$(python3 --version; cat tests/requirements-clients*.txt)
if [ "$wanted" != "$(cat "$clients/installed.txt" 2>/dev/null)" ]; then
    rm -rf "$clients"
    python3 -m venv "$clients/venv"
    pip=("$clients/venv/bin/pip" install --quiet --disable-pip-version-check)
    "${pip[@]}" -r tests/requirements-clients.txt
    "${pip[@]}" --no-deps --target "$clients/robot6" -r tests/requirements-clients-robot6.txt
    printf '%s\n' "$wanted" >"$clients/installed.txt"
fi
export TESTWIRE_TEST_CLIENTS=$clients

step "Loki"
if [ -n "${LOKI_URL:-}" ]; then
    echo "using the Loki at $LOKI_URL" >&2
elif [ -z "${LOKI_BIN:-}" ] && ! command -v loki >/dev/null; then
    # The same name as in tests/real_loki/loki.rs, so that `cargo test` alone finds it too.
    version=$(awk '$1 == "github.com/grafana/loki/v3" { sub("^v", "", $2); print $2 }' tests/loki/go.mod)
    bash tests/loki/build.sh "$target/loki/loki-$version"
    export LOKI_BIN=$target/loki/loki-$version
fi

step "format and lints"
cargo fmt --check
cargo clippy --quiet --all-targets -- -D warnings

step "dashboards: are they what Grafana 10 to 13 take?"
node tests/grafana/types.mjs "$types/node_modules" grafana/dashboards "$types/scratch"

step "tests"
log=$target/tests.log
# A shell starts what runs in its background with SIGINT ignored, and tests send that signal to programs that inherit this.
by_default='import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])'
python3 -c "$by_default" cargo test --no-fail-fast 2>&1 | tee "$log"

step "listeners"
python3 -c "$by_default" "$venv/bin/python" -m pytest -q -p no:cacheprovider tests/listeners 2>&1 | tee "$target/listeners.log"
listeners=$(awk '$2 ~ /^passed/ { print $1 }' "$target/listeners.log")
[ "${listeners:-0}" -gt 0 ] || fail "no test of the listeners ran" "see $target/listeners.log"

# Cargo names each test program before its result.
on_loki=$(awk '/Running tests\/real_loki/ { here = 1 } here && /^test result:/ { print $4; exit }' "$log")
[ "${on_loki:-0}" -gt 0 ] || fail "no test ran on the real Loki" "see $log"
all=$(awk '/^test result:/ { sum += $4 } END { print sum }' "$log")
step "passed: $all Rust tests, $on_loki of them on the real Loki, and $listeners tests of the listeners"
