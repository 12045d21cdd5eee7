"""One run, or several side by side, while they run and after."""

from kit import (
    BROKEN, CALM, CHANGES, CHOSEN, ENDED, FAILING, MEANING, MEANWHILE, NO_RUN, PASSED, QUIET, RUN_OF_ROW, STATUSES, STEP, TEST_PATTERN,
    WARN, column, common_variables, dashboard, fixed, graph, hidden, instant, label_variable, last, line_table, lines, links_of_test,
    logs, mapping, matches, over_time, override_query, page, panel, refs, seen, select, stat, states_by, status, steps, text_variable, value_table, within,
)

RUN = matches("run_id", "$run_id")
OF_TEST = matches("test", "$test")
PROGRESS = select("progress") + RUN
ENDS = select("run", status(ENDED)) + RUN
TESTS = select("test")
SHARD = "run_id, shard"
SOME_BROKEN, SOME_WARN = steps(QUIET, 1, BROKEN), steps(QUIET, 1, WARN)


def newest(name):
    """A counter of each shard: of its end, or of its last report in the time range."""
    return f"({last(ENDS, name)} or {last(PROGRESS, name)})"


def total(name):
    return f"sum({newest(name)})"


def of_run(name, fold="sum"):
    return f"{fold} by (run_id) {newest(name)}"


def state(number, entries, span="$__range"):
    return f"({number} + 0 * {seen(entries, span)})"


def ended(value):
    return select("run", f'status="{value}"') + RUN


ALIVE = f'sum by (run_id) ({seen(PROGRESS, "2m", SHARD)} unless on (run_id, shard) {seen(ENDS, by=SHARD)})'
STATE = " or ".join([f"(0 * {ALIVE})", state(3, ended("aborted")), state(2, ended("failed")), state(1, ended("passed")),
                     state(4, PROGRESS)])
STATES = {
    0: ("▶ running", CALM), 1: ("✓ passed", PASSED), 2: ("✗ failed", BROKEN), 3: ("■ aborted", WARN),
    4: ("… silent", WARN),
}

# A value for each run, which is named by its id, the newest first; more of them are too small to read, and are in the table side by side.
EACH_ROW = {"calcs": ["lastNotNull"], "fields": "", "values": True, "limit": 3}
NEWEST_FIRST = [{"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "run_id", "desc": True}]}}]
HEAD = [
    panel("stat", "State", "Is it still running? Silent: not ended, and no report for two minutes (machine down, testwire killed, or Loki "
          "not reachable from there). One value for each run that the filters let through, the newest 3; all are in the table side by side.", 5, 5, [instant("A", STATE)],
          "No such run here", "none",
          defaults={"mappings": mapping(STATES), "thresholds": steps(QUIET), "color": {"mode": "thresholds"}},
          options={"colorMode": "value", "graphMode": "none", "justifyMode": "auto", "orientation": "horizontal",
                   "textMode": "value_and_name", "wideLayout": True, "text": {"titleSize": 12, "valueSize": 18}, "reduceOptions": EACH_ROW},
          transformations=NEWEST_FIRST),
    panel("bargauge", "Progress", "How far is it? Tests with a result, as a share of those planned; one bar for each run, the newest 3.", 8, 5,
          [instant("A", f"{of_run('done')} / ({of_run('planned')} > 0)")],
          "Nothing planned yet: the runner has not said how many tests there are.", "percentunit",
          defaults={"min": 0, "max": 1, "color": {"mode": "continuous-BlPu"}},
          options={"displayMode": "lcd", "orientation": "horizontal", "showUnfilled": True, "minVizHeight": 10, "minVizWidth": 0,
                   "valueMode": "text", "reduceOptions": EACH_ROW}, transformations=NEWEST_FIRST),
    stat("Done of planned", "Tests with a result, and tests that the runner has announced.", 4,
         [instant("A", total("done"), "done"), instant("B", total("planned"), "planned")], NO_RUN, height=5, text="value_and_name"),
    stat("Time", "How long has it been running, as of its last report, and how long will it still take? The estimate comes from the "
         "durations of earlier runs where they are known.", 4,
         [instant("A", f"max({newest('elapsed_ms')})", "elapsed"),
          instant("B", f"max({last(PROGRESS, 'eta_ms', '2m')} unless on (run_id, shard) {seen(ENDS, by=SHARD)})", "to go")],
         NO_RUN, "ms", 5, text="value_and_name"),
    stat("Under way", "Tests that run right now, and tests that started and never ended.", 3,
         [instant("A", total("running"), "running"), instant("B", total("unfinished"), "unfinished")], NO_RUN, height=5,
         text="value_and_name", overrides=[override_query("A", thresholds=steps(QUIET, 1, CALM)),
                                           override_query("B", thresholds=SOME_WARN)]),
]

COUNTS = {
    "passed": steps(QUIET, 1, PASSED), "failed": SOME_BROKEN, "errored": SOME_BROKEN, "skipped": steps(QUIET), "xfailed": steps(QUIET),
    "xpassed": SOME_WARN, "flaky": SOME_WARN, "retried": SOME_WARN, "new_failures": SOME_BROKEN, "still_failing": SOME_WARN,
    "fixed": steps(QUIET, 1, PASSED), "known": steps(QUIET),
}
RESULTS = stat(
    "Results", "What came out so far? Tests by the result of their last attempt: a retry that passes takes a test out of the failed ones "
    "and makes it flaky, which counts as passed too. Retried counts attempts beyond the first. New, still failing, fixed and known "
    "compare with earlier runs, where there are any.", 24,
    [instant(ref, total(name), name.replace("_", " ")) for ref, name in zip("ABCDEFGHIJKL", COUNTS)], NO_RUN, text="value_and_name",
    overrides=[override_query(ref, thresholds=color) for ref, color in zip("ABCDEFGHIJKL", COUNTS.values())])

FAILURES = line_table(
    "Failures as they come", "What fails, and why? Each failed or broken attempt, newest first, at most 1,000; an attempt above 1 is a "
    "retry. Click a test for all that was logged while it ran, for its own lines, or for its history.", 24, 9,
    lines("A", f"{select('test', status(FAILING))}{RUN}{OF_TEST} | label_format {MEANWHILE}, {TEST_PATTERN}, {MEANING}"),
    "No failure in this run so far.", [
        column("Time", "Time", 160, "dateTimeAsIso"), column("status", "Status", 95, words=STATUSES),
        column("meaning", "Meaning", 125, words=CHANGES), column("test", "Test", 320, links=links_of_test()),
        column("message", "Message", 410), column("duration_ms", "Duration", 80, "ms"), column("attempt", "Attempt", 70, number=True),
        column("worker", "Worker", 75), column("suite", "Suite", 130), column("run_id", "Run", 225), column("signature", "Signature", 165),
        hidden("from_ms"), hidden("to_ms"), hidden("test_pattern"),
    ])

RUNNING = line_table(
    "Running tests", "What runs right now, for how long, and does anything hang? Tests whose newest entry is a start, among the newest 1,000 "
    "starts and results. Hung: it has been running for longer than --hung-after and ten times its usual time.", 14, 8,
    lines("A", f"{TESTS}{RUN} | label_format running_ms=`{{{{ int (addf (subf (float64 (unixEpochMillis now)) (float64 (unixEpochMillis "
               "__timestamp__))) (float64 .duration_ms)) }}`"
               " | keep run_id, test, status, worker, suite, hung, running_ms, expected_ms | line_format ``"),
    "No test is running.", [
        column("test", "Test", 300, agg="first"), column("hung", "Hangs", 95, words={"true": ("⚠ hung", BROKEN), "false": ("no", QUIET)},
                                                         agg="first"),
        column("running_ms", "Running for", 110, "ms", color=steps(QUIET, 60_000, WARN, 300_000, BROKEN), agg="first"),
        column("expected_ms", "Usually", 90, "ms", agg="first"), column("worker", "Worker", 80, agg="first"),
        column("suite", "Suite", 150, agg="first"), column("run_id", "Run", 225), hidden("status", "first"),
    ], group=("run_id", "test"), sort="Running for", keep=("status", "started"))

OLDEST = line_table(
    "Longest running test", "Does a test hang? The test that had been running longest at the newest report of the run, or of "
    "each of its shards, among the newest 100; no test is named when nothing runs.", 14, 5,
    lines("A", f"{PROGRESS} | line_format ``", 100), NO_RUN, [
        column("oldest_test", "Test", 260, agg="first"),
        column("oldest_ms", "Running for", 110, "ms", color=steps(QUIET, 60_000, WARN, 300_000, BROKEN), agg="first"),
        column("oldest_worker", "Worker", 80, agg="first"), column("Time", "Reported", 130, "dateTimeFromNow", agg="max"),
        column("run_id", "Run", 225), column("shard", "Shard", 80),
    ], group=("run_id", "shard"))

COURSE = graph(
    "Course of the run", "How did it go so far? Tests with a result, failing ones and those under way, as last reported.", 10, 8, [
        over_time("A", f"sum({last(PROGRESS, 'done')})", "done"),
        over_time("B", f"sum({last(PROGRESS, 'failed')}) + sum({last(PROGRESS, 'errored')})", "failing"),
        over_time("C", f"sum({last(PROGRESS, 'running')})", "running"),
    ], NO_RUN, defaults={"decimals": 0},
    overrides=[override_query("A", color=fixed(CALM)),
               override_query("B", color=fixed(BROKEN), custom__lineStyle={"fill": "dash", "dash": [8, 4]}),
               override_query("C", color=fixed(WARN), custom__lineStyle={"fill": "dot", "dash": [1, 4]})])

# What a worker did: a start opens a block, and the end, set back to just after the start, names and colours it. Never beyond the
# end, so that of two tests the later one stays the last.
LANE = 'lane=`{{ or .worker .suite "the run" }}`'
BLOCKS = (
    f'{TESTS}{RUN} | hung!="true" | label_format {LANE}, '
    "begun=`{{ if eq .status \"started\" }}{{ unixEpochMillis __timestamp__ }}{{ else }}{{ int (addf (subf (float64 (unixEpochMillis "
    "__timestamp__)) (float64 .duration_ms)) (minf 10 (divf (float64 .duration_ms) 2))) }}{{ end }}`, "
    'block=`{{ if eq .status "started" }}▶{{ else if eq .status "passed" }}✓{{ else if eq .status "failed" }}✗'
    '{{ else if eq .status "errored" }}!{{ else if eq .status "retried" }}↻{{ else if eq .status "unfinished" }}?{{ else }}–{{ end }} {{ .test }}`'
    " | keep lane, begun, block | line_format ``")
# Until the next one, the worker has nothing to do.
IDLE = (f"{select('test', 'status!=' + chr(34) + 'started' + chr(34))}{RUN} | label_format {LANE}, "
        "begun=`{{ unixEpochMillis __timestamp__ }}`, block=`·` | keep lane, begun, block | line_format ``")
SIGNS = {"·": "transparent", "▶": CALM, "✓": PASSED, "✗": BROKEN, "!": "dark-red", "↻": "yellow", "?": WARN, "–": "#8e8e8e"}
WORKERS = panel(
    "state-timeline", "Workers", "Who did what, and when? A row for each worker, or suite where the runner names no workers, with the newest 500 "
    "tests: ▶ runs, ✓ passed, ✗ failed, ! errored, ↻ retried, ? unfinished, – skipped or other. Point at a block for the test's name.", 24, 8,
    [lines("A", IDLE), lines("B", BLOCKS)], "No test has started in this range. Widen it, or pick a run on the dashboard runs.", "string",
    defaults={
        "custom": {"fillOpacity": 75, "lineWidth": 1}, "color": {"mode": "thresholds"}, "thresholds": steps(QUIET),
        "displayName": "${__series.name}",
        "mappings": [{"type": "regex", "options": {"pattern": f"\\{sign}.*" if sign in "?" else f"{sign}.*",
                                                   "result": {"color": color, "index": i, **({"text": " "} if sign == "·" else {})}}} for i, (sign, color) in enumerate(SIGNS.items())],
    },
    options={"mergeValues": False, "showValue": "auto", "alignValue": "left", "rowHeight": 0.85,
             "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False}, "tooltip": {"mode": "single", "sort": "none"}},
    transformations=states_by("lane", "block", at="begun"))

SUITES = line_table(
    "Suites", "Which suites are done, and how? The newest entry of each suite, among the newest 1,000. A suite fails by its own set-up or "
    "teardown, too.", 14, 8,
    lines("A", f"{select('suite')}{RUN} | keep run_id, suite, status, duration_ms, message | line_format ``"),
    "This runner reports no suites, or none has begun.", [
        column("status", "Status", 105, words=STATUSES, agg="first"), column("suite", "Suite", 280),
        column("duration_ms", "Duration", 90, "ms", agg="first"), column("message", "Message", 300, agg="first"),
        column("Time", "Last news", 160, "dateTimeAsIso", agg="max"), column("run_id", "Run", 225),
    ], group=("run_id", "suite"))

LOG = logs("Log", "What was written? Lines of the run, and those of followed logs that belong to no run, newest first, at most 1,000; narrow "
           "them by source, test and search above.", 24, 12,
           lines("A", select("log", 'source=~"$source"').replace('"$runner"', '"$runner|app"') + RUN.replace("$run_id", "$run_id|")
                 + OF_TEST + " |~ `(?i)$search`"),
           "No line matches. Loosen source, test and search above, or widen the time range.")

SIDE_BY_SIDE = value_table(
    "Side by side", "How do the runs compare that the filters let through? A row for each; shards are summed up. Click a run to see it alone.",
    14, 8, refs([f"{of_run('done')} / ({of_run('planned')} > 0)", of_run("passed"), f"{of_run('failed')} + on (run_id) {of_run('errored')}",
                 of_run("running"), of_run("elapsed_ms", "max"), STATE]), NO_RUN, [
        column("run_id", "Run", 225, links=[("Only this run", page("live", *CHOSEN, RUN_OF_ROW))]),
        column("Value #F", "State", 150, words=STATES), column("Value #A", "Progress", 150, gauge=True),
        column("Value #B", "Passed", 75), column("Value #C", "Failing", 75, color=SOME_BROKEN), column("Value #D", "Running", 80), column("Value #E", "Elapsed", 90, "ms"),
        hidden("Time"),
    ])

THE_RUN = line_table(
    "The run", "What is this run? Its start, and its end once it is there; a row for each process that shared it.", 10, 5,
    lines("A", f"{select('run')}{RUN} | line_format ``"), NO_RUN, [
        column("status", "Status", 105, words=STATUSES), column("Time", "At", 160, "dateTimeAsIso"), column("service_name", "Project", 110),
        column("branch", "Branch", 110), column("commit", "Commit", 100), column("user", "User", 90), column("host", "Machine", 120),
        column("build_url", "Build", 200, links=[("Open the build", "${__value.raw}")]), column("exit_code", "Exit code", 80, number=True),
        column("run_id", "Run", 225), column("shard", "Shard", 80),
    ])

HOW_IT_ENDED = logs("How it ended, and what never ran", "What failed, and what never ran? The end of the run, with the names of failing tests, of what changed, and of "
                    "tests that never ran.", 10, 8, lines("A", ENDS), "The run has not ended in this range. Until then, planned minus done "
                    "is what has not run yet.", showTime=False)
NOTES = logs("Notes", "Did testwire stumble over anything? Its remarks on the input and on the run, newest first, at most 1,000.", 10, 5,
             lines("A", select("note") + RUN), "None: nothing about this run or its input was odd.")
MEASUREMENTS = graph(
    "Measurements", "Was the machine short of something? What a RealtimeResults scraper measured while tests ran, by name and machine. They "
    "belong to no run, so all of the project are shown, and only while every runner is chosen.", 14, 8,
    [over_time("A", "max by (source, host) (last_over_time(" + select("metric") + f" | unwrap value {within(STEP)}) by (source, host))",
               "{{source}} {{host}}")],
    "No measurements in this range. They come from `rt-robot` through `testwire listen`.")

PAGE = dashboard(
    "live", "What does this run do right now, what failed, and why?",
    [
        *common_variables("progress"),
        text_variable("run_id", "Run (regex)", "A regular expression for the whole run id; .+ takes every run in the time range.", ".+"),
        label_variable("source", "source", '{service_name=~"$project", kind="log"}', "Log source"),
        text_variable("test", "Test (regex)", "A regular expression for the whole test id, for failures and log; .* takes all lines, those of "
                      "no test too.", ".*"),
        text_variable("search", "Search", "A regular expression to look for in the log, upper or lower case alike; empty takes all."),
    ],
    [*HEAD, RESULTS, FAILURES, RUNNING, COURSE, WORKERS, SUITES, HOW_IT_ENDED, LOG, OLDEST, NOTES, SIDE_BY_SIDE, THE_RUN, MEASUREMENTS],
    refresh="5s", since="now-1h")
