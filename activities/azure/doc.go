// Package azure carries out the steps in the cloud: it looks before anything is changed, imports prepared disks as managed
// disks, makes the network interface and the virtual machine, reads the serial console until the guest has started, and
// removes everything again by tag. It speaks to Azure Resource Manager through armnetwork, armcompute and armresources and
// leaks none of their types.
//
// Every name is derived from the run, so a repeated step finds what an earlier attempt made: ARM's PUT is idempotent.
// Long-running operations are polled in a loop that sends the resume token as the heartbeat; another worker takes the
// operation up where it is. What ARM refuses becomes a fault by its error code, never by its status: a late failure
// arrives with status 200.
package azure
