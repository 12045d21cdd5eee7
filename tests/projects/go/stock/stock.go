// Package stock has tests only.
package stock
