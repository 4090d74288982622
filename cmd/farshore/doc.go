// Command farshore is the operators' command line. Everything it does, it does through the configuration server's
// OperatorService, by Connect over mutual TLS, as a node with the role "operator".
//
//	farshore login --control HOST:PORT --token TOKEN [--ca-pin PIN] --name NAME
//	farshore status
//	farshore machine list|show|can|enable|disable|pause|resume|resync
//	farshore point list NAME
//	farshore failover test|cleanup|start|commit|cancel|change-point NAME
//	farshore run list|show|watch|cancel
//	farshore node list|remove
//	farshore token create
//
// A profile is a directory with the address of the configuration server and the operator's identity (see package
// credential). It is $FARSHORE_PROFILE, or farshore in the user's directory of configuration.
//
// What holds for every command:
//
//   - output goes to stdout, talk to stderr; -o json prints exactly one JSON document;
//   - a fault is printed with its code and remedy, and the exit status is that of its kind (fault.ExitCode);
//   - what changes the world shows its plan and asks; --yes agrees beforehand; nobody to ask refuses with FS-9002;
//   - an interrupt stops the watching of a run, never the run.
//
// The command must not link Temporal or a cloud's SDK: it knows the API and nothing behind it.
package main
