// Package bench measures speed, as ratios to what a person would use instead, side by side in one run on the same image.
// Nothing in it can fail for being slow: figures are for people.
package bench
