// Package keyvault wraps vault keys with a key in Azure Key Vault or a managed HSM. The RSA key never leaves it: the 32
// bytes of a vault key's seed are wrapped there once and unwrapped there at every start of whoever needs them, so that the
// file with the wrapped seed is no secret, every use is in Key Vault's log, and access can be taken back. docs/formats/vault.md
// specifies the file.
//
// What it must not do: data keys are sealed to the vault key by HPKE and stay so; no data key is ever sent to Key Vault.
package keyvault
