package shop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.stream.Stream;
import org.junit.jupiter.api.Disabled;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TillTest {
    private static int tries;

    @Test
    void opens() throws InterruptedException {
        System.out.println("drawer opens");
        Thread.sleep(300);
    }

    @Test
    void givesChange() {
        assertEquals(3, 4, "a coin is missing");
    }

    @Test
    void jams() {
        tries += 1;
        assertTrue(tries > 1, "the first time it jams");
    }

    @Test
    void breaks() {
        throw new IllegalStateException("no \"receipt\"\n\tpaper");
    }

    @Test
    @Disabled("no printer")
    void prints() {}

    @Test
    void counts() {
        assumeTrue(false, "no coins");
    }

    @Test
    void interrupts() {
        Thread.currentThread().interrupt();
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 5})
    void takes(int coin) {
        assertTrue(coin < 5, "too large");
    }

    @RepeatedTest(2)
    void rings() {}

    @TestFactory
    Stream<DynamicTest> sorts() {
        return Stream.of("cents", "euros").map(coin -> DynamicTest.dynamicTest(coin, () -> {}));
    }

    @Nested
    class Locked {
        @Test
        void staysShut() {}
    }
}
