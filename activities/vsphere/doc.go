// Package vsphere carries out the steps on vSphere: it looks before anything is changed, makes the VM that a machine comes
// home to, gives its disks to the master target's VM and takes them back, starts and stops the VM, and removes it again. It
// speaks to vCenter through govmomi and leaks none of its types.
//
// What belongs to a run is written on the VMs themselves, in their ExtraConfig (see mark): a repeated step finds what an
// earlier attempt made, and a disk that was left attached is found by [Adapter.Reap]. The mark, its place on the bus and the
// change itself are always one reconfiguration: there is no moment between them.
//
// One session per vCenter is shared by all steps. A session that another administrator ended, or that expired, is begun
// again beneath the request that met it. Passwords are read from a file or the environment at each login and stand in no
// history.
//
// The package never powers a VM off that it was not asked to, never removes one that its run did not make, and never
// detaches a disk in a way that could delete its file unless the whole VM is removed.
package vsphere
