// Package armsim is a small Azure Resource Manager. It speaks the real protocol over HTTP to the real SDK clients: create
// answers 201 or 202 with Azure-AsyncOperation, Location and Retry-After, operations are polled, PUT is idempotent, errors
// carry codes, and what is in use cannot be deleted.
//
// It knows what a failover needs: resource groups, virtual networks, subnets, security groups, interfaces, managed disks
// (Import from a page blob with a VHD footer, which it reads), virtual machines (attached disks, power states), tags, usages
// and sizes. Connections to somebody's home are scripted with [Server.SetPath]. A
// [Hypervisor] starts the machines; with the QEMU one a failover ends with a booted guest whose serial console is served as
// boot diagnostics.
//
// Faults are scripted with [Server.Inject]: throttling, refusals, operations that fail late, hang or get lost.
//
// It is a lab part: state is in memory, nothing is billed, and only what its tests exercise can be trusted to be like Azure.
// The SDK's own fakes are not used because they dispatch on a context value that HTTP loses and never exercise the real poller.
package armsim
