"""Home: every run, live ones first."""

from kit import (
    BROKEN, CALM, ENDED, OF_ROW, PASSED, QUIET, RUN_OF_ROW, STEP, WARN, choice_variable, column, common_variables, dashboard,
    fixed, graph, hidden, instant, last, line_table, lines, matches, over_time, override_query, page, refs, seen, select, stat,
    status, steps, text_variable, value_table, within,
)

# Facts of a run are its metadata; `{{ . }}` writes all of them as `name:value`.
FILTERS = matches("branch", "$branch") + matches("user", "$user") + ' | line_format `{{ . }}` |~ `$fact`'
PROGRESS = select("progress")
ENDS = select("run", status(ENDED))
CHOSEN_ENDS = ENDS + FILTERS
STARTS = select("run", 'status="started"') + FILTERS
SHARD = "run_id, shard"
WHO = "run_id, service_name, env, runner"

# A shard that reported within two minutes and has not ended keeps its run alive. Ends are looked for a little further back, because
# the clocks of reports and ends are those of the events.
ALIVE = f'sum by (run_id) ({seen(PROGRESS, "2m", SHARD)} unless on (run_id, shard) {seen(ENDS, "3m", SHARD)})'
LIVE = f'({ALIVE} and on (run_id) {seen(STARTS, "24h")})'
STALLED = (f'{seen(STARTS, "24h")} unless on (run_id) {seen(ENDS, "24h")} unless on (run_id) {seen(PROGRESS, "2m")}')


def of_live(name, fold="sum"):
    """A counter of each live run: of its shards that ended, what they ended with, of the others, what they last reported."""
    by = f"{WHO}, shard"
    both = f'{last(ENDS, name, "12h", by)} or {last(PROGRESS, name, "2m", by)}'
    return f"{fold} by ({WHO}) ({both})"


def live(expr):
    return f"{expr} and on (run_id) {LIVE}"


def total(name):
    return f"sum({last(CHOSEN_ENDS, name)})"


def over(values=ENDED):
    """Runs of which no part is under way any more, and some part ended so."""
    return f"({seen(select('run', status(values)) + FILTERS)} unless on (run_id) {ALIVE})"


def link_of_run(begin, end):
    return ("Open this run", page("live", *OF_ROW, RUN_OF_ROW, begin=begin, end=end))


def failing_of_run(begin, end):
    return ("Its failures by cause", page("failures", *OF_ROW, RUN_OF_ROW, begin=begin, end=end))


NO_RUN_ENDED = "No run ended in this range. Widen it, loosen the filters, or start one: testwire run -- COMMAND"
SERIES = " A stock Loki counts at most 500 runs; loki/loki.yaml allows 10,000."
LIVE_LINK = [link_of_run('${__data.fields["Value #M"].numeric}', "now")]
ENDED_LINK = [link_of_run("${__data.fields.from_ms}", "${__data.fields.to_ms}"),
              failing_of_run("${__data.fields.from_ms}", "${__data.fields.to_ms}")]
SOME_BROKEN, SOME_WARN, SOME_FIXED = steps(QUIET, 1, BROKEN), steps(QUIET, 1, WARN), steps(QUIET, 1, PASSED)

HEAD = [
    stat("Live runs", "How many runs are under way? A run is live if it reported within the last two minutes and has not ended.", 4,
         [instant("A", f"count({LIVE}) or vector(0)")], "No run is live. Start one: testwire run -- COMMAND", color=steps(QUIET, 1, CALM)),
    stat("Failing in live runs", "Does anything fail right now? Failed and broken tests of live runs.", 4,
         [instant("A", f"sum(({live(of_live('failed'))}) + on (run_id) ({live(of_live('errored'))})) or vector(0)")],
         "No run is live. Start one: testwire run -- COMMAND", color=SOME_BROKEN),
    stat("Stalled runs", "Did a run die? Runs that started within 24 hours, have not ended, and have been silent for two minutes: machine "
         "down, testwire killed, or Loki not reachable from there.", 4, [instant("A", f"count({STALLED}) or vector(0)")],
         "Nothing started in 24 hours. Start a run: testwire run -- COMMAND", color=SOME_WARN),
    stat("Finished runs", "How many runs ended in this range?" + SERIES, 4, [instant("A", f"count({over()})")],
         NO_RUN_ENDED),
    stat("Failed", "How many of them failed: a test did, or the runner said so?" + SERIES, 4,
         [instant("A", f"count({over('failed')}) or vector(0)")], NO_RUN_ENDED, color=SOME_BROKEN),
    stat("Aborted", "How many ended without an end of their own: killed, crashed, or silent for too long? These are not failures of "
         "tests." + SERIES, 4, [instant("A", f"count({over('aborted')}) or vector(0)")], NO_RUN_ENDED, color=SOME_WARN),
    stat("Runs passed", "Which share of the finished runs passed in all their parts?" + SERIES, 6,
         [instant("A", f"(count({over('passed')} unless on (run_id) {over('failed|aborted')}) or vector(0)) "
                       f"/ count({over()})")], NO_RUN_ENDED, "percentunit"),
    stat("Tests passed", "Which share of the tests that ran passed? Skipped and unfinished ones are left out." + SERIES, 6,
         [instant("A", f"{total('passed')} / ({total('passed')} + {total('failed')} + {total('errored')} > 0)")],
         NO_RUN_ENDED, "percentunit"),
    stat("New failures", "How many failures of tests were new, which passed in the run before?" + SERIES, 6,
         [instant("A", f"{total('new_failures')} or vector(0)")], NO_RUN_ENDED, color=SOME_BROKEN),
    stat("Mean duration", "How long does a run take? Mean of the finished runs." + SERIES, 6,
         [instant("A", f"avg(max by (run_id) ({last(CHOSEN_ENDS, 'elapsed_ms')}) unless on (run_id) {ALIVE})")], NO_RUN_ENDED, "ms"),
]

LIVE_TABLE = value_table(
    "Runs under way", "Which runs are under way, and how far are they? Each run that started within 24 hours, reported within the last two "
    "minutes and has not ended; shards of a run are summed up. Click a run to watch it.", 24, 7,
    refs([
        live(f"({of_live('done')} / ({of_live('planned')} > 0))"), live(of_live("done")), live(of_live("planned")),
        live(of_live("passed")), live(of_live("failed")), live(of_live("errored")), live(of_live("skipped")), live(of_live("flaky")),
        live(of_live("new_failures")), live(of_live("running")), live(of_live("elapsed_ms", "max")), live(of_live("eta_ms", "max")),
        live(f"min by ({WHO}, branch, user, host) (last_over_time({STARTS} | label_format from_ms=`{{{{ sub (unixEpochMillis __timestamp__) "
             f"10000 }}}}` | unwrap from_ms [24h]) by ({WHO}, branch, user, host))"),
    ]),
    "No run is live. Start one: testwire run -- COMMAND", [
        column("run_id", "Run", 225, links=LIVE_LINK), column("service_name", "Project", 100),
        column("Value #A", "Progress", 150, gauge=True), column("Value #B", "Done", 65), column("Value #C", "Planned", 75),
        column("Value #L", "To go", 85, "ms"), column("Value #K", "Elapsed", 85, "ms"), column("Value #D", "Passed", 75),
        column("Value #E", "Failed", 70, color=SOME_BROKEN), column("Value #F", "Errored", 75, color=SOME_BROKEN),
        column("Value #I", "New failures", 105, color=SOME_BROKEN), column("Value #G", "Skipped", 80),
        column("Value #H", "Flaky", 65, color=SOME_WARN), column("Value #J", "Running", 80), column("branch", "Branch", 120),
        column("user", "User", 90), column("host", "Machine", 120), column("env", "Env", 80), column("runner", "Runner", 90),
        hidden("Value #M"), hidden("Time"),
    ], sort="Elapsed")

STALLED_TABLE = value_table(
    "Stalled", "Which runs fell silent, and since when do they run? Neither failed nor aborted: nobody knows. testwire ends such a run as "
    "aborted when it comes to life again.", 24, 4,
    [instant("A", f"min by ({WHO}, branch, user, host) (last_over_time({STARTS} | label_format from_ms=`{{{{ unixEpochMillis __timestamp__ }}}}` "
                  f"| unwrap from_ms [24h]) by ({WHO}, branch, user, host)) and on (run_id) ({STALLED})")],
    "No run is stalled: all that started within 24 hours ended or are live.", [
        column("run_id", "Run", 225, links=[link_of_run('${__data.fields["Value #A"].numeric}', "now")]),
        column("service_name", "Project", 120), column("Value #A", "Started", 150, "dateTimeFromNow"), column("branch", "Branch", 120),
        column("user", "User", 90), column("host", "Machine", 120), column("env", "Env", 80), column("runner", "Runner", 90),
        hidden("Time"),
    ])

STATES = {1: ("✓ passed", PASSED), 2: ("✗ failed", BROKEN), 3: ("■ aborted", WARN)}
ENDED_TABLE = line_table(
    "Finished runs, newest first",
    "What did each run bring? A run is a row, also where several processes shared it; progress is that of the part that came least far, "
    "and a run of which parts are under way shows the others. The newest 1,000 ends. Click a run to open it, or to see its failures by cause.", 24, 12,
    lines("A", f'{select("run", status(ENDED), "status=~" + chr(34) + "$status" + chr(34))}{FILTERS} | label_format '
               "from_ms=`{{ int (subf (float64 (unixEpochMillis __timestamp__)) (float64 .elapsed_ms) 10000) }}`, "
               "to_ms=`{{ int (addf (float64 (unixEpochMillis __timestamp__)) 10000) }}`, "
               "complete=`{{ divf (float64 .done) (maxf 1 (float64 .planned) (float64 .done)) }}`, "
               'state=`{{ if eq .status "passed" }}1{{ else if eq .status "failed" }}2{{ else }}3{{ end }}` | line_format ``'),
    NO_RUN_ENDED, [
        column("state", "Status", 105, words=STATES, number=True, agg="max"), column("run_id", "Run", 225, links=ENDED_LINK),
        column("service_name", "Project", 120, agg="first"), column("branch", "Branch", 110, agg="first"),
        column("Time", "Ended", 160, "dateTimeAsIso", agg="max"), column("elapsed_ms", "Duration", 90, "ms", agg="max"),
        column("complete", "Progress", 120, gauge=True, agg="min"), column("done", "Tests", 70, number=True, agg="sum"),
        column("passed", "Passed", 75, number=True, agg="sum"), column("failed", "Failed", 70, color=SOME_BROKEN, agg="sum"),
        column("errored", "Errored", 75, color=SOME_BROKEN, agg="sum"),
        column("new_failures", "New failures", 105, color=SOME_BROKEN, agg="sum"),
        column("fixed", "Fixed", 65, color=SOME_FIXED, agg="sum"), column("flaky", "Flaky", 65, color=SOME_WARN, agg="sum"),
        column("skipped", "Skipped", 80, number=True, agg="sum"), column("unfinished", "Unfinished", 95, color=SOME_WARN, agg="sum"),
        column("user", "User", 90, agg="first"), column("host", "Machine", 120, agg="first"), column("env", "Env", 80, agg="first"),
        column("runner", "Runner", 90, agg="first"), column("commit", "Commit", 95, agg="first"),
        column("xfailed", "Xfailed", 75, number=True, agg="sum"), column("xpassed", "Xpassed", 80, color=SOME_WARN, agg="sum"),
        hidden("from_ms", "min"), hidden("to_ms", "max"),
    ], group=("run_id",), sort="Ended")

EACH = "service_name, run_id, shard"
TRENDS = [
    graph("Pass rate", "Is it getting better or worse? Share of tests that passed, mean of the runs that ended in each interval, for each "
          "project." + SERIES, 8, 8,
          [over_time("A", "avg by (service_name) (max_over_time(" + CHOSEN_ENDS + " | label_format pass_rate=`{{ divf (float64 .passed) "
                     "(maxf 1 (addf (float64 .passed) (float64 .failed) (float64 .errored))) }}` | unwrap pass_rate " + within(STEP) + ") "
                     "by (service_name, run_id))", "{{service_name}}")],
          NO_RUN_ENDED, "percentunit", defaults={"min": 0, "max": 1}),
    graph("Duration", "Are runs getting slower? Mean of the runs that ended in each interval, for each project." + SERIES, 8, 8,
          [over_time("A", "avg by (service_name) (max by (service_name, run_id) "
                     f"({last(CHOSEN_ENDS, 'elapsed_ms', '$__interval', EACH)}))", "{{service_name}}")],
          NO_RUN_ENDED, "ms"),
    graph("Results", "What came out, over time? Tests by result, in the runs that ended in each interval." + SERIES, 8, 8,
          [over_time(ref, f"sum({last(CHOSEN_ENDS, name, '$__interval')})", name)
           for ref, name in zip("ABCD", ["passed", "failed", "errored", "skipped"])],
          NO_RUN_ENDED, style="bars", stack=True,
          overrides=[override_query(ref, color=fixed(color))
                     for ref, color in zip("ABCD", [PASSED, BROKEN, "dark-red", "#8e8e8e"])]),
]

PAGE = dashboard(
    "runs", "Which runs are under way, and what did the finished ones bring? Live runs first; click a run to open it.",
    [
        *common_variables(),
        choice_variable("status", "Status", "Result of the finished runs in the table.", ENDED.split("|")),
        text_variable("branch", "Branch (regex)", "A regular expression for the whole branch name; .* takes all.", ".*"),
        text_variable("user", "User (regex)", "A regular expression for the whole name of who started the run; .* takes all.", ".*"),
        text_variable("fact", "Tag or fact (regex)", "A regular expression to look for in all facts of a run, such as attr_team:till, "
                      "host:lab7 or commit:c0ffee; empty takes all."),
    ],
    [*HEAD, LIVE_TABLE, STALLED_TABLE, ENDED_TABLE, *TRENDS], refresh="10s")
