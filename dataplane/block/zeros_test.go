package block

import "testing"

func TestOneBitAnywhereIsNotAllZero(t *testing.T) {
	p := make([]byte, 2*len(blank)+3)
	if !AllZero(p) || !AllZero(nil) {
		t.Error("zeros are not known as such")
	}
	for _, at := range []int{0, 7, len(blank) - 1, len(blank), 2 * len(blank), len(p) - 1} {
		p[at] = 1
		if AllZero(p) {
			t.Errorf("the byte at %d is not seen", at)
		}
		p[at] = 0
	}
}
