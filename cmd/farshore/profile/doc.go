// Package profile is an operator's place at one vault: a folder with the operator's identity (the three files of package
// credential: key.pem, chain.pem, ca.pem) and a file named control, which holds the address of the configuration server as
// host:port on one line. The same files serve curl:
//
//	curl --cert chain.pem --key key.pem --cacert ca.pem https://"$(cat control)"/farshore.v1.OperatorService/GetStatus ...
//
// Command farshore uses profiles; whoever sets up a configuration server writes the first one: enrol the identity into the
// folder, then [Save] the address.
package profile
