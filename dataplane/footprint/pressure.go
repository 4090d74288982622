package footprint

// Where making way begins and where it ends, as shares of the time in which somebody waits, and how far it goes.
// Waiting for memory is the worst, and no machine does it by nature. A database may wait for its disks most of the time
// with nobody else there, so that only takes a part of the copy's speed away; a copy must end some time.
const (
	memoryBegin, memoryEnd, memoryMost = 0.05, 0.40, 1.0
	diskBegin, diskEnd, diskMost       = 0.40, 0.90, 0.75
	cpuBegin, cpuEnd, cpuMost          = 0.50, 0.95, 0.75
)

// Stall is the share of the last ten seconds in which somebody other than the agent waited.
type Stall struct{ CPU, Memory, Disk float64 }

// Pressure decides how far copying makes way: 0 not at all, 1 as far as it can.
func Pressure(s Stall) float64 {
	return max(
		slope(s.Memory, memoryBegin, memoryEnd)*memoryMost,
		slope(s.Disk, diskBegin, diskEnd)*diskMost,
		slope(s.CPU, cpuBegin, cpuEnd)*cpuMost,
	)
}

// slope rises from 0 at begin to 1 at end.
func slope(x, begin, end float64) float64 {
	return min(max((x-begin)/(end-begin), 0), 1)
}
