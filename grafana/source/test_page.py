"""One test over time."""

from kit import (
    AT, BROKEN, CALM, CHANGES, CHOSEN, FAILING, MEANING, MEANWHILE, PASSED, QUIET, RUN_OF_ROW, STATUSES, TEST_PATTERN, WARN, AT_ROW, column,
    common_variables, dashboard, fixed, graph, hidden, instant, last, line_table, lines, links_of_test, logs, mapping, matches, override, page, panel,
    seen, select, stat, states_by, status, steps, text_variable,
)

RESULT = "passed|failed|errored|skipped|xfailed|xpassed|unfinished"
NAMED = matches("test", "$test") + matches("tags", ".*($tag).*")
TURNED = matches("change", "new_failure|fixed")
RESULTS = select("test", status(RESULT)) + NAMED
FAILURES = select("test", status(FAILING)) + NAMED
JUDGED = select("test", status("passed|failed|errored|xfailed|xpassed")) + NAMED
EACH = "run_id, test"
NONE = "No result in this range. Name a test above, click one on another dashboard, or widen the range."
NO_FAILURE = "It has not failed in this range. Widen the range, or check the name of the test above."
SERIES = " One series for each run: at most 500 on a stock Loki."
EXTRACT = {"id": "extractFields", "options": {"source": "labels", "format": "auto", "replace": False}}
OF_RUN = [("Open this run", page("live", *CHOSEN, RUN_OF_ROW, **AT_ROW))]


def only(*names):
    return {"id": "filterFieldsByName", "options": {"include": {"names": list(names)}}}


def numbers(*names):
    return {"id": "convertFieldType", "options": {"fields": {}, "conversions": [
        {"targetField": name, "destinationType": "number"} for name in names]}}


OLDEST_FIRST = {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "Time"}]}}

NEWEST = panel(
    "stat", "Newest result", "How did it go the last time?", 4, 4, [lines("A", f"{RESULTS} | line_format ``", 1)], "No result in this range", "none",
    defaults={"mappings": mapping(STATUSES), "thresholds": steps(QUIET), "color": {"mode": "thresholds"}},
    options={"colorMode": "value", "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "value", "wideLayout": True,
             "reduceOptions": {"calcs": ["lastNotNull"], "fields": "/.*/", "values": False}},
    transformations=[EXTRACT, only("status")])
HEAD = [
    NEWEST,
    stat("Results", "How many runs had it in this range? Results without a retry's first attempts." + SERIES, 4,
         [instant("A", f"count({seen(RESULTS, by=EACH)})")], NONE),
    stat("Passed", "Which share of its results was good, as expected failures are? Skipped and unfinished ones are left out." + SERIES, 4,
         [instant("A", "avg(last_over_time(" + JUDGED + ' | label_format ok=`{{ if or (eq .status "failed") (eq .status "errored") }}0{{ else }}1'
                       "{{ end }}` | unwrap ok [$__range]) by (run_id, test))")], NONE, "percentunit"),
    stat("Failures", "How many runs did it fail in?" + SERIES, 3, [instant("A", f"count({seen(FAILURES, by=EACH)}) or vector(0)")], NONE,
         color=steps(QUIET, 1, BROKEN)),
    stat("Flips", "How often did it go from failing to passing, or back? Two and more make a flaky test." + SERIES, 3,
         [instant("A", f"count({seen(RESULTS + TURNED, by=EACH)}) or vector(0)")], NONE,
         color=steps(QUIET, 2, WARN)),
    stat("Passed on retry", "How often did it fail first and pass in a later attempt of the same run? Once makes a flaky test." + SERIES, 3,
         [instant("A", f"count({seen(RESULTS + ' | outcome=`flaky`', by=EACH)}) or vector(0)")], NONE, color=steps(QUIET, 1, WARN)),
    stat("Mean duration", "How long does it take when it passes?" + SERIES, 3,
         [instant("A", f"avg({last(select('test', 'status=' + chr(34) + 'passed' + chr(34)) + NAMED, 'duration_ms', by=EACH)})")], NONE, "ms"),
]

# A box has room for a sign only.
SIGNS = {**{status: (word.split(" ")[0], color) for status, (word, color) in STATUSES.items()}, "xfailed": ("(✗)", PASSED), "xpassed": ("(✓)", "yellow")}
HISTORY = panel(
    "status-history", "Results by environment", "When did it pass, and where? The newest 200 results, a row for each environment, runner and "
    "test; a gap is a run without it. ✓ passed, ✗ failed, ! broke, – skipped, (✗) failed as expected, (✓) passed unexpectedly, ? unfinished.", 24, 6,
    # Of a long name its end, as there is not room for more.
    [lines("A", f"{RESULTS} | label_format lane=`{{{{ .env }}}} {{{{ .runner }}}} {{{{ if gt (len .test) 32 }}}}…{{{{ end }}}}{{{{ trunc -32 .test }}}}`, {AT} "
           "| keep lane, status, at | line_format ``", 200)], NONE,
    "none",
    defaults={"custom": {"fillOpacity": 80, "lineWidth": 1}, "mappings": mapping(SIGNS), "thresholds": steps(QUIET),
              "color": {"mode": "thresholds"}, "displayName": "${__series.name}"},
    options={"showValue": "auto", "rowHeight": 0.8, "colWidth": 0.9, "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
             "tooltip": {"mode": "single", "sort": "none"}},
    transformations=states_by("lane", "status"))

DURATION = graph(
    "Duration", "Is it getting slower? Each of the newest 1,000 results, and what was expected from those before it.", 14, 8,
    [lines("A", f"{RESULTS} | duration_ms!=`` | label_format expected_ms=`{{{{ or .expected_ms .duration_ms }}}}` "
           "| keep duration_ms, expected_ms | line_format ``")], NONE, "ms",
    overrides=[override("duration_ms", displayName="took", color=fixed(CALM)),
               override("expected_ms", displayName="usual", color=fixed("#8e8e8e"), custom__lineStyle={"fill": "dash", "dash": [8, 4]},
                        custom__showPoints="never")],
    transformations=[EXTRACT, only("Time", "duration_ms", "expected_ms"), numbers("duration_ms", "expected_ms"), OLDEST_FIRST])

LAST = logs("Newest failures in full", "What did it say? The three newest failures, with all lines of their messages.", 10, 8,
            lines("A", FAILURES, 3), NO_FAILURE)

TURNS = line_table(
    "Where it broke, and where it was mended", "Which run broke it? Results that differ from the one before: new failures and fixes, newest "
    "first, at most 100. The neighbours of a row are the previous and the next turn.", 24, 7,
    lines("A", f"{RESULTS}{TURNED} | label_format {MEANWHILE} | line_format ``", 100),
    "It never turned in this range, or there is no history to compare with. Widen the range.", [
        column("Time", "Time", 160, "dateTimeAsIso"), column("change", "Turn", 120, words=CHANGES), column("run_id", "Run", 225, links=OF_RUN),
        column("previous", "Before", 90, words=STATUSES), column("status", "Then", 100, words=STATUSES), column("message", "Message", 300),
        column("env", "Env", 80), column("test", "Test", 240), hidden("from_ms"), hidden("to_ms"),
    ])

FAILED = line_table(
    "When it failed", "When did it fail, and why? Newest first, at most 100: the row below is the previous failure, the row above the next one. Click a run, "
    "or a test for what was logged while it ran.", 24, 7,
    lines("A", f"{FAILURES} | label_format {MEANWHILE}, {TEST_PATTERN}, {MEANING} | line_format ``", 100), NO_FAILURE, [
        column("Time", "Time", 160, "dateTimeAsIso"), column("meaning", "State", 125, words=CHANGES),
        column("message", "Message", 320), column("run_id", "Run", 225, links=OF_RUN),
        column("test", "Test", 240, links=links_of_test("test")), column("env", "Env", 80), column("worker", "Worker", 80),
        hidden("from_ms"), hidden("to_ms"), hidden("test_pattern"),
    ])

EVERY = line_table(
    "Every result", "What came out, run by run? Newest first, at most 1,000, first attempts of retries included.", 24, 10,
    lines("A", f"{select('test', status(RESULT + '|retried'))}{NAMED} | label_format {MEANWHILE} | line_format ``"), NONE, [
        column("Time", "Time", 160, "dateTimeAsIso"), column("status", "Result", 120, words=STATUSES),
        column("change", "Change", 125, words=CHANGES), column("outcome", "Outcome", 90), column("duration_ms", "Duration", 95, "ms"),
        column("slower_by", "Slower by", 95, "ms", color=steps(QUIET, 1, WARN)), column("expected_ms", "Usual", 90, "ms"),
        column("attempt", "Attempt", 80, number=True), column("run_id", "Run", 225, links=OF_RUN), column("env", "Env", 80),
        column("runner", "Runner", 90), column("worker", "Worker", 80), column("message", "Message", 360), column("test", "Test", 260),
        hidden("from_ms"), hidden("to_ms"),
    ])

PAGE = dashboard(
    "test", "How did one test fare over time, since when does it fail, and is it flaky or slow?",
    [
        *common_variables(),
        # Not empty: an empty expression takes all tests.
        text_variable("test", "Test (regex)", "A regular expression for the whole test id: name one test, or a few.", "name a test"),
        text_variable("tag", "Tag (regex)", "A regular expression to look for in a test's tags; ,smoke, takes that tag alone, empty takes all."),
    ],
    [*HEAD, HISTORY, DURATION, LAST, TURNS, FAILED, EVERY], since="now-30d")
