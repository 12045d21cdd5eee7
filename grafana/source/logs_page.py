"""Application logs beside the tests."""

from kit import (
    AT, CHOSEN, RUN_OF_ROW, SOURCE, STATUSES, STEP, TEST_OF_ROW, choice_variable, column, common_variables, dashboard, fixed, graph, hidden,
    label_variable, line_table, lines, logs, mapping, matches, override, over_time, page, panel, select, states_by, status, text_variable, within,
)

LEVELS = {"trace": "text", "debug": "super-light-blue", "info": "blue", "warn": "yellow", "error": "red", "critical": "dark-red",
          "fatal": "dark-purple"}
RUN = matches("run_id", "$run_id")
OF_RUN = RUN + matches("test", "$test")
# Logs of applications belong to the runs of all runners.
LOG = select("log", 'source=~"$source"').replace('"$runner"', '"$runner|app"') + OF_RUN + matches("level", "$level") + " |~ `(?i)$search`"
NO_LINES = "No line matches. Widen the range, loosen the filters, or follow a log: testwire run --tail app.log -- COMMAND"
FAILURES = select("test", status("failed|errored|unfinished")) + OF_RUN
TESTS = select("test") + OF_RUN
MEANWHILE = (r" | label_format test_pattern=`\Q{{ .test }}\E`, "
             "from_ms=`{{ int (subf (float64 (unixEpochMillis __timestamp__)) (float64 .duration_ms) 2000) }}`, "
             "to_ms=`{{ int (addf (float64 (unixEpochMillis __timestamp__)) 2000) }}` | line_format ``")
SPAN = {"begin": "${__data.fields.from_ms}", "end": "${__data.fields.to_ms}"}
OF_TEST = [
    ("All that was logged meanwhile", page("logs", *CHOSEN, **SPAN)),
    ("Its own lines", page("logs", *CHOSEN, RUN_OF_ROW, TEST_OF_ROW, **SPAN)),
    ("Its history", page("test", *CHOSEN, TEST_OF_ROW, begin="now-30d", end="now")),
]


def marks(name, color, expr, title, tags, limit, enable):
    """Marks in the graphs."""
    return {"name": name, "datasource": SOURCE, "enable": enable, "hide": False, "iconColor": color, "expr": expr, "maxLines": limit,
            "titleFormat": title, "tagKeys": tags, "textFormat": "",
            "target": {"refId": "Anno", "expr": expr, "queryType": "range", "maxLines": limit}}


WORKER = "lane=`{{ if .worker }}{{ .worker }}{{ else }}{{ .run_id }}{{ end }}`"
RUNNING = "state=`{{ if eq .status \"started\" }}{{ .test }}{{ end }}`"
PANELS = [
    graph("Lines by level", "When was much said, and how bad was it? Lines of each interval; one that was sent twice counts twice until Loki "
          "has merged the copies. Marks: failures, starts and ends of runs; those of tests can be switched on above.", 24, 6,
          [over_time("A", f"sum by (level) (count_over_time({LOG} {within(STEP)}))", "{{level}}")], NO_LINES, style="bars", stack=True,
          overrides=[override(level, color=fixed(color)) for level, color in LEVELS.items()], maxDataPoints=120),
    panel("state-timeline", "Tests", "Which tests ran while that was said? A row for each worker, or for the run if it has none; of the newest "
          "1,000 starts and ends of tests.", 24, 7,
          [lines("A", f"{TESTS} | label_format {WORKER}, {RUNNING}, {AT} | keep lane, state, at | line_format ``")],
          "No test ran in this range, or none matches the filters.", "none",
          defaults={"color": {"mode": "palette-classic"}, "displayName": "${__series.name}",
                    "custom": {"fillOpacity": 60, "lineWidth": 1, "spanNulls": False},
                    "mappings": mapping({"": (" ", "transparent")})},
          options={"mergeValues": True, "showValue": "auto", "alignValue": "left", "rowHeight": 0.85,
                   "tooltip": {"mode": "single", "sort": "none"},
                   "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []}},
          transformations=states_by("lane", "state")),
    logs("Log", "What was said? The newest first, at most 1,000 lines; open a line for its test, run and fields.", 24, 16, lines("A", LOG),
         NO_LINES),
    line_table("Failures meanwhile", "Which failures may these lines explain? The newest first, at most 1,000; click one to see what was said "
               "while it ran.", 24, 8, lines("A", FAILURES + MEANWHILE), "No test failed in this range.", [
                   column("Time", "Time", 170, "dateTimeAsIso"), column("status", "Status", 110, words=STATUSES),
                   column("test", "Test", 380, links=OF_TEST), column("message", "Message"), column("duration_ms", "Duration", 95, "ms"),
                   column("worker", "Worker", 90), column("run_id", "Run", 220, links=[("Open this run", page("live", *CHOSEN, RUN_OF_ROW))]),
                   hidden("from_ms"), hidden("to_ms"), hidden("test_pattern")]),
]
PAGE = dashboard(
    "logs", "What did the applications say while the tests ran? Their logs beside the tests: of a run, a test, a source or a level.", [
        *common_variables("log"),
        label_variable("source", "source", '{service_name=~"$project", kind="log"}', "Source"),
        choice_variable("level", "Level", "Level of the line, as it says itself.", list(LEVELS)),
        text_variable("run_id", "Run (regex)", "A regular expression for the whole run id; .* takes lines of no run too.", ".*"),
        text_variable("test", "Test (regex)", "A regular expression for the whole test id; .* takes lines of no test too.", ".*"),
        text_variable("search", "Search", "A regular expression to look for, upper or lower case alike; empty takes all."),
    ], PANELS, refresh="10s", since="now-1h")
PAGE["annotations"]["list"] = [
    marks("Failures", "red", FAILURES, "{{test}}", "status,worker", 100, True),
    marks("Starts and ends of runs", "blue", select("run") + RUN, "{{run_id}}", "status,runner", 100, True),
    marks("Starts and ends of tests", "purple", TESTS, "{{test}}", "status,worker", 500, False),
]
