// Package torture replicates real file systems and raw disks under everything that fio and a few writers of its own can do to
// them, makes things go wrong meanwhile, and judges every recovery point that was offered.
//
// A *cell* is one way of finding changes (a grade) on one kind of disk. In each of its *rounds* the disks are loaded while the
// agent makes points and some *trouble* is made; then the load ends, the disks are let go of, and a last point is asked for.
// The stream is then replayed forward, as farshore-restore does it, and at every clean end on the way:
//
//   - the order of writes is checked: a probe writes number i to one disk, then to the other, then to the first again, each
//     durable before the next, so no point may know the later without the earlier ([probe]). On raw disks it is the blockwriter;
//   - for a sample, a copy is mounted, as a recovered machine would, and its file system examined.
//
// The last point must equal the disks byte for byte. One point of each cell is also restored by farshore-restore itself.
//
// The short form is part of make test. make torture runs TORTURE_ROUNDS rounds and kills the agent TORTURE_KILLS times.
// TORTURE_SEED replays the choices of a run, though not its timing; TORTURE_CELLS, a regular expression on names like
// bitmap/xfs, chooses among the cells; after TORTURE_MINUTES no further cell is begun.
package torture
