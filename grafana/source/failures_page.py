"""Failures by cause: the same message but for numbers, paths and times is the same failure."""

from kit import (
    BROKEN, CHANGES, CHOSEN, ENDED, FAILING, MEANING, MEANWHILE, PASSED, QUIET, RUN_OF_ROW, STATUSES, TEST_OF_ROW, TEST_PATTERN, WARN,
    choice_variable, column, common_variables, dashboard, fixed, graph, hidden, instant, last, line_table, lines, links_of_test,
    logs, matches, over_time, override_query, page, seen, select, stat, status, steps, text_variable,
)

RUN = matches("run_id", "$run_id")
ENDS = select("run", status(ENDED)) + RUN
FAILED = (select("test", status(FAILING)) + RUN + matches("signature", "$signature") + matches("change", "$change") + matches("test", "$test")
          + matches("tags", ".*($tag).*"))
NONE = "No failure in this range that the filters let through. Widen the range, or loosen the filters."
NO_RUN_ENDED = "No run ended in this range. Widen it, or choose other projects."
SOME_BROKEN, SOME_WARN, SOME_FIXED = steps(QUIET, 1, BROKEN), steps(QUIET, 1, WARN), steps(QUIET, 1, PASSED)
FILTERS = ("${run_id:queryparam}", "${change:queryparam}", "${test:queryparam}", "${tag:queryparam}")
ONLY_THIS = [("Only this cause", page("failures", *CHOSEN, *FILTERS, "var-signature=${__data.fields.signature}"))]
ONLY_THIS_TEST = [
    ("Its history", page("test", *CHOSEN, TEST_OF_ROW, begin="now-30d", end="now")),
    ("Only this test", page("failures", *CHOSEN, "${run_id:queryparam}", TEST_OF_ROW)),
]


def total(name):
    return f"sum({last(ENDS, name)}) or vector(0)"


HEAD = [
    stat("Causes", "How many different failures are there? Distinct signatures, at most 500 on a stock Loki.", 4,
         [instant("A", f"count({seen(FAILED, by='signature')})")], NONE, color=SOME_BROKEN),
    stat("Failing results", "How many tests failed or broke, summed over the runs that ended in this range?", 4,
         [instant("A", f"sum({last(ENDS, 'failed')} + {last(ENDS, 'errored')}) or vector(0)")], NO_RUN_ENDED, color=SOME_BROKEN),
    stat("New", "How many of them passed, or did not exist, in the run before?", 4, [instant("A", total("new_failures"))], NO_RUN_ENDED,
         color=SOME_BROKEN),
    stat("Still failing", "How many of them failed in the run before, too?", 4, [instant("A", total("still_failing"))], NO_RUN_ENDED,
         color=SOME_WARN),
    stat("Fixed", "How many tests passed that failed in the run before?", 4, [instant("A", total("fixed"))], NO_RUN_ENDED,
         color=SOME_FIXED),
    stat("Known", "How many failures match a pattern of --known-failures, or were expected by an upload to resultsdb?", 4, [instant("A", total("known"))], NO_RUN_ENDED),
]

CLUSTERS = line_table(
    "Failures by cause", "Which failures are the same, and which came first? One row for each signature: a message but for numbers, paths and "
    "times. State: what the newest one is beside the run before. First seen: within this range. Among the newest 5,000 failures; click a "
    "message for this cause alone.", 24, 10,
    lines("A", f"{FAILED} | label_format {MEANING} | keep signature, test, run_id, message, meaning | line_format ``", 5000), NONE, [
        column("count", "Failures", 85, number=True, field="run_id", agg="count"),
        column("meaning", "State", 125, words=CHANGES, agg="first"),
        column("message", "Example message", 520, links=ONLY_THIS, agg="first"),
        column("tests", "Tests", 70, number=True, field="test", agg="distinctCount"),
        column("runs", "Runs", 70, number=True, field="run_id", agg="distinctCount"),
        column("test", "One of the tests", 305, agg="first"),
        column("first_seen", "First seen", 160, "dateTimeAsIso", field="Time", agg="min"),
        column("last_seen", "Last seen", 160, "dateTimeAsIso", field="Time", agg="max"),
        column("signature", "Signature", 165),
    ], group=("signature",), sort="Failures")

TESTS = line_table(
    "Affected tests", "Which tests fail, how often, and since when? One row for each test, among the newest 5,000 failures. Click one for its "
    "history.", 14, 10,
    lines("A", f"{FAILED} | label_format {TEST_PATTERN}, {MEANING} | keep test, run_id, meaning, message, signature, test_pattern "
               "| line_format ``", 5000), NONE, [
        column("count", "Failures", 85, number=True, field="run_id", agg="count"),
        column("meaning", "State", 125, words=CHANGES, agg="first"), column("test", "Test", 320, links=ONLY_THIS_TEST),
        column("causes", "Causes", 75, number=True, field="signature", agg="distinctCount"),
        column("first_seen", "First seen", 160, "dateTimeAsIso", field="Time", agg="min"),
        column("last_seen", "Last seen", 160, "dateTimeAsIso", field="Time", agg="max"),
        column("message", "Newest message", 320, agg="first"), hidden("test_pattern", "first"),
    ], group=("test",), sort="Failures")

COURSE = graph(
    "New, old and fixed", "Is it getting better? Failures that are new, those that go on, and tests that were fixed, in the runs that ended in "
    "each interval.", 10, 10,
    [over_time(ref, f"sum({last(ENDS, name, '$__interval')})", name.replace("_", " "))
     for ref, name in zip("ABC", ["new_failures", "still_failing", "fixed"])], NO_RUN_ENDED, style="bars",
    overrides=[override_query(ref, color=fixed(color)) for ref, color in zip("ABC", [BROKEN, WARN, PASSED])])

EACH = line_table(
    "Each failure", "What happened each time? The newest 1,000. Click a test for what was logged while it ran, a run for all of it.", 24, 9,
    lines("A", f"{FAILED} | label_format {MEANWHILE}, {TEST_PATTERN}, {MEANING} | line_format ``"), NONE, [
        column("Time", "Time", 160, "dateTimeAsIso"), column("status", "Status", 95, words=STATUSES),
        column("meaning", "State", 125, words=CHANGES), column("test", "Test", 340, links=links_of_test()),
        column("message", "Message", 460), column("duration_ms", "Duration", 90, "ms"), column("previous", "Before", 90),
        column("run_id", "Run", 225, links=[("Open this run", page("live", *CHOSEN, RUN_OF_ROW))]), column("env", "Env", 80),
        column("runner", "Runner", 90), hidden("from_ms"), hidden("to_ms"), hidden("test_pattern"),
    ])

MESSAGES = logs("Messages in full", "What does it say exactly? The newest 20, with all lines of their messages.", 24, 10, lines("A", FAILED, 20),
                NONE)

PAGE = dashboard(
    "failures", "Which failures are there, which are new, and which are one and the same?",
    [
        *common_variables(),
        choice_variable("change", "State", "What a failure is beside the run before; All takes those without a history, too.",
                        ["new_failure", "still_failing"], ".*"),
        text_variable("run_id", "Run (regex)", "A regular expression for the whole run id; .+ takes every run in the time range.", ".+"),
        text_variable("test", "Test (regex)", "A regular expression for the whole test id; .* takes all.", ".*"),
        text_variable("tag", "Tag (regex)", "A regular expression to look for in a test's tags; ,smoke, takes that tag alone, empty takes all."),
        text_variable("signature", "Cause", "A regular expression for the whole signature; .* takes all.", ".*"),
    ],
    [*HEAD, CLUSTERS, TESTS, COURSE, EACH, MESSAGES], since="now-7d")
