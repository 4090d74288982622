// Package keyvaultsim is a small Azure Key Vault that speaks the real protocol to the real clients: a request without a
// token is answered with a challenge, keys have versions, wrapkey and unwrapkey are RSA-OAEP-256 over base64url, errors have
// Key Vault's form. It also answers as the token endpoint of a managed identity (the protocol of App Service), so that a
// program can be run against it as it is, with environment variables only.
//
// It can be told to answer nothing but "busy" for a while, to deny access, and to disable a version of a key.
package keyvaultsim
