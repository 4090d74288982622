package host_test

import (
	"testing"

	"farshore/dataplane/host"
)

func TestNothingIsWrittenWhileItMustBeStill(t *testing.T) {
	var s host.Stillness
	written, begun, under := 0, make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		_, err := s.Write(func() error { close(begun); <-under; written++; return nil })
		ended <- err
	}()
	<-begun
	go close(under)
	s.Begin() // waits for the write under way
	if written != 1 {
		t.Errorf("%d written, though one was under way", written)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if done, err := s.Write(func() error { written++; return nil }); done || err != nil || written != 1 {
		t.Errorf("while it is still: done %v, %v, %d written", done, err, written)
	}
	s.End()
	if done, _ := s.Write(func() error { written++; return nil }); !done || written != 2 {
		t.Errorf("afterwards: done %v, %d written", done, written)
	}
	var none *host.Stillness
	none.Begin()
	if done, _ := none.Write(func() error { return nil }); !done {
		t.Error("nobody's stillness holds somebody up")
	}
}
