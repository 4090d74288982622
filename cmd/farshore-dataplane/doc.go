// Command farshore-dataplane carries bytes between protected machines and the vault. It has one verb for each role:
//
//	farshore-dataplane join            trade a join token for a certificate
//	farshore-dataplane process-server  receive the streams of machines and write the journal
//	farshore-dataplane applier         turn the journal into replica disks
//	farshore-dataplane master-target   bring machines home: write their disks there
//	farshore-dataplane collector       remove what retention lets go
//
// Each role reads one strict YAML file (--config). It goes on without the configuration server as long as it must.
package main
