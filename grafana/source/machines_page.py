"""What each machine does and did."""

from kit import (
    BROKEN, BY_THRESHOLD, CALM, ENDED, OF_ROW, PASSED, QUIET, RUN_OF_ROW, STATUSES, WARN, column, common_variables, dashboard, graph, hidden,
    instant, last, line_table, lines, mapping, matches, over_time, page, panel, refs, seen, select, stat, status, steps, text_variable, value_table,
)

HOST = matches("host", "$host")
PROGRESS = select("progress") + HOST
ENDS = select("run", status(ENDED)) + HOST
STARTS = select("run", 'status="started"') + HOST
WHERE = "host, run_id, service_name, env, runner"
SHARD = "run_id, shard"
SOME_BROKEN = steps(QUIET, 1, BROKEN)
NONE_BUSY = "No machine is busy. Start a run: testwire run -- COMMAND"
NONE_ENDED = "No run ended on such a machine in this range. Widen it, or loosen the filters."
NO_VALUES = "Nobody measures. Values come from `rt-robot` of RealtimeResults through `testwire listen`."
WINDOW = (" | label_format from_ms=`{{ int (subf (float64 (unixEpochMillis __timestamp__)) (float64 .elapsed_ms) 10000) }}`, "
          "to_ms=`{{ int (addf (float64 (unixEpochMillis __timestamp__)) 10000) }}` | line_format ``")
LINK = [("Open this run", page("live", *OF_ROW, RUN_OF_ROW, begin="${__data.fields.from_ms}", end="${__data.fields.to_ms}"))]


def now(name, fold="sum"):
    """A counter of the runs that are on each machine: of their shards that reported within two minutes and have not ended."""
    newest = last(PROGRESS, name, "2m", f"{WHERE}, shard")
    return f'{fold} by ({WHERE}) ({newest} unless on (run_id, shard) {seen(select("run", status(ENDED)), "3m", SHARD)})'


def worst(number, value):
    return f"({number} + 0 * {seen(select('run', status(value)) + HOST, '$__interval', 'host')})"


def measured(source):
    return select("metric", f'source="{source}"').replace('"$runner"', '"$runner|app"') + HOST


def of_newest(agg):
    """Columns of a finished run."""
    return [
        column("status", "Status", 100, words=STATUSES, agg=agg), column("Time", "Ended", 120, "dateTimeFromNow", agg=agg),
        column("run_id", "Run", 225, links=LINK, agg=agg), column("service_name", "Project", 100, agg=agg),
        column("done", "Done", 65, "short", agg=agg), column("failed", "Failed", 65, color=SOME_BROKEN, agg=agg),
        column("errored", "Errored", 75, color=SOME_BROKEN, agg=agg), column("elapsed_ms", "Duration", 90, "ms", agg=agg),
        column("branch", "Branch", 110, agg=agg), column("user", "User", 75, agg=agg), column("env", "Env", 70, agg=agg),
        column("runner", "Runner", 80, agg=agg), hidden("from_ms", agg), hidden("to_ms", agg),
    ]


# A box has room for a sign only.
STATES = {1: ("✓", PASSED), 2: ("✗", BROKEN), 3: ("■", WARN)}
PANELS = [
    stat("Machines", "On how many machines did a run begin? Each machine is a series.", 4, [instant("A", f"count({seen(STARTS, by='host')})")],
         "No run began in this range. Widen it.", height=5),
    stat("Busy now", "How many machines have a run that reported within the last two minutes and has not ended? Each machine and run is a series.", 4,
         [instant("A", f"count(max by (host) ({now('done')})) or vector(0)")], NONE_BUSY, height=5, color=steps(QUIET, 1, CALM)),
    panel("bargauge", "Processor and memory", "Is a machine short of something? What scrapers of RealtimeResults measured last in the "
          "range.", 16, 5,
          [over_time(ref, f"max by (host) ({last(measured(source), 'value', '$__interval', 'host')})", f"{{{{host}}}}: {word}")
           for ref, source, word in (("A", "cpu_percent", "processor"), ("B", "memory_percent", "memory"))], NO_VALUES, "percent",
          defaults={"min": 0, "max": 100, "decimals": 0, "color": BY_THRESHOLD, "thresholds": steps(CALM, 90, WARN)},
          options={"displayMode": "basic", "orientation": "horizontal", "showUnfilled": True, "minVizHeight": 10, "minVizWidth": 0,
                   "valueMode": "text", "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}, maxDataPoints=100),
    value_table("Now", "What is on each machine at this moment? Runs that reported within the last two minutes and have not ended; a row for "
                "each machine and run.", 24, 6,
                refs([f"{now('done')} / ({now('planned')} > 0)", now("done"), now("failed"), now("errored"), now("running"),
                      now("elapsed_ms", "max")]), NONE_BUSY, [
                    column("host", "Machine", 180),
                    column("run_id", "Run", 220, links=[("Watch this run", page("live", *OF_ROW, RUN_OF_ROW, begin="now-12h", end="now"))]),
                    column("service_name", "Project", 140), column("Value #A", "Progress", 160, gauge=True), column("Value #B", "Done", 80),
                    column("Value #C", "Failed", 80, color=SOME_BROKEN), column("Value #D", "Errored", 80, color=SOME_BROKEN),
                    column("Value #E", "Running", 85), column("Value #F", "Elapsed", 100, "ms"), column("env", "Env", 90),
                    column("runner", "Runner", 90), hidden("Time")], sort="Elapsed"),
    line_table("Last run of each machine", "What did each machine do last? Its newest finished run, among the newest 1,000 of the range.", 24,
               8, lines("A", ENDS + WINDOW), NONE_ENDED, [column("host", "Machine", 150), *of_newest("first")], group=("host",)),
    panel("status-history", "Run history", "When did runs end on each machine, and how? The worst result of each interval: ✓ passed, ✗ "
          "failed, ■ aborted; no box: no run ended.", 24, 7,
          [over_time("A", f"{worst(3, 'aborted')} or {worst(2, 'failed')} or {worst(1, 'passed')}", "{{host}}")], NONE_ENDED, "none",
          defaults={"mappings": mapping(STATES), "color": BY_THRESHOLD, "thresholds": steps(QUIET),
                    "custom": {"fillOpacity": 70, "lineWidth": 1}},
          options={"showValue": "auto", "rowHeight": 0.85, "colWidth": 0.9, "tooltip": {"mode": "single", "sort": "none"},
                   "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []}},
          maxDataPoints=24),
    *[graph(title, f"{question} What scrapers of RealtimeResults measured on each machine.", 12, 7,
            [over_time("A", f"max by (host) ({last(measured(source), 'value', '$__interval', 'host')})", "{{host}}")], NO_VALUES, "percent",
            defaults={"min": 0, "max": 100}, maxDataPoints=300)
      for title, question, source in (("Processor", "Is the processor busy while tests run?", "cpu_percent"),
                                      ("Memory", "Is memory short while tests run?", "memory_percent"))],
    line_table("Finished runs", "What ran on these machines? Every finished run, the newest first, at most 1,000.", 24, 10,
               lines("A", ENDS + WINDOW), NONE_ENDED, [column("host", "Machine", 150), *of_newest(None)]),
]
PAGE = dashboard(
    "machines", "What does each machine do: which run is on it, what was its last, and is it short of something?",
    [*common_variables(), text_variable("host", "Machine (regex)", "A regular expression for the whole name of the machine; .+ takes all.", ".+")],
    PANELS, refresh="10s")
