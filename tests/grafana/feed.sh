#!/usr/bin/env bash
# Fills a Loki with real runs, for people and pictures: bash tests/grafana/feed.sh LOKI_URL [TESTWIRE]
#
# Nine builds of tests/grafana/shop on two branches with pytest and four workers, the Robot and Go sample projects, one run that is
# interrupted, one whose testwire is killed, and application logs beside them. The last run goes on for LIVE seconds (60)
# after the script has ended, with a test that hangs. TESTWIRE_TEST_PYTHON names the bin directory of tests/requirements.txt.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
loki=$1 testwire=$(realpath "${2:-$here/../../target/debug/testwire}")
python=${TESTWIRE_TEST_PYTHON:?the bin directory of a venv with tests/requirements.txt}
scratch=$(mktemp -d)
export TESTWIRE_LOKI_URL=$loki TESTWIRE_STATE_DIR=$scratch/state TESTWIRE_QUIET=true TESTWIRE_ENV=ci
export TESTWIRE_HUNG_AFTER=4s PATH=$python:$PATH

mkdir -p "$scratch"/{shop,store,tills}
cp "$here"/shop/* "$scratch/shop"
cp -r "$here"/../projects/robot/. "$scratch/store"
cp -r "$here"/../projects/go/. "$scratch/tills"
branch() { mkdir -p .git && echo "ref: refs/heads/$1" >.git/HEAD; }

# Lines of an application, one in a while an error, until the script's end or for good with the live run.
serve() {
    local orders=0
    while :; do
        orders=$((orders + 1))
        echo "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ) INFO shop.web order $orders placed in $((RANDOM % 90 + 10)) ms"
        [ $((orders % 9)) != 0 ] || echo "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ) ERROR shop.web stock service timed out after 300 ms"
        sleep 0.3
    done >>"$scratch/shop/web.log"
}
serve &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT

cd "$scratch/shop"
shop() { # BUILD BROWSER ARGUMENTS…
    BUILD=$1 "$testwire" run --project shop --tail web.log --attr build="$1" --attr browser="$2" "${@:3}" -- pytest -q -n 4 >/dev/null 2>&1 || true
}
for build in 1 2 3 4 5 6 7 8; do
    branch main
    browser=firefox
    [ $((build % 2)) = 0 ] || browser=chromium
    shop "$build" "$browser"
done
branch voucher-page
shop 3 firefox
(cd ../store && branch main && "$testwire" run --project store -- robot --outputdir out store >/dev/null 2>&1) || true
(cd ../tills && branch main && "$testwire" run --project tills -- go test ./... >/dev/null 2>&1) || true

# Stopped by somebody, half way.
branch main
BUILD=8 PACE=0.4 timeout --signal INT 5 "$testwire" run --project shop -- pytest -q -n 2 >/dev/null 2>&1 || true
# testwire dies, and nobody ends the run: it is silent.
BUILD=8 PACE=0.4 "$testwire" run --project shop --state-dir "$scratch/lost" -- pytest -q -n 2 >/dev/null 2>&1 &
lost=$!
sleep 4
kill -KILL $lost

# Goes on while pictures are made.
live=${LIVE:-60}
(BUILD=9 PACE=0.5 PRINTER=$live shop 9 firefox; kill $server 2>/dev/null; rm -rf "$scratch") >/dev/null 2>&1 &
trap - EXIT
echo "$scratch"
