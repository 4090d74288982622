package journal

import (
	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// SealedKey is an epoch's data key, sealed to one recipient.
type SealedKey = vault.SealedKey

// KeySealer seals a data key to every recipient of the vault. about is authenticated with it.
type KeySealer interface {
	SealDataKey(key segment.DataKey, about string) ([]SealedKey, error)
}

// KeyOpener opens a data key with whichever private key it holds.
type KeyOpener interface {
	OpenDataKey(keys []SealedKey, about string) (segment.DataKey, error)
}

// keyContext binds a sealed data key to its epoch: a key moved to another claim does not open.
func keyContext(id segment.VaultID, m farshore.MachineID, g farshore.Generation, e farshore.Epoch) string {
	return "farshore data key v1 " + id.String() + " " + chain.ClaimName(m, g, e)
}
