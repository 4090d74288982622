//go:build !race

package agent_test

import "time"

// pace is how long each writer of a load rests: some hundred changes come each second.
const pace = 10 * time.Millisecond
