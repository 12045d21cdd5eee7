// Package cart counts things.
package cart

// Sum adds the counts.
func Sum(counts ...int) int {
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return sum
}
