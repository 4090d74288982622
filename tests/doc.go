// Package tests holds what proves Farshore as a whole; unit tests live beside the code they test.
//
//	arch         the floors, sizes and links of the tree
//	blockwriter  the oracle: a writer whose every block can be checked
//	formats      golden files of every format that outlives a process
//	histories    stored workflow histories, replayed against today's workflows
//	lab          the parts a test runs against: guest images, QEMU, Azurite, an ARM server
//	sim          the pure core in a seeded world of faults
//	crash        real processes, killed
//	kernels      Debian's kernels booted: the tracker on each, the power cut, a database recovered
//	torture      file systems under every load and trouble, replicated in every grade; the agent killed
//	e2e          the whole way of a block
//	bench        speed, as ratios measured side by side
//
// Tests may import every floor; nothing else imports tests.
package tests
