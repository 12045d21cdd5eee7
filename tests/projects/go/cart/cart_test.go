package cart

import (
	"fmt"
	"testing"
	"time"
)

func TestSum(t *testing.T) {
	t.Log("adding up")
	if got := Sum(1, 2, 3); got != 6 {
		t.Errorf("Sum = %d, want 6", got)
	}
}

func TestTable(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []int
		want int
	}{
		{"empty", nil, 0},
		{"one", []int{4}, 4},
		{"wrong on purpose", []int{2, 2}, 5},
		{"many", []int{1, 1, 1, 1}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			time.Sleep(50 * time.Millisecond)
			if got := Sum(c.in...); got != c.want {
				t.Errorf("Sum(%v) = %d, want %d", c.in, got, c.want)
			}
		})
	}
}

func TestParallel(t *testing.T) {
	for i := 1; i <= 6; i++ {
		i := i
		t.Run(fmt.Sprintf("lane %d", i), func(t *testing.T) {
			t.Parallel()
			for step := 1; step <= 3; step++ {
				t.Logf("lane %d step %d", i, step)
				time.Sleep(40 * time.Millisecond)
			}
			if i == 4 {
				t.Fatal("lane 4 is blocked")
			}
		})
	}
}

func TestParallelTop1(t *testing.T) { t.Parallel(); time.Sleep(150 * time.Millisecond) }
func TestParallelTop2(t *testing.T) { t.Parallel(); time.Sleep(100 * time.Millisecond) }

func TestSkipped(t *testing.T) { t.Skip("no trolley here") }
