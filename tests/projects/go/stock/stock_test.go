package stock

import (
	"testing"
	"time"
)

func TestBefore(t *testing.T) { time.Sleep(100 * time.Millisecond) }

func TestPanics(t *testing.T) {
	t.Log("writing to a nil map")
	var shelves map[string]int
	shelves["top"] = 1
}

func TestNeverRuns(t *testing.T) {}
