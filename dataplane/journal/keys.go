package journal

import (
	"farshore"
	"farshore/dataplane/chain"
	"farshore/dataplane/segment"
	"farshore/dataplane/vault"
)

// KeyOpener opens a data key with whichever private key it holds. vault.KeyRing is one.
type KeyOpener interface {
	OpenDataKey(keys []vault.SealedKey, about string) (segment.DataKey, error)
}

// keyContext binds a sealed data key to its epoch: a key moved to another claim does not open.
func keyContext(id segment.VaultID, m farshore.MachineID, g farshore.Generation, e farshore.Epoch) string {
	return "farshore data key v1 " + id.String() + " " + chain.ClaimName(m, g, e)
}
