"""Tests that cannot be trusted, and tests that take long."""

from kit import (
    CHOSEN, ENDED, QUIET, RUN_OF_ROW, TEST_OF_ROW, WARN, column, common_variables, dashboard, graph, hidden, instant, last, line_table, lines,
    matches, over_time, page, panel, select, stat, status, steps, text_variable,
)

ENDS = select("run", status(ENDED))
DONE = "passed|failed|errored|xfailed|xpassed"
OF_TEST = matches("test", "$test") + r" | label_format test_pattern=`\Q{{ .test }}\E`"
SERIES = " A stock Loki counts at most 500 runs; loki/loki.yaml allows 10,000."
NONE_ENDED = "No run ended in this range. Widen it."
SOME_WARN = steps(QUIET, 1, WARN)
HISTORY = [("Its history", page("test", *CHOSEN, TEST_OF_ROW, begin="now-30d", end="now"))]
RUN = [("Open this run", page("live", *CHOSEN, RUN_OF_ROW))]
RULE = """**Flip**: a test went from failing to passing, or back. testwire keeps the last 20 results of each test and counts the flips among \
them (`flaky_score`); a failure that passed when it was tried again is one. **Flaky**: $flips flips or more; a test that was broken \
and then mended has 2. **Passed on retry**: it failed and then passed within one run (`outcome="flaky"`). **Slower**: it took \
longer than usual by more than its usual spread (`slower_by`), beside the same 20 results."""


def of_tests(values, condition=""):
    return select("test", status(values)) + condition + OF_TEST


def total(name, span="$__range"):
    return f"sum({last(ENDS, name, span)})"


def grouped(title, description, width, height, query, no_value, columns):
    """A row for each test."""
    return line_table(title, description, width, height, lines("A", query + " | line_format ``"), no_value,
                      [column("test", "Test", 340, links=HISTORY), *columns, hidden("test_pattern", "first")],
                      group=("test",), sort=columns[0]["title"])


LAST_RUN = column("run_id", "In run", 225, links=RUN, agg="first")
NEWEST = column("newest", "Last", 130, "dateTimeFromNow", field="Time", agg="max")
HEAD = [
    panel("text", "The rule", "What the words of this page mean.", 24, 4, [], "The rule is a text.", "none",
          options={"mode": "markdown", "content": RULE}),
    stat("Passed on retry", "How many tests failed and then passed within their run? Summed over the runs that ended." + SERIES, 5,
         [instant("A", f"{total('flaky')} or vector(0)")], NONE_ENDED, color=SOME_WARN),
    stat("Retries", "How many attempts were there beyond the first? Summed over the runs that ended." + SERIES, 5,
         [instant("A", f"{total('retried')} or vector(0)")], NONE_ENDED, color=SOME_WARN),
    stat("Runs with a flaky test", "In which share of the runs that ended did a test pass on a retry?" + SERIES, 5,
         [instant("A", f"(count(max by (run_id) ({last(ENDS, 'flaky')}) > 0) or vector(0)) / count(max by (run_id) ({last(ENDS, 'flaky')}))")],
         NONE_ENDED, "percentunit"),
    graph("Over time", "Does it get better? Tests that passed on a retry, and all retries, of the runs that ended in each interval.", 9, 4,
          [over_time("A", total("flaky", "$__interval"), "passed on retry"), over_time("B", total("retried", "$__interval"), "retries")],
          NONE_ENDED, style="bars", maxDataPoints=60),
]
FLAKY = grouped(
    "Flaky tests", "Which tests flip? Those with at least the chosen number of flips at a failure in the range; of the newest 1,000 such "
    "failures.", 24, 9, of_tests("failed|errored|retried", " | flaky_score >= $flips"),
    "No test flipped that often in this range. Widen it, or lower Flips from.", [
        column("flaky_score", "Most flips of 20", 140, "short", agg="max"), column("failures", "Failures", 90, field="level", agg="count"), NEWEST, LAST_RUN,
        column("message", "A message", 340, agg="first")])
ON_RETRY = grouped(
    "Passed when tried again", "Which tests needed more than one attempt to pass within a run? Of the newest 1,000. It reads every pass of the "
    "range, so a long one takes its time.", 24, 7, of_tests("passed", ' | outcome="flaky"'), "No test passed on a retry in this range.", [
        column("times", "Times", 75, field="level", agg="count"), column("attempt", "Most attempts", 130, "short", agg="max"), NEWEST, LAST_RUN])
RETRIED = grouped(
    "Tried again", "Which tests does the runner try again, and why? Attempts that failed and were repeated, whatever came of it; of the "
    "newest 1,000.", 24, 7, of_tests("retried"), "No runner repeated a test in this range.", [
        column("times", "Times", 75, field="level", agg="count"), NEWEST, column("message", "A message", 340, agg="first")])
SLOWEST = grouped(
    "Slowest tests", "Where does the time go? Tests that took longer than Slow from; of the newest 1,000 such results.", 24, 8,
    of_tests(DONE, " | duration_ms > $slow_ms"), "No test took that long in this range. Lower Slow from.", [
        column("duration_ms", "Longest", 100, "ms", agg="max"), column("mean", "Mean", 100, "ms", field="duration_ms", agg="mean"),
        column("times", "Times", 75, field="level", agg="count"), NEWEST])
SLOWER = grouped(
    "Slower than usual", "What became slower? Tests that took longer than usual by more than their usual spread; of the newest 1,000 such "
    "results. It reads every result of the range, so a long one takes its time.", 24, 8, of_tests(DONE, " | slower_by > 0"),
    "No test was slower than usual in this range.", [
        column("slower_by", "Slower by", 105, "ms", agg="max", color=SOME_WARN), column("expected_ms", "Usually", 95, "ms", agg="first"),
        column("duration_ms", "Longest", 95, "ms", agg="max"), column("times", "Times", 75, field="level", agg="count"), NEWEST])

PAGE = dashboard(
    "flaky", "Which tests cannot be trusted, and which take too long? Flips, retries and passes on a retry; the slowest tests, and those that "
    "became slower.", [
        *common_variables(),
        text_variable("test", "Test (regex)", "A regular expression for the whole test id; .+ takes all.", ".+"),
        text_variable("flips", "Flips from", "A test counts as flaky from this number of flips among its last 20 results.", "3"),
        text_variable("slow_ms", "Slow from (ms)", "A test counts as slow above this number of milliseconds.", "1000"),
    ], [*HEAD, FLAKY, ON_RETRY, RETRIED, SLOWEST, SLOWER], since="now-7d")
