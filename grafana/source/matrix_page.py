"""Tests × runs and tests × configurations."""

from kit import (
    BROKEN, BY_THRESHOLD, CHOSEN, ENDED, OF_ROW, PASSED, QUIET, RUN_OF_ROW, STATUSES, column, common_variables, dashboard, hidden,
    last, line_table, lines, mapping, matches, over_time, page, panel, select, status, steps, table, text_variable,
)

SHOWN = {
    "unexpected": "failed|errored|unfinished|xpassed",
    "unexpected and retries": "failed|errored|unfinished|xpassed|retried",
    "every result": "passed|failed|errored|skipped|xfailed|xpassed|retried|unfinished",
}
SHOW = [{"selected": not i, "text": text, "value": value} for i, (text, value) in enumerate(SHOWN.items())]
SHOW_VARIABLE = {
    "name": "show", "label": "Show", "type": "custom", "hide": 0, "includeAll": False, "multi": False, "skipUrlSync": False,
    "description": "Results that the tables of tests take: those that are not as they should be, retries too, or every result.",
    "query": ", ".join(f"{text} : {value}" for text, value in SHOWN.items()), "current": SHOW[0], "options": SHOW,
}
VARIABLES = [
    *common_variables(),
    SHOW_VARIABLE,
    text_variable("run_id", "Run (regex)", "A regular expression for the whole run id; .+ takes every run.", ".+"),
    text_variable("test", "Test (regex)", "A regular expression for the whole test id; .+ takes all.", ".+"),
    text_variable("configuration", "Configuration (regex)",
                  "A regular expression for the whole configuration, such as .*release.*; .* takes runs without one too.", ".*"),
]
CHOICE = matches("run_id", "$run_id") + matches("configuration", "$configuration")
RESULTS = select("test", status("$show")) + CHOICE + matches("test", "$test")
ENDS = select("run", status(ENDED)) + ' | configuration!=""' + CHOICE
SAY_IT = "No run of this range says what it ran on. Say it: testwire run --attr os=linux --attr browser=firefox"
# The row of a cell is its first field, the column its own name.
THIS_TEST = r"var-test=\Q${__data.fields[0]:percentencode}\E"
THIS_COLUMN = "${__field.name:percentencode}"


def matrix(title, description, height, entries, by, no_value, links):
    """A row for each test, a column for each value of `by`; the newest result in each cell."""
    grid = [
        {"id": "extractFields", "options": {"source": "labels", "format": "auto", "replace": False}},
        {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "Time", "desc": True}]}},
        {"id": "groupBy", "options": {"fields": {
            "test": {"aggregations": [], "operation": "groupby"}, by: {"aggregations": [], "operation": "groupby"},
            "status": {"aggregations": ["first"], "operation": "aggregate"}}}},
        {"id": "groupingToMatrix", "options": {
            "columnField": by, "rowField": "test", "valueField": "status (first)", "emptyValue": "empty"}},
    ]
    query = lines("A", f"{entries} | keep test, {by}, status | line_format ``", 5000)
    shown = [
        {"id": "mappings", "value": mapping({**STATUSES, "": ("·", QUIET)})}, {"id": "custom.width", "value": 225},
        {"id": "links", "value": [{"title": link, "url": url, "targetBlank": False} for link, url in links]},
    ]
    made = table(title, description, 24, height, [query], no_value, [column(f"test\\{by}", "Test", 380, links=[
        ("Its history", page("test", *CHOSEN, r"var-test=\Q${__value.text:percentencode}\E", begin="now-30d", end="now"))])], grid,
        defaults={"color": BY_THRESHOLD, "thresholds": steps(QUIET), "custom": {
            "align": "auto", "filterable": False, "cellOptions": {"type": "color-text"}, "displayMode": "color-text"}})
    made["fieldConfig"]["overrides"].insert(1, {"matcher": {"id": "byRegexp", "options": r"^(?!test\\).*"}, "properties": shown})
    return made


def failing(counter):
    return f"sum by (configuration) ({last(ENDS, counter, '$__interval', 'configuration, run_id, shard')})"


PAGE = dashboard(
    "matrix", "Which tests fail where: in which runs, and on which configurations? Only what is not as it should be, unless Show says "
    "otherwise.", VARIABLES, [
        matrix("Tests × runs", "Which test failed in which run? A row for each test with such a result, a column for each run, the newest "
               "first; an empty cell: nothing of the kind there. Of the newest 5,000 results of the range; narrow Test or Run to see "
               "further back.", 13, RESULTS, "run_id", "Nothing failed in this range. Widen it, or set Show to every result.", [
                   ("This test in this run", page("live", *CHOSEN, f"var-run_id={THIS_COLUMN}", THIS_TEST)),
                   ("All of this run", page("live", *CHOSEN, f"var-run_id={THIS_COLUMN}"))]),
        matrix("Tests × configurations", "On which configurations does a test fail? The newest such result of each test on each "
               "configuration: platform, os, version, style, flavor, architecture, model, device, browser, as the attributes of its run "
               "say it. Of the newest 5,000 results that are not as they should be; others do not carry their configuration.", 10,
               RESULTS.replace(CHOICE, ' | configuration!=""' + CHOICE), "configuration", SAY_IT, [
                   ("Its runs there", page("matrix", *CHOSEN, rf"var-configuration=\Q{THIS_COLUMN}\E", THIS_TEST))]),
        panel("status-history", "Configurations over time", "How does each configuration do, run after run? Failing tests (failed and "
              "errored) of the runs that ended in each interval; no box: no run ended.", 24, 8,
              [over_time("A", f"{failing('failed')} + {failing('errored')}", "{{configuration}}")], SAY_IT,
              defaults={"color": BY_THRESHOLD, "thresholds": steps(PASSED, 1, BROKEN), "custom": {"fillOpacity": 70, "lineWidth": 1}},
              options={"showValue": "always", "rowHeight": 0.85, "colWidth": 0.9, "tooltip": {"mode": "single", "sort": "none"},
                       "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []}},
              maxDataPoints=24),
        line_table("Newest run of each configuration", "Is a configuration forgotten? Its newest run among the newest 1,000 of the range, "
                   "and how it ended.", 24, 8,
                   lines("A", ENDS + " | label_format from_ms=`{{ int (subf (float64 (unixEpochMillis __timestamp__)) (float64 .elapsed_ms) "
                         "10000) }}`, to_ms=`{{ int (addf (float64 (unixEpochMillis __timestamp__)) 10000) }}` | line_format ``"), SAY_IT, [
                             column("configuration", "Configuration", 380), column("status", "Status", 110, words=STATUSES, agg="first"),
                             column("Time", "Ended", 140, "dateTimeFromNow", agg="first"),
                             column("run_id", "Run", 230, agg="first", links=[("Open this run", page(
                                 "live", *OF_ROW, RUN_OF_ROW, begin="${__data.fields.from_ms}", end="${__data.fields.to_ms}"))]),
                             column("done", "Done", 75, "short", agg="first"),
                             column("failed", "Failed", 75, color=steps(QUIET, 1, BROKEN), agg="first"),
                             column("errored", "Errored", 80, color=steps(QUIET, 1, BROKEN), agg="first"),
                             column("branch", "Branch", 120, agg="first"), column("commit", "Commit", 110, agg="first"),
                             *[hidden(name, "first") for name in ("service_name", "env", "runner", "from_ms", "to_ms")],
                         ], group=("configuration",)),
    ], since="now-7d")
