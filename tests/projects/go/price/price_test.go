package price

import (
	"fmt"
	"os"
	"testing"
	"time"
)

func TestRounds(t *testing.T) {
	for _, currency := range []string{"EUR", "GBP", "JPY"} {
		t.Run(currency, func(t *testing.T) {
			for _, amount := range []int{1, 10} {
				t.Run(fmt.Sprint(amount), func(t *testing.T) {
					time.Sleep(20 * time.Millisecond)
					if currency == "JPY" && amount == 10 {
						t.Error("10 JPY rounded to 9 JPY")
					}
				})
			}
		})
	}
}

func TestPrints(t *testing.T) {
	fmt.Println("a line on stdout")
	fmt.Fprintln(os.Stderr, "a line on stderr")
	fmt.Print("no line end")
}

func TestLate(t *testing.T) {
	time.Sleep(200 * time.Millisecond)
}

func TestSkips(t *testing.T) {
	t.Run("weekend", func(t *testing.T) { t.Skip("shop is closed") })
	t.Run("weekday", func(t *testing.T) {})
}

func TestMultiline(t *testing.T) {
	t.Fatal("price list differs:\n\twant: 12\n\tgot:  13")
}
