package setting

import (
	"fmt"
	"math"
	"strconv"
	"testing"
)

const name = "FARSHORE_TEST_SETTING"

func TestANumberIsReadOrIsTheUsual(t *testing.T) {
	if n := Number(t, name, 7); n != 7 {
		t.Errorf("nothing is set, and %d is read", n)
	}
	t.Setenv(name, strconv.FormatUint(math.MaxUint64, 10))
	if n := Number[uint64](t, name, 7); n != math.MaxUint64 {
		t.Errorf("the largest seed reads as %d", n)
	}
	if s := Seed(t, name); s != math.MaxUint64 {
		t.Errorf("a seed that is set is replayed as %d", s)
	}
}

// refusing is a test that notes that it was failed.
type refusing struct {
	testing.TB
	said string
}

func (r *refusing) Fatalf(format string, args ...any) { r.said = fmt.Sprintf(format, args...) }

func TestWhatIsNoNumberFailsTheTest(t *testing.T) {
	for _, text := range []string{"many", "-1", "1e3", strconv.FormatUint(math.MaxUint64, 10)} {
		t.Setenv(name, text)
		r := &refusing{TB: t}
		if n := Number(r, name, 7); r.said == "" {
			t.Errorf("%q is read as %d", text, n)
		}
	}
}
