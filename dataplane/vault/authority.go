package vault

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
)

// Authority is who the vault believes.
type Authority struct {
	Certificate *x509.Certificate
	Key         *ecdsa.PrivateKey // of the curve P-256
}

// signedDocument is a file that the vault's CA itself has signed.
type signedDocument struct {
	Signed    json.RawMessage `json:"signed"`
	Signature []byte          `json:"signature"` // ECDSA P-256 with SHA-256, ASN.1, over the compact form of Signed
}

// Sign gives the file of a document that the CA signs itself: the vault's description, and what follows on it.
func (a Authority) Sign(document any) ([]byte, error) {
	signed, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("write a document of the CA: %w", err)
	}
	digest := sha256.Sum256(signed)
	signature, err := a.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign a document of the CA: %w", err)
	}
	body, err := signedDocument{Signed: signed, Signature: signature}.encode()
	if err != nil {
		return nil, fmt.Errorf("write a document of the CA: %w", err)
	}
	return body, nil
}

// encode gives the bytes to store.
func (f signedDocument) encode() ([]byte, error) {
	body, err := json.MarshalIndent(f, "", "  ")
	return append(body, '\n'), err
}

// ReadSigned reads a document that one of the CAs (DER) has signed. Fields that the document does not have are refused.
func ReadSigned(body []byte, cas [][]byte, into any) error {
	file, err := parseSigned(body)
	if err != nil {
		return err
	}
	if err := file.by(cas); err != nil {
		return err
	}
	return strict(file.Signed, into)
}

// parseSigned gives the file with its content in compact form, which is what was signed. What the signature does not cover must
// be exactly as it is written: a bit that turned over there would not be noticed otherwise.
func parseSigned(body []byte) (signedDocument, error) {
	var file signedDocument
	if err := strict(body, &file); err != nil {
		return file, err
	}
	if again, err := file.encode(); err != nil || !bytes.Equal(again, body) {
		return file, errors.Join(errors.New("it is not written as such documents are"), err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, file.Signed); err != nil {
		return file, err
	}
	file.Signed = compact.Bytes()
	return file, nil
}

// by checks that one of the CAs has signed.
func (f signedDocument) by(cas [][]byte) error {
	err := errors.New("no CA is known")
	for _, der := range cas {
		var ca *x509.Certificate
		if ca, err = x509.ParseCertificate(der); err != nil {
			continue
		}
		if err = ca.CheckSignature(x509.ECDSAWithSHA256, f.Signed, f.Signature); err == nil {
			return nil
		}
	}
	return err
}

// strict reads JSON and refuses fields it does not know.
func strict(body []byte, into any) error {
	r := json.NewDecoder(bytes.NewReader(body))
	r.DisallowUnknownFields()
	return r.Decode(into)
}
