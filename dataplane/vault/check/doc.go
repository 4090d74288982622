// Package check tries a user's storage: whether it does what a vault must rely on. It works beside the vault's content, on
// names of its own that it removes again, so it may be run on a vault in use.
package check
