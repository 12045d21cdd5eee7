"""What the dashboards are made of: variables, queries, panels and tables, as Grafana's classic JSON.

Grafana 9.4 and later read what is made here. Where 9.4 has another name for a setting than its successors, both are written.
"""

SOURCE = {"type": "loki", "uid": "${loki_datasource}"}
ENDED = "passed|failed|aborted"
FAILING = "failed|errored"
PASSED, BROKEN, WARN, CALM, QUIET = "green", "red", "orange", "blue", "text"

# Never colour alone: each status has its sign and its word.
STATUSES = {
    "started": ("▶ running", CALM),
    "created": ("… created", QUIET),
    "passed": ("✓ passed", PASSED),
    "failed": ("✗ failed", BROKEN),
    "errored": ("! errored", "dark-red"),
    "aborted": ("■ aborted", WARN),
    "skipped": ("– skipped", QUIET),
    "xfailed": ("✗ as expected", PASSED),
    "xpassed": ("✓ unexpectedly", "yellow"),
    "retried": ("↻ retried", "yellow"),
    "unfinished": ("? unfinished", WARN),
}
CHANGES = {
    "new_failure": ("▲ new failure", BROKEN),
    "still_failing": ("= still failing", WARN),
    "fixed": ("▼ fixed", PASSED),
    "new_test": ("+ new test", CALM),
    "known": ("○ known", QUIET),
}
NO_RUN = "No entry of this run in this range. Widen it, or pick a run on the dashboard runs."


# Variables

def data_source():
    return {
        "name": "loki_datasource", "label": "Loki data source", "description": "The Loki that testwire sends to.",
        "type": "datasource", "query": "loki", "regex": "", "hide": 0, "includeAll": False, "multi": False, "options": [],
        "refresh": 1, "skipUrlSync": False,
        "current": {"selected": True, "text": "testwire", "value": "testwire-loki"},
    }


def label_variable(name, label, stream, title):
    """Values of a label, of which several or all can be chosen."""
    return {
        "name": name, "label": title, "description": f"Label {label}.", "type": "query", "datasource": SOURCE, "definition": "",
        "query": {"label": label, "refId": "LokiVariableQueryEditor-VariableQuery", "stream": stream, "type": 1},
        "refresh": 2, "regex": "", "sort": 1, "hide": 0, "includeAll": True, "allValue": ".+", "multi": True, "options": [],
        "skipUrlSync": False, "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def common_variables(kind="run"):
    """Data source, project, environment and runner; every dashboard has them."""
    of_project = f'{{service_name=~"$project", kind="{kind}"}}'
    return [
        data_source(),
        label_variable("project", "service_name", f'{{kind="{kind}"}}', "Project"),
        label_variable("env", "env", of_project, "Environment"),
        label_variable("runner", "runner", of_project, "Runner"),
    ]


def text_variable(name, title, description, value=""):
    option = {"selected": True, "text": value, "value": value}
    return {"name": name, "label": title, "description": description, "type": "textbox", "query": value, "hide": 0,
            "skipUrlSync": False, "current": option, "options": [option]}


def choice_variable(name, title, description, values, every=".+"):
    """A fixed list, of which several or all can be chosen; All is the regular expression `every`."""
    options = [{"selected": False, "text": value, "value": value} for value in values]
    return {"name": name, "label": title, "description": description, "type": "custom", "query": ",".join(values), "hide": 0,
            "includeAll": True, "allValue": every, "multi": True, "skipUrlSync": False,
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            "options": [{"selected": True, "text": "All", "value": "$__all"}, *options]}


# LogQL

def select(kind, *more):
    """Selects entries of a kind; labels come first, because they spare Loki the reading."""
    parts = ['service_name=~"$project"', 'env=~"$env"', 'runner=~"$runner"', f'kind="{kind}"', *more]
    return "{" + ", ".join(parts) + "}"


def status(values):
    return f'status=~"{values}"'


def matches(name, pattern):
    """Takes entries whose metadata matches as a whole. Loki 3.7 does not anchor every expression itself: `main|dev` would take `main-2`."""
    return f" | {name}=~`^(?s:{pattern})$`"


# Each step of a graph is what came after it, up to the next. Loki looks back from a step, and what came after the last step before now
# would stand behind the graph's right edge.
STEP = "$__interval"


def within(span):
    return f"[{span}] offset -{span}" if span == STEP else f"[{span}]"


def last(entries, name, span="$__range", by="run_id, shard"):
    """Newest value of a counter; a shard of a run is a series. Right whatever was sent twice."""
    return f"last_over_time({entries} | unwrap {name} {within(span)}) by ({by})"


def seen(entries, span="$__range", by="run_id"):
    """A series for each run that has such an entry."""
    return f"sum by ({by}) (count_over_time({entries} {within(span)}))"


# Queries of panels

def instant(ref, expr, legend=""):
    return _query(ref, expr, "instant", legendFormat=legend)


def over_time(ref, expr, legend=""):
    return _query(ref, expr, "range", legendFormat=legend)


def lines(ref, expr, limit=1000):
    return _query(ref, expr, "range", maxLines=limit)


def _query(ref, expr, kind, **more):
    return {"refId": ref, "datasource": SOURCE, "editorMode": "code", "expr": expr, "queryType": kind,
            **{name: value for name, value in more.items() if value != ""}}


def refs(exprs, query=instant):
    """Queries A, B, C, …"""
    return [query(chr(ord("A") + i), expr) for i, expr in enumerate(exprs)]


# Instants of a row, for links to what happened meanwhile; two seconds more on each side, for clocks and buffers.
MEANWHILE = ("from_ms=`{{ int (subf (float64 (unixEpochMillis __timestamp__)) (float64 .duration_ms) 2000) }}`, "
             "to_ms=`{{ int (addf (float64 (unixEpochMillis __timestamp__)) 2000) }}`")
# The test as a regular expression that takes nothing else.
TEST_PATTERN = r"test_pattern=`\Q{{ .test }}\E`"
# What a failure means beside earlier runs.
MEANING = 'meaning=`{{ if eq .known "true" }}known{{ else }}{{ .change }}{{ end }}`'


# Fields

def override(name, **properties):
    """Settings of the field with this name; `custom__width` stands for `custom.width`."""
    return {"matcher": {"id": "byName", "options": name}, "properties": _properties(properties)}


def override_query(ref, **properties):
    return {"matcher": {"id": "byFrameRefID", "options": ref}, "properties": _properties(properties)}


def _properties(properties):
    return [{"id": name.replace("__", "."), "value": value} for name, value in properties.items() if value is not None]


def mapping(words):
    """Value → sign and word, and colour."""
    options = {str(value): {"text": text, "color": color, "index": i} for i, (value, (text, color)) in enumerate(words.items())}
    return [{"type": "value", "options": options}]


def steps(*limits):
    """Thresholds: a colour, then pairs of a limit and the colour from there on."""
    first, rest = limits[0], limits[1:]
    pairs = [(None, first), *zip(rest[::2], rest[1::2])]
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in pairs]}


FIXED_QUIET = steps(QUIET)
BY_THRESHOLD = {"mode": "thresholds"}


def fixed(color):
    return {"mode": "fixed", "fixedColor": color}


# Panels

def panel(kind, title, description, width, height, queries, no_value, unit="short", **more):
    """A panel; `dashboard` gives it its number and place."""
    defaults = {"unit": unit, "noValue": no_value, **more.pop("defaults", {})}
    # Grafana calls the value of an instant query `Value #A`, whatever its legend says.
    named = [override_query(q["refId"], displayName=q["legendFormat"]) for q in queries
             if q["queryType"] == "instant" and "legendFormat" in q]
    made = {
        "type": kind, "title": title, "description": description, "gridPos": {"w": width, "h": height}, "datasource": SOURCE,
        "targets": queries, "fieldConfig": {"defaults": defaults, "overrides": named + more.pop("overrides", [])},
        "options": more.pop("options", {}), **more,
    }
    return made


def stat(title, description, width, queries, no_value, unit="short", height=4, color=QUIET, text="auto", **more):
    """Numbers. `color` is one for all, or thresholds. Of `no_value` only the first sentence: a longer text becomes too small to read."""
    no_value = no_value.split(". ")[0].split(": ")[0]
    defaults = {"thresholds": color if isinstance(color, dict) else steps(color), "color": BY_THRESHOLD, **more.pop("defaults", {})}
    options = {
        "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": text,
        "wideLayout": True, "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel("stat", title, description, width, height, queries, no_value, unit, defaults=defaults, options=options, **more)


def logs(title, description, width, height, query, no_value, **options):
    shown = {"dedupStrategy": "none", "enableLogDetails": True, "prettifyLogMessage": False, "showCommonLabels": False,
             "showLabels": False, "showTime": True, "sortOrder": "Descending", "wrapLogMessage": True, **options}
    return panel("logs", title, description, width, height, [query], no_value, "none", options=shown)


def graph(title, description, width, height, queries, no_value, unit="short", style="line", stack=False, **more):
    custom = {
        "drawStyle": style, "lineInterpolation": "linear", "lineWidth": 1 if style == "bars" else 2,
        "fillOpacity": 70 if style == "bars" else 0, "showPoints": "never" if style == "bars" else "always", "pointSize": 6,
        "spanNulls": style == "line", "stacking": {"mode": "normal" if stack else "none", "group": "A"}, "axisSoftMin": 0,
    }
    defaults = {"custom": custom, "color": {"mode": "palette-classic"}, **more.pop("defaults", {})}
    options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
               "tooltip": {"mode": "multi", "sort": "none"}}
    if style == "bars":
        # Else a bar is as thin as a line.
        more.setdefault("maxDataPoints", 60)
    return panel("timeseries", title, description, width, height, queries, no_value, unit, defaults=defaults, options=options, **more)


# Tables

def column(name, title, width=None, unit=None, words=None, color=None, gauge=False, links=(), number=False, hidden=False, agg=None,
           field=None):
    """A column of a table: a field and how it is shown.

    `words` maps values to signs, words and colours; `color` gives thresholds. In a table of groups `agg` says how the column sums up
    `field`, which is the name if it is not given.
    """
    return {"name": name, "field": field or name, "title": title, "width": width, "unit": unit, "words": words, "color": color, "gauge": gauge,
            "links": links, "number": number or gauge or unit in ("ms", "short") or color is not None, "hidden": hidden, "agg": agg}


def hidden(name, agg=None):
    """A field that only links use."""
    return column(name, name, hidden=True, agg=agg)


def cell(look):
    """How a cell looks: for Grafana 9.4, and for those after it."""
    older = {"gauge": "gradient-gauge", "color-text": "color-text", "color-background": "color-background-solid"}[look]
    newer = {"type": look}
    if look == "gauge":
        newer.update(mode="gradient", valueDisplayMode="text")
    if look == "color-background":
        newer.update(mode="basic")
    return {"custom__displayMode": older, "custom__cellOptions": newer}


# An entry's time as a field of its own, for transformations of state timelines: a frame without entries has none of the wanted fields
# then and is dropped, where Grafana's field `Time` would keep it, and partitioning by values fails on such a frame.
AT = "at=`{{ unixEpochMillis __timestamp__ }}`"


def in_time(field):
    """Milliseconds as text become a time."""
    return [{"id": "convertFieldType", "options": {"fields": {}, "conversions": [{"targetField": field, "destinationType": kind}]}}
            for kind in ("number", "time")]


def states_by(lane, *fields, at="at"):
    """Transformations of log entries, of one query or several, into a timeline for each value of `lane`; `at` is in milliseconds.

    Of several entries at one moment that of the later query stays.
    """
    return [
        {"id": "extractFields", "options": {"source": "labels", "format": "auto", "replace": False}},
        {"id": "filterFieldsByName", "options": {"include": {"names": [lane, at, *fields]}}},
        {"id": "merge", "options": {}},
        *in_time(at),
        {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": at}]}},
        {"id": "partitionByValues", "options": {"fields": [lane]}},
        # Grafana 9.4 keeps the lane as a field.
        {"id": "filterFieldsByName", "options": {"include": {"pattern": f".*({'|'.join([at, *fields])})$"}}},
    ]


# What numbers are where an entry has none; 0 where nothing else is said.
ABSENT = {"attempt": "1"}
# Fields that are often longer than their column.
LONG = ("message", "test", "oldest_test")


def _column_override(c):
    if c["hidden"]:
        return override(c["name"], custom__hidden=True)
    # What is left of a wide screen goes to those that have the most to say.
    width = "custom__minWidth" if c["name"] in LONG else "custom__width"
    shown = {"displayName": c["title"], width: c["width"], "unit": c["unit"]}
    if c["unit"] == "ms":
        shown.update(mappings=mapping({0: ("–", QUIET)}))
    if c["words"]:
        # Words stand to the left, also where numbers are behind them.
        shown.update(custom__align="left", mappings=mapping(c["words"]), thresholds=FIXED_QUIET, color=BY_THRESHOLD, **cell("color-text"))
    if c["color"]:
        shown.update(thresholds=c["color"], color=BY_THRESHOLD, **cell("color-text"))
    if c["gauge"]:
        shown.update(unit="percentunit", min=0, max=1, color={"mode": "continuous-BlPu"}, **cell("gauge"))
    if c["links"]:
        shown["links"] = [{"title": title, "url": url, "targetBlank": False} for title, url in c["links"]]
    return override(c["name"], **shown)


# Else a cell without a value shows the words of the empty panel.
EMPTY_CELLS = {"matcher": {"id": "byRegexp", "options": ".*"}, "properties": [{"id": "noValue", "value": "–"}]}


def table(title, description, width, height, queries, no_value, columns, changes, sort=None, **more):
    """A table with these columns in this order; `changes` are Grafana's transformations that lead to them."""
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "fields": ""}}
    if sort:
        options["sortBy"] = [{"displayName": sort, "desc": True}]
    defaults = {"custom": {"align": "auto", "filterable": False}, **more.pop("defaults", {})}
    return panel("table", title, description, width, height, queries, no_value, "short", defaults=defaults, options=options,
                 overrides=[EMPTY_CELLS, *[_column_override(c) for c in columns]], transformations=changes, **more)


def line_table(title, description, width, height, query, no_value, columns, group=(), sort=None, keep=None, **more):
    """A table of log entries: their labels and metadata become columns.

    `group` names the columns of which each combination becomes a row; the others need `agg`. `keep` is a condition: column, value.
    """
    if not group:
        # See AT: a table without rows is empty then, and says why.
        columns = [{**c, "field": "at"} if c["field"] == "Time" else c for c in columns]
        if any(c["field"] == "at" for c in columns):
            query = {**query, "expr": f'{query["expr"]} | label_format {AT}'}
    fields = list(dict.fromkeys(c["field"] for c in columns))
    changes = [
        {"id": "extractFields", "options": {"source": "labels", "format": "auto", "replace": False}},
        # Loki has a stream for each set of labels and metadata, and Grafana 9.4 shows one after the other.
        {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "Time", "desc": True}]}},
        {"id": "filterFieldsByName", "options": {"include": {"names": fields}}},
    ]
    counted = ("count", "distinctCount")
    names = dict.fromkeys(c["field"] for c in columns if c["number"] and c["agg"] not in counted and c["field"] not in ("Time", "at"))
    numbers = [{"targetField": name, "destinationType": "number"} for name in names]
    if numbers:
        # Grafana 9.4 fails on numbers that some rows lack.
        given = [f'{name}=`{{{{ or .{name} "{ABSENT.get(name, "0")}" }}}}`' for name in names]
        query = {**query, "expr": f'{query["expr"]} | label_format {", ".join(given)}'}
        changes.append({"id": "convertFieldType", "options": {"fields": {}, "conversions": numbers}})
    if "at" in fields:
        changes += in_time("at")
    made = {c["name"]: c["field"] if c["name"] in group or not group else f"{c['field']} ({c['agg']})" for c in columns}
    if group:
        operations = {name: {"aggregations": [], "operation": "groupby"} for name in group}
        for c in columns:
            if c["name"] not in group:
                operations.setdefault(c["field"], {"aggregations": [], "operation": "aggregate"})["aggregations"].append(c["agg"])
        changes.append({"id": "groupBy", "options": {"fields": operations}})
    if keep:
        changes.append({"id": "filterByValue", "options": {"type": "include", "match": "any", "filters": [
            {"fieldName": made[keep[0]], "config": {"id": "equal", "options": {"value": keep[1]}}}]}})
    changes.append({"id": "organize", "options": {
        "excludeByName": {}, "indexByName": {old: i for i, old in enumerate(made.values())},
        "renameByName": {old: name for name, old in made.items() if name != old}}})
    return table(title, description, width, height, [query], no_value, columns, changes, sort, **more)


def value_table(title, description, width, height, queries, no_value, columns, sort=None, **more):
    """A table of instant queries: a row for each set of labels, a column `Value #A` for each query."""
    names = [c["name"] for c in columns]
    changes = [
        {"id": "labelsToFields", "options": {"mode": "columns"}},
        {"id": "merge", "options": {}},
        # Of a single query, some versions leave the letter out.
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": {"Value": "Value #A"},
                                       "indexByName": {name: i for i, name in enumerate(names)}}},
    ]
    return table(title, description, width, height, queries, no_value, columns, changes, sort, **more)


# Links

def page(name, *parameters, begin="${__from}", end="${__to}"):
    """Address of a dashboard, which takes the data source and the time range along."""
    return "&".join([f"/d/testwire-{name}/testwire-{name}?${{loki_datasource:queryparam}}", *parameters, f"from={begin}", f"to={end}"])


CHOSEN = ("${project:queryparam}", "${env:queryparam}", "${runner:queryparam}")
OF_ROW = ("var-project=${__data.fields.service_name}", "var-env=${__data.fields.env}", "var-runner=${__data.fields.runner}")
RUN_OF_ROW = "var-run_id=${__data.fields.run_id:percentencode}"
TEST_OF_ROW = "var-test=${__data.fields.test_pattern:percentencode}"


AT_ROW = {"begin": "${__data.fields.from_ms}", "end": "${__data.fields.to_ms}"}


def links_of_test(*but):
    """From a row with a test and a time: its logs, its run and its history."""
    links = {
        "logs": ("What was logged while it ran", page("live", *CHOSEN, RUN_OF_ROW, **AT_ROW)),
        "own": ("Its own lines", page("live", *CHOSEN, RUN_OF_ROW, TEST_OF_ROW, **AT_ROW)),
        "test": ("Its history", page("test", *CHOSEN, TEST_OF_ROW, begin="now-30d", end="now")),
    }
    return [link for name, link in links.items() if name not in but]


# Dashboards

def dashboard(name, question, variables, panels, refresh="", since="now-24h"):
    return {
        "uid": f"testwire-{name}", "title": f"testwire: {name}", "description": question, "tags": ["testwire"],
        "schemaVersion": 39, "version": 1, "editable": False, "graphTooltip": 1, "liveNow": False, "refresh": refresh,
        "timezone": "browser", "weekStart": "", "fiscalYearStartMonth": 0, "time": {"from": since, "to": "now"},
        "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m"]},
        "links": [{
            "type": "dashboards", "title": "testwire", "tags": ["testwire"], "asDropdown": True, "includeVars": True,
            "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "The other dashboards of testwire", "url": "",
        }],
        "annotations": {"list": []}, "templating": {"list": variables}, "panels": placed(panels),
    }


def placed(panels):
    """Numbers the panels, and fills rows of 24 columns from left to right; a panel that does not fit begins a new row."""
    x = y = height = 0
    for number, made in enumerate(panels, 1):
        at = made["gridPos"]
        if x + at["w"] > 24:
            x, y, height = 0, y + height, 0
        made["id"], made["gridPos"] = number, {"x": x, "y": y, **at}
        x, height = x + at["w"], max(height, at["h"])
    return panels
