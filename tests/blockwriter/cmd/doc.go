// Command cmd is the blockwriter: the oracle of package blockwriter as a program, small and static, so that it
// runs beside a protected machine and inside a recovered one.
//
//	blockwriter write --dir /data/bw --log /elsewhere/bw.log --rate 200
//	blockwriter write --device disk1.img --device disk2.img --log bw.log
//	blockwriter verify --dir /data/bw --log bw.log -o json
//	blockwriter replay --log bw.log --upto 1234 --size 67108864 --out expected.img
//
// While it writes, SIGUSR1 makes it hold and SIGUSR2 lets it go on; the state file says when it holds. SIGTERM and
// SIGINT end it in order.
package main
