// Package machine asks a machine's entity workflow. [Client] is how the configuration server's API sends operations, reads
// a machine's record and tells what the nodes observed; [Client.Serve] serves the steps by which a plain workflow does the
// same, since Temporal lets no workflow send an update.
//
// An operation is an update whose id is the operation's, so sending it again gives its first answer. What comes back is a
// fault, whichever side refused.
package machine
