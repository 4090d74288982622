package session

import "testing"

func TestOnePointOfAGroupIsKeptAtATime(t *testing.T) {
	point := &Keep{Object: []byte("x")}
	run(t, opened(t, true), []step{
		{Received{point}, "store 1"},
		{Received{log(1, 101, 1)}, "append 1"}, // the stream goes on meanwhile
		{Stored{"the vault is away"}, "send kept"},
		{Received{point}, "store 1"},
		{Received{point}, "send refused FS-2003, close FS-2003"},
		{Stored{}, ""}, // too late
	})
	a := openAgent(t)
	run(t, a, []step{
		{Outgoing{point}, "send keep"},
		{Outgoing{log(0, 0, 1)}, "send batch"},
		{Received{&Kept{}}, "deliver kept"},
		{Received{&Kept{}}, "close FS-2003"},
	})
	run(t, opened(t, true), []step{{Received{&Keep{}}, "send refused FS-2003, close FS-2003"}})
	run(t, NewServer(start, web, limits), []step{{Received{point}, "send refused FS-2003, close FS-2003"}})
}
