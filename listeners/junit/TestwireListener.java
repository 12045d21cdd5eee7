package testwire;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.TestSource;
import org.junit.platform.engine.support.descriptor.ClassSource;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.TestPlan;

/**
 * Tells testwire of the tests of the JUnit Platform as they run: JUnit 5 and 6, and all other engines of it.
 *
 * <p>The launcher finds it on the class path (META-INF/services). It appends the events of docs/events.md to the file that
 * TESTWIRE_EVENTS names, one write an event; without the variable it does nothing. It never throws: a report must not
 * break a run. Tests are named as Surefire names them in its reports, class::method.
 */
public final class TestwireListener implements TestExecutionListener {
    // Java writes 64 KiB at once at most, and what is written at once stays whole; a character takes six bytes at most.
    private static final int MAX_TEXT = 8 * 1024;
    private static final int MAX_MESSAGE = 1024;

    // A launcher makes a listener of its own for each request, and Surefire runs failed tests again with another request.
    private static final Map<String, Test> TESTS = new HashMap<>();
    private static final Map<String, Integer> NAMES = new HashMap<>();
    // A channel would be closed when a test interrupts its thread; a stream is not.
    private static OutputStream events;
    // A launcher that a test starts, or the tests of a launcher, are no tests of the run.
    private static TestwireListener active;

    private TestPlan plan;

    /** A test that was begun or planned. */
    private static final class Test {
        String name;
        String suite;
        int attempts;
        long began;
    }

    @Override
    public void testPlanExecutionStarted(TestPlan testPlan) {
        harmless(() -> {
            if (active != null || !begin()) {
                return;
            }
            active = this;
            plan = testPlan;
            StringBuilder names = new StringBuilder();
            for (TestIdentifier root : testPlan.getRoots()) {
                for (TestIdentifier one : testPlan.getDescendants(root)) {
                    if (one.isTest()) {
                        names.append(names.length() > 0 ? "," : "").append(quoted(known(one).name));
                    }
                    if (names.length() > MAX_TEXT) {
                        plan(names);
                    }
                }
            }
            plan(names);
        });
    }

    @Override
    public void testPlanExecutionFinished(TestPlan testPlan) {
        told(() -> {
            active = null;
            write("{\"event\":\"run_finished\"" + now() + "}");
        });
    }

    private static void plan(StringBuilder names) {
        if (names.length() > 0) {
            write("{\"event\":\"planned\",\"tests\":[" + names + "]}");
        }
        names.setLength(0);
    }

    @Override
    public void executionStarted(TestIdentifier id) {
        told(() -> {
            if (id.isTest()) {
                Test test = known(id);
                test.attempts += 1;
                test.began = System.nanoTime();
                write(event("test_started", test) + "}");
            } else if (isClass(id)) {
                write(suite("suite_started", id) + "}");
            }
        });
    }

    @Override
    public void executionSkipped(TestIdentifier id, String reason) {
        told(() -> skipped(id, reason));
    }

    private void skipped(TestIdentifier id, String reason) {
        if (!id.isTest()) {
            // The tests of a class that is disabled are not told one by one.
            plan.getChildren(id).forEach(child -> skipped(child, reason));
            return;
        }
        Test test = known(id);
        test.attempts += 1;
        write(event("test_finished", test) + ",\"status\":\"skipped\",\"duration_ms\":0" + message(reason) + "}");
    }

    @Override
    public void executionFinished(TestIdentifier id, TestExecutionResult result) {
        told(() -> {
            Throwable thrown = result.getThrowable().orElse(null);
            boolean isSuccess = result.getStatus() == TestExecutionResult.Status.SUCCESSFUL;
            boolean isAborted = result.getStatus() == TestExecutionResult.Status.ABORTED;
            String bad = thrown instanceof AssertionError ? "failed" : "errored";
            String status = ",\"status\":\"" + (isSuccess ? "passed" : isAborted ? "skipped" : bad) + "\"";
            if (id.isTest()) {
                Test test = known(id);
                double took = (System.nanoTime() - test.began) / 1000 / 1000.0;
                write(event("test_finished", test) + status + ",\"duration_ms\":" + took + problem(thrown) + "}");
            } else if (isClass(id)) {
                if (thrown != null && !isAborted) {
                    // Surefire counts what goes wrong before or after all tests of a class as a test without a name.
                    Test test = known(id);
                    test.attempts += 1;
                    write(event("test_finished", test) + status + problem(thrown) + "}");
                }
                write(suite("suite_finished", id) + status + "}");
            }
        });
    }

    /** The test that this is: the same name in every run, and in all attempts of one. */
    private Test known(TestIdentifier id) {
        return TESTS.computeIfAbsent(id.getUniqueId(), key -> {
            Test test = new Test();
            TestSource source = id.getSource().orElse(null);
            String name = id.getLegacyReportingName();
            if (source instanceof MethodSource) {
                MethodSource method = (MethodSource) source;
                test.suite = method.getClassName();
                name = name.equals(method.getMethodName() + "()") ? method.getMethodName() : name;
            } else {
                test.suite = suiteOf(id);
                name = isClass(id) ? "" : name;
            }
            test.name = test.suite + "::" + name;
            // What generates its tests may give several one name.
            int number = NAMES.merge(test.name, 1, Integer::sum);
            test.name += number > 1 ? " (" + number + ")" : "";
            return test;
        });
    }

    private String suiteOf(TestIdentifier id) {
        Optional<TestIdentifier> at = Optional.of(id);
        TestIdentifier last = id;
        while (at.isPresent()) {
            last = at.get();
            TestSource source = last.getSource().orElse(null);
            if (source instanceof ClassSource) {
                return ((ClassSource) source).getClassName();
            }
            if (source instanceof MethodSource) {
                return ((MethodSource) source).getClassName();
            }
            at = plan.getParent(last);
        }
        return last.getDisplayName();
    }

    private static boolean isClass(TestIdentifier id) {
        return id.getSource().filter(source -> source instanceof ClassSource).isPresent();
    }

    private String suite(String event, TestIdentifier id) {
        return "{\"event\":\"" + event + "\"" + now() + ",\"suite\":" + quoted(suiteOf(id)) + worker();
    }

    private static String event(String event, Test test) {
        String which = ",\"test\":" + quoted(test.name) + ",\"suite\":" + quoted(test.suite);
        return "{\"event\":\"" + event + "\"" + now() + which + ",\"attempt\":" + test.attempts + worker();
    }

    private static String now() {
        return ",\"time\":" + System.currentTimeMillis();
    }

    /** The thread, where tests run beside each other in one process. */
    private static String worker() {
        String thread = Thread.currentThread().getName();
        return "main".equals(thread) ? "" : ",\"worker\":" + quoted(thread);
    }

    private static String problem(Throwable thrown) {
        if (thrown == null) {
            return "";
        }
        StringWriter trace = new StringWriter();
        thrown.printStackTrace(new PrintWriter(trace, true));
        return message(textOf(thrown)) + ",\"details\":" + quoted(cut(trace.toString(), MAX_TEXT));
    }

    private static String textOf(Throwable thrown) {
        String text = thrown.getMessage();
        return text == null || text.trim().isEmpty() ? thrown.getClass().getName() : text;
    }

    private static String message(String text) {
        return text == null || text.trim().isEmpty() ? "" : ",\"message\":" + quoted(cut(text, MAX_MESSAGE));
    }

    private static String cut(String text, int most) {
        return text.length() > most ? text.substring(0, most) : text;
    }

    private static String quoted(String text) {
        StringBuilder out = new StringBuilder(text.length() + 2).append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ') {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.append('"').toString();
    }

    /** Says whose reports say no more than this listener: those of the module that the process runs in. */
    private static boolean begin() throws IOException {
        String path = System.getenv("TESTWIRE_EVENTS");
        if (path == null || path.isEmpty()) {
            return false;
        }
        if (events == null) {
            events = new FileOutputStream(path, true);
        }
        // Surefire says where the module is; its tests may run elsewhere.
        String module = new File(System.getProperty("basedir", "")).getCanonicalPath();
        write("{\"testwire\":1,\"event\":\"run_started\",\"runner\":\"junit\"" + now() + ",\"module\":" + quoted(module) + "}");
        return true;
    }

    private static void write(String line) {
        try {
            // One write a line keeps lines whole though several processes share the file.
            events.write((line + "\n").getBytes(StandardCharsets.UTF_8));
        } catch (IOException lost) {
            // There is nobody to tell.
        }
    }

    private void told(Step step) {
        harmless(() -> {
            if (active == this) {
                step.take();
            }
        });
    }

    private interface Step {
        void take() throws IOException;
    }

    private static void harmless(Step step) {
        synchronized (TESTS) {
            try {
                step.take();
            } catch (IOException | RuntimeException | LinkageError ignored) {
                // Tests go on as without testwire.
            }
        }
    }
}
