//go:build race

package agent_test

import "time"

// pace is how long each writer of a load rests: the race detector makes everything some ten times slower.
const pace = 100 * time.Millisecond
