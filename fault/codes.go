package fault

// Code is one line of the table of faults.
type Code struct {
	Code  string // "FS-2103"
	Title string // the class of fault in a few words
}

// Codes lists every fault that Farshore can report, in order. A code is never reused for another meaning.
// The thousands say where it arises:
//
//	1 mobility agent     2 process server and stream    3 vault, journal, formats   4 applier and recovery
//	5 Azure              6 configuration server, API    7 states and workflows      8 Temporal      9 command line, lab
var Codes = []Code{
	{"FS-1001", "the disk cannot be used"},
	{"FS-1002", "file systems cannot be held still for a cut"},
	{"FS-1003", "a hook that quiesces applications did not succeed"},
	{"FS-1004", "two disks have the same identity"},
	{"FS-5001", "Azure did not carry a request out; it is tried again"},
	{"FS-5002", "Azure does not accept the identity, or it lacks a permission"},
	{"FS-5003", "Azure refused a request for a reason not listed here"},
	{"FS-5004", "the Azure credential of the configuration is not usable"},
	{"FS-5100", "checks before a failover fail"},
	{"FS-5101", "a quota of the subscription stands in the way"},
	{"FS-5102", "the VM size cannot be had"},
	{"FS-5103", "the address or the subnet cannot be used"},
	{"FS-5104", "something needed in Azure does not exist"},
	{"FS-5201", "the recovered machine did not show that it has started"},
	{"FS-5202", "the prompt to wait for is not a regular expression"},
	{"FS-5203", "a resource is still there after it was removed"},
	{"FS-6001", "the name is not a valid machine, disk or group name"},
	{"FS-6002", "the join token is not well formed"},
	{"FS-6003", "the CA pin is not well formed"},
	{"FS-6004", "the configuration server does not belong to the pinned vault"},
	{"FS-6005", "the configuration server does not answer"},
	{"FS-6010", "the join token is refused"},
	{"FS-6011", "the name is enrolled already"},
	{"FS-6012", "the certificate is refused"},
	{"FS-6013", "the role does not allow this call"},
	{"FS-6014", "the request is not well formed"},
	{"FS-6015", "there is no such machine"},
	{"FS-6016", "there is no such run"},
	{"FS-6017", "there is no such node"},
	{"FS-6020", "the configuration file cannot be used"},
	{"FS-6021", "the vault was initialised already"},
	{"FS-6022", "the vault cannot be used"},
	{"FS-6023", "the address is not free"},
	{"FS-6024", "the store of the configuration server cannot be used"},
	{"FS-6025", "the audit log is damaged"},
	{"FS-6026", "the node did not report what was awaited"},
	{"FS-7001", "the operation is not allowed in the present state"},
	{"FS-7002", "a step of a workflow did not succeed"},
	{"FS-7003", "the request of an operation is incomplete or wrong"},
	{"FS-7004", "the machine has no protection"},
	{"FS-7005", "there is no such run"},
	{"FS-7006", "there is no such recovery point"},
	{"FS-7007", "something of a run is left in the cloud"},
	{"FS-7008", "a run could not be taken back whole"},
	{"FS-8001", "another server is using the store"},
	{"FS-8002", "the database file was written by another server version"},
	{"FS-8003", "the file cannot be used as a database"},
	{"FS-8004", "the address is not free"},
	{"FS-8005", "the Temporal server did not start"},
	{"FS-8006", "PostgreSQL cannot be used"},
	{"FS-8007", "the PostgreSQL schemas do not fit the server"},
	{"FS-8008", "the namespace or its search attributes cannot be registered"},
	{"FS-8009", "Temporal does not answer"},
	{"FS-8010", "the workflow is running already"},
	{"FS-8011", "there is no such workflow"},
	{"FS-8012", "Temporal refuses the request"},
	{"FS-9001", "the command line makes no sense"},
	{"FS-9002", "confirmation is needed"},
	{"FS-9301", "a disk is no state that a power cut could have left"},
	{"FS-9302", "the lab needs root"},
	{"FS-9303", "a program that the lab needs is missing"},
	{"FS-9304", "a program of the lab did not do its work"},
}
