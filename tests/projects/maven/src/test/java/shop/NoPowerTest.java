package shop;

import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class NoPowerTest {
    @BeforeAll
    static void plugIn() {
        throw new IllegalStateException("no power");
    }

    @Test
    void lights() {}
}
