// Command farshore-agent is the mobility agent of a replicated machine:
//
//	farshore-agent join   trade a join token for a certificate
//	farshore-agent run    track, send and make recovery points, as the configuration server wants
//	farshore-agent probe  say how this machine's disks can be tracked, and why not better
//	farshore-agent disks  list the disks of this machine by the names they are protected under
//	farshore-agent hrl    explain the file of a change log, and name its damages
//	farshore-agent thaw   thaw what an agent that was killed has left frozen
//	farshore-agent readiness      say what would stop this machine from starting elsewhere
//	farshore-agent readiness fix  mend that
//
// It reads one strict YAML file (--config) and needs root: it opens whole disks, loads eBPF programs and freezes file
// systems. It goes on without the configuration server.
package main
