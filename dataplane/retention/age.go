package retention

import (
	"time"

	"farshore"
)

// Point is a recovery point as retention sees it.
type Point struct {
	Position farshore.Position
	Time     time.Time     // the stream's UTC, never less than that of the point in front
	Boot     time.Duration // the agent's boot clock at the point
	Suspect  bool          // the clocks of agent and server disagreed
	App      bool          // app-consistent
}

// Ages gives how old each point is, counted back from the newest one on the stream's own axis; points are in stream order.
//
// Between two points as much time has passed as the server's UTC says, but not more than the agent's boot clock says while
// that goes on: a UTC that jumps forward makes nothing older. If the boot clock began anew the UTC counts, unless the
// clocks disagreed at the later point: then nothing passed. So an age may be too small, which keeps too much, but it is
// never too great because of one clock.
func Ages(points []Point) []time.Duration {
	ages := make([]time.Duration, len(points))
	for i := len(points) - 2; i >= 0; i-- {
		ages[i] = ages[i+1] + step(points[i], points[i+1])
	}
	return ages
}

func step(a, b Point) time.Duration {
	passed := max(0, b.Time.Sub(a.Time))
	switch running := b.Boot - a.Boot; {
	case running >= 0 && b.Boot > 0:
		return min(passed, running)
	case b.Suspect:
		return 0
	}
	return passed
}
