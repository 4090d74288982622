package commandline

import "fmt"

// Size writes bytes for people: "1.5 GiB".
func Size[N int | int64 | uint64](n N) string {
	const kib = 1024
	if n < kib {
		return fmt.Sprintf("%d B", n)
	}
	unit, value := 0, float64(n)/kib
	for value >= kib && unit < 4 {
		unit, value = unit+1, value/kib
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[unit])
}
