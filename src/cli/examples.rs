//! Examples below each help.

/// Below the short help of commands that have a longer one.
pub(super) const MORE: &str =
    "Settings (below Options) can also be set as TESTWIRE_<NAME> or in testwire.toml.\nExamples: --help";

pub(super) const TOP: &str = "\
Examples:
  testwire demo                        play three runs: here, and in Loki
  testwire run -- pytest -n 4          run tests and watch them in Grafana
  testwire batch tests/*.py            run many files on several workers
  go test -json ./... | testwire pipe  ship events that a runner writes
  testwire check                       are the settings right, is Loki there?

`testwire <COMMAND> --help` explains a command with its options and examples.";

pub(super) const RUN: &str = "\
Examples:
  testwire run -- pytest -n 4 tests/
  testwire run -- robot --outputdir results tests/
  testwire run --env staging --attr browser=firefox -- go test ./...
  testwire run --loki-url https://logs.example.org --user 12345 --password-file ~/.loki -- make test
  testwire run --run-id nightly-7 --shard 1/4 -- pytest tests/api

Every setting (the groups below Options) can also be set in the environment as TESTWIRE_<NAME> \
(TESTWIRE_LOKI_URL for --loki-url) or in testwire.toml (loki-url = \"…\"). Flags win over the environment, and that over the file.

Exit code: the command's own, always; without one, 2 for a wrong command line and 3 for a wrong setting.";

pub(super) const BATCH: &str = "\
Examples:
  testwire batch tests/*.py tests/*.robot tests/*.sh
  testwire batch --workers 8 --retry 1 --timeout 10m tests/test_*.py
  testwire batch --command 'pytest {}' --user alice tests/api/*.py
  testwire batch --run-id nightly-7 --shard 2/4 tests/*.py
  testwire batch --run-id nightly-7 --resume

Below batch/<run id> in the state directory are a journal of the files and what each of them printed.

Exit code: 0 if every file passed, 1 if one did not, 2 wrong command line, 3 wrong setting, 7 the spool cannot be used, \
129, 130 or 143 stopped by SIGHUP, SIGINT or SIGTERM.";

pub(super) const BATCH_GUARD: &str = "\
Examples:
  testwire batch-guard nightly-7
  testwire batch-guard nightly-7 < /dev/null";

pub(super) const PIPE: &str = "\
Examples:
  go test -json ./... | testwire pipe
  go test -json ./... | testwire pipe --tee > events.ndjson
  my-runner --events | testwire pipe --format testwire --project shop
  testwire pipe --no-fail < events.ndjson
  testwire pipe --output ndjson < events.ndjson | jq .labels

Every setting (the groups below Options) can also be set in the environment as TESTWIRE_<NAME> \
(TESTWIRE_LOKI_URL for --loki-url) or in testwire.toml (loki-url = \"…\"). Flags win over the environment, and that over the file.

Exit code: 0, or 1 if the run failed, 2 wrong command line, 3 wrong setting, 4 stdin could not be read to its end, \
5 entries are left for the next start, 6 Loki refused entries, 7 the spool cannot be used.";

pub(super) const LISTEN: &str = "\
Examples:
  testwire listen
  testwire listen --listen 0.0.0.0:8765 --token-file /etc/testwire/token
  testwire listen --output ndjson | jq .labels
  testwire listen --health               # is the daemon at --listen ready?

Endpoints:
  POST /v1/events?run_id=ID   testwire's own events, one JSON object a line; without run_id a body is a whole run
  POST /loader                pytest-rt and nose2rt (clients of Testgr)
  POST /event, /log, /metric  RealtimeResults of Robot Framework; also its old Loki sink
  POST /tm_api/…              System Test Progress Tracking
  POST /api/upload            WebKit's results database; also /api/upload/ews and /archive
  POST /newTestrun            TestRunner: order a run; also /api/testruns (off without [testruns] in testwire.toml)
  GET /healthz, /ready        is it up, does it take events
  GET /metrics                counters for Prometheus

Every setting (the groups below Options) can also be set in the environment as TESTWIRE_<NAME> \
(TESTWIRE_LISTEN for --listen) or in testwire.toml (listen = \"…\"). Flags win over the environment, and that over the file.

Exit code: 0 stopped and all delivered, 2 wrong command line, 3 wrong setting, 4 the address cannot be used, 5 entries are \
left for the next start, 6 Loki refused entries, 7 the spool cannot be used.";

pub(super) const TAIL: &str = "\
Examples:
  testwire tail /var/log/shop/app.log
  testwire tail --source shop 'logs/*.log'
  testwire tail --from end --run-id nightly-7 app.log
  testwire tail --output ndjson app.log | jq -r .line

Every setting (the groups below Options) can also be set in the environment as TESTWIRE_<NAME> \
(TESTWIRE_LOKI_URL for --loki-url) or in testwire.toml (loki-url = \"…\"). Flags win over the environment, and that over the file.

Exit code: 0 stopped and all delivered, 2 wrong command line, 3 wrong setting, 4 a file could not be followed to the end, \
5 entries are left for the next start, 6 Loki refused entries, 7 the spool cannot be used.";

pub(super) const DEMO: &str = "\
Examples:
  testwire demo
  testwire demo --loki-url http://127.0.0.1:3100 --grafana-url http://127.0.0.1:3000
  testwire demo --output ndjson | jq -r .line";

pub(super) const DASHBOARDS: &str = "\
Examples:
  testwire dashboards install --grafana-url https://grafana.example.org
  testwire dashboards export /var/lib/grafana/dashboards/testwire";

pub(super) const DASHBOARDS_INSTALL: &str = "\
Examples:
  testwire dashboards install --grafana-token-file ~/.grafana-token
  testwire dashboards install --folder Tests --datasource loki-prod --dry-run
  testwire dashboards install --uninstall

Every setting (the groups below Options) can also be set in the environment as TESTWIRE_<NAME> (TESTWIRE_GRAFANA_URL for --grafana-url) or in \
testwire.toml (grafana-url = \"…\"). Flags win over the environment, and that over the file.

Exit code: 0, 2 no such data source, 3 wrong setting, 5 if Grafana cannot be reached or refuses.";

pub(super) const DASHBOARDS_ALERTS: &str = "\
Examples:
  testwire dashboards alerts > /etc/grafana/provisioning/alerting/testwire.yaml
  testwire dashboards alerts --on --datasource loki-prod > testwire.yaml";

pub(super) const CHECK: &str = "\
Examples:
  testwire check
  testwire check --config
  testwire check --config-file ci/testwire.toml --config
  TESTWIRE_LOKI_URL=https://logs.example.org testwire check";

pub(super) const IMPORT: &str = "\
Examples:
  testwire import target/surefire-reports
  testwire import --run-id nightly-7 reports/*.xml results.zip
  testwire import --timezone Europe/Berlin --explain output.xml
  testwire import ~/.local/state/testwire/rejected/2026-11-20.ndjson

Exit code: 0, or 2 wrong command line, 3 wrong setting, 4 a file cannot be read to its end or is no report (the others are \
imported), 5 entries are left for the next start, 6 Loki refused entries, 7 the spool cannot be used.";

pub(super) const INIT: &str = "\
Examples:
  testwire init
  testwire init ~/.config/testwire/testwire.toml";

pub(super) const COMPLETIONS: &str = "\
Examples:
  testwire completions bash > ~/.local/share/bash-completion/completions/testwire
  testwire completions zsh > ~/.zfunc/_testwire
  testwire completions fish > ~/.config/fish/completions/testwire.fish";

pub(super) const AUDIT: &str = "\
Examples:
  testwire audit 20261120T114205Z-k3x9ab
  testwire audit --project shop --days 90 20261120T114205Z-k3x9ab

Exit code: 0 if all is there once, 1 if entries are missing or doubled, 5 if Loki cannot be read or has no such run.";

pub(super) const RUNS: &str = "\
Examples:
  testwire runs
  testwire runs --project shop --days 7 --json | jq -r '.[].run_id'

Exit code: 0, or 5 if Loki cannot be read.";

pub(super) const DIFF: &str = "\
Examples:
  testwire diff
  testwire diff nightly-41 nightly-42
  testwire diff --json | jq -r '.newly_failing[].test'

Exit code: 0 whatever changed, or 5 if Loki cannot be read or has no such runs.";

pub(super) const FLUSH: &str = "\
Examples:
  testwire flush
  testwire flush --drain-timeout 10m

Exit code: 0 if nothing is left, 5 if entries wait still, 6 if Loki refused some.";

pub(super) const STATUS: &str = "\
Examples:
  testwire status
  testwire status --json | jq .backlog.entries

Exit code: 0.";
