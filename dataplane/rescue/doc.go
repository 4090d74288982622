// Package rescue is what a rescue image does once a machine's metal runs it, as the first process and with nothing else beside
// it: it makes the metal a master target for that one machine, for as long as the machine is on its way home.
//
//   - [Prepare] mounts what the kernel offers, loads the drivers and finds the [Console].
//   - A [Network] is configured by DHCP, or as the kernel's command line says.
//   - [Disks] are given durable names, as there is nobody else to do it, and told apart by what they are and hold.
//   - An [Attendant] stands between the configuration server and the disks: the mapping is shown on the console, and a person
//     agrees before anything is written. Firmware of another kind than the machine's is refused.
//   - [Land] makes the restored disk one that the firmware starts: the fallback path, and exactly one entry of its own.
//
// What writes the disks is package mastertarget, as on any other host.
//
// Invariants:
//   - Nothing is written to a disk before the mapping was agreed to, here or at the desk.
//   - Land is called for disks that were compared block by block and given back. What it changes is inside the restored EFI
//     system partition, and only if the fallback path is not there.
//   - Boot entries of other partitions are left as they are.
package rescue
