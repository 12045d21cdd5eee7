// Package price has tests only.
package price
