// Package access judges by a file's owner and access list whether anybody but the system and the administrators can change
// it. What the agent runs as LocalSystem must be nobody else's to write.
package access
