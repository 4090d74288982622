// Package armsim is a small Azure Resource Manager. It speaks the real protocol over HTTP to the real SDK clients: create
// answers 201 or 202 with Azure-AsyncOperation, Location and Retry-After, operations are polled, PUT is idempotent, errors
// carry codes, and what is in use cannot be deleted.
//
// It knows what a failover and the way home need: resource groups, virtual networks, subnets, security groups, interfaces,
// managed disks (Import from a page blob with a VHD footer, which it reads), virtual machines (attached disks, or custom data
// and an image; power states), tags, usages and sizes. Connections to somebody's home are scripted with [Server.SetPath].
//
// A [Hypervisor] starts the machines. With [Guests] a failover ends with a guest booted in QEMU, whose serial console is
// served as boot diagnostics; with [Startups] before it, a machine made from an image is a process that its custom data starts.
//
// Faults are scripted with [Server.Inject]: throttling, refusals, operations that fail late, hang or get lost.
//
// It is a lab part: state is in memory, nothing is billed, and only what its tests exercise can be trusted to be like Azure.
// The SDK's own fakes are not used because they dispatch on a context value that HTTP loses and never exercise the real poller.
package armsim
