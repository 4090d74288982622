// Package recovery carries out the steps on the vault and its appliers: it finds recovery points, fences a machine's source
// and takes the fence back, and has an applier make and remove the disks of a run.
//
// The vault is read and written here by the configuration server itself, so these steps work with every node of the source
// site dead. Disks are made by an applier, as a job in its desired document; the job's id is derived from the run, so that
// a repeated step finds the job that is under way.
package recovery
