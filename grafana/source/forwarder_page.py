"""testwire's own health, as its processes tell it."""

from kit import (
    BROKEN, PASSED, QUIET, WARN, column, dashboard, data_source, fixed, graph, hidden, instant, label_variable, last, lines, logs, matches, override,
    over_time, refs, stat, steps, text_variable, value_table, within,
)

OWN = 'kind="metric", source="testwire"'
TOLD = f'{{service_name=~"$project", env=~"$env", runner="app", {OWN}}}' + matches("host", "$host")
EACH = "host, process"
NONE = "No process reports. One does after 10 s, or when it meets trouble; see also testwire status."
NOT_NOW = "Nobody reports now"
EVERY = " Of all processes that reported in the range, since their start; a series for each, of which a stock Loki counts 500."


def most(name, span="$__range"):
    """A figure of each process; counts only grow, so the most is the last. Right whatever was sent twice."""
    return f"max_over_time({TOLD} | unwrap {name} {within(span)}) by ({EACH})"


def by_machine(title, question, name):
    return graph(title, question, 12, 8, [over_time("A", f"sum by (host) ({most(name, '$__interval')})", "{{host}}")], NONE, maxDataPoints=300)


PANELS = [
    stat("Waiting", "How many entries wait for Loki, in the processes that reported within two minutes before the end of the range? What "
         "ended processes left is not among them: see testwire status.", 4, [instant("A", f"sum({last(TOLD, 'waiting', '2m', EACH)})")], NOT_NOW,
         color=steps(PASSED, 1000, WARN, 100000, BROKEN)),
    stat("Waiting for", "How long has the oldest of them waited? Exact to 10 s.", 4,
         [instant("A", f"max({last(TOLD, 'waiting_ms', '2m', EACH)})")], NOT_NOW, "ms", color=steps(PASSED, 60000, WARN, 600000, BROKEN)),
    stat("Spool used", "How full is the fullest spool of these processes, of its cap? At the cap inputs wait; nothing is dropped.", 4,
         [instant("A", f"max({last(TOLD, 'spool_used', '2m', EACH)})")], NOT_NOW, "percentunit", color=steps(PASSED, 0.5, WARN, 0.9, BROKEN)),
    stat("Refused", "How many entries did Loki refuse for good? They are kept in rejected/ with its answer; testwire import sends them again."
         + EVERY, 4, [instant("A", f"sum({most('rejected')})")], NONE, color=steps(PASSED, 1, BROKEN)),
    stat("Tried again", "How many pushes had to be tried again?" + EVERY, 4, [instant("A", f"sum({most('retries')})")], NONE,
         color=steps(PASSED, 1, WARN)),
    stat("Delivered", "How many entries did Loki take?" + EVERY, 4, [instant("A", f"sum({most('pushed')})")], NONE),
    by_machine("Backlog", "Does it grow? Entries that wait, by machine; the most of each interval. While Loki does not answer, reports come "
               "later, with their own times.", "waiting"),
    by_machine("Throughput", "How much does Loki take? Entries in a second, by machine; the most of each interval.", "entries_per_s"),
    graph("Answers of Loki", "How fast does Loki answer? Time within which it answered half of the pushes, and 99 of 100; the slowest process "
          "of each interval.", 12, 8,
          [over_time("A", f"max({most('answer_ms', '$__interval')})", "half"),
           over_time("B", f"max({most('answer_slow_ms', '$__interval')})", "99 of 100")], NONE, "ms", maxDataPoints=300),
    graph("Trouble", "When did it begin? Pushes that were tried again and entries that were refused, of each process since its start, summed; "
          "it rises while there is trouble.", 12, 8,
          [over_time("A", f"sum({most('retries', '$__interval')})", "tried again"),
           over_time("B", f"sum({most('rejected', '$__interval')})", "refused")], NONE,
          overrides=[override("tried again", color=fixed(WARN)), override("refused", color=fixed(BROKEN))], maxDataPoints=300),
    value_table("Processes", "Which process is it? Its last counts in the range, and what waits in those that reported within two minutes before "
                "its end; its name is the run's id, and the shard if there is one." + EVERY,
                24, 9, refs([most("pushed"), most("pushed_bytes"), most("retries"), most("rejected"),
                             last(TOLD, "waiting", "2m", EACH), last(TOLD, "waiting_ms", "2m", EACH)]), NONE, [
                    column("host", "Machine", 180), column("process", "Process", 260), column("Value #A", "Delivered", 110),
                    column("Value #B", "Bytes", 110, "bytes"), column("Value #C", "Tried again", 110, color=steps(QUIET, 1, WARN)),
                    column("Value #D", "Refused", 90, color=steps(QUIET, 1, BROKEN)),
                    column("Value #E", "Waiting", 90, color=steps(QUIET, 1000, WARN)), column("Value #F", "Oldest", 100, "ms"), hidden("Time"),
                ], sort="Delivered"),
    logs("Reports of trouble", "What did Loki answer? Reports since whose forerunner a push was tried again or an entry refused, with the last "
         "error; the newest first, at most 1,000.", 24, 8, lines("A", f'{TOLD} | level="warn"'), "None: Loki took everything at once."),
]
PAGE = dashboard(
    "forwarder", "Does everything arrive? What waits for Loki, what it refused, and how fast it takes entries and answers, as the testwire "
    "processes say themselves.", [
        data_source(),
        label_variable("project", "service_name", f"{{{OWN}}}", "Project"),
        label_variable("env", "env", f'{{service_name=~"$project", {OWN}}}', "Environment"),
        text_variable("host", "Machine (regex)", "A regular expression for the whole name of the machine; .* takes all.", ".*"),
    ], PANELS, refresh="10s", since="now-6h")
