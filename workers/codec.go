package workers

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"farshore/fault"
)

const (
	// encoding marks payloads that a Codec made.
	encoding = "binary/farshore-aes-256-gcm"
	// keyMetadata names the key that a payload is encrypted with.
	keyMetadata = "farshore-key"
	keyBytes    = 32
)

// Codec encrypts payloads with AES-256-GCM. It decodes only what it has made: everything else passes.
type Codec struct {
	first string // id of the key that encrypts
	keys  map[string]cipher.AEAD
}

var _ converter.PayloadCodec = (*Codec)(nil)

// LoadCodec reads a key file: lines of 32 bytes in base64. The first key encrypts, all of them decrypt, so that a key is
// changed by putting a new line on top. The error is a *fault.Fault (FS-8101).
func LoadCodec(path string) (*Codec, error) {
	broken := func(what string, err error) error {
		return &fault.Fault{
			Code: "FS-8101", Kind: fault.Operator, Subject: "payload key file " + path, What: what,
			Remedy: "restore the file from a copy; to begin with a new one: head -c 32 /dev/urandom | base64", Err: err,
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, broken("it cannot be read", err)
	}
	c := &Codec{keys: map[string]cipher.AEAD{}}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(lines.Bytes())))
		if err != nil || len(key) != keyBytes {
			return nil, broken("a line of it is not 32 bytes in base64", err)
		}
		if err := c.add(key); err != nil {
			return nil, broken("a key of it cannot be used", err)
		}
	}
	if c.first == "" {
		return nil, broken("it holds no key", lines.Err())
	}
	return c, nil
}

// CreateKey writes a new key file, for its owner alone. It never replaces one: without the key, histories cannot be read.
func CreateKey(path string) error {
	key := make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("draw a payload key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create payload key file %s: %w", path, err)
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("write payload key file %s: %w", path, err)
	}
	return nil
}

func (c *Codec) add(key []byte) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(key)
	id := hex.EncodeToString(sum[:4])
	c.keys[id] = aead
	if c.first == "" {
		c.first = id
	}
	return nil
}

// Encode encrypts payloads.
func (c *Codec) Encode(plain []*commonpb.Payload) ([]*commonpb.Payload, error) {
	sealed := make([]*commonpb.Payload, 0, len(plain))
	aead := c.keys[c.first]
	for _, p := range plain {
		body, err := proto.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("encrypt a payload: %w", err)
		}
		nonce := make([]byte, aead.NonceSize())
		if _, err := rand.Read(nonce); err != nil {
			return nil, fmt.Errorf("encrypt a payload: %w", err)
		}
		sealed = append(sealed, &commonpb.Payload{
			Metadata: map[string][]byte{converter.MetadataEncoding: []byte(encoding), keyMetadata: []byte(c.first)},
			Data:     aead.Seal(nonce, nonce, body, nil),
		})
	}
	return sealed, nil
}

// Decode decrypts the payloads that a Codec has made and passes the others.
func (c *Codec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	plain := make([]*commonpb.Payload, 0, len(payloads))
	for _, p := range payloads {
		if string(p.GetMetadata()[converter.MetadataEncoding]) != encoding {
			plain = append(plain, p)
			continue
		}
		opened, err := c.open(p)
		if err != nil {
			return nil, err
		}
		plain = append(plain, opened)
	}
	return plain, nil
}

func (c *Codec) open(p *commonpb.Payload) (*commonpb.Payload, error) {
	id := string(p.GetMetadata()[keyMetadata])
	aead := c.keys[id]
	if aead == nil {
		return nil, &fault.Fault{
			Code: "FS-8101", Kind: fault.Operator, Subject: "a payload of a history", What: fmt.Sprintf("it is encrypted with key %q, which the key file does not hold", id),
			Remedy: "put the former key back as a further line of the key file",
		}
	}
	if len(p.GetData()) < aead.NonceSize() {
		return nil, damagedPayload(nil)
	}
	body, err := aead.Open(nil, p.GetData()[:aead.NonceSize()], p.GetData()[aead.NonceSize():], nil)
	if err != nil {
		return nil, damagedPayload(err)
	}
	opened := &commonpb.Payload{}
	if err := proto.Unmarshal(body, opened); err != nil {
		return nil, damagedPayload(err)
	}
	return opened, nil
}

func damagedPayload(err error) error {
	return &fault.Fault{
		Code: "FS-8102", Kind: fault.Corrupt, Subject: "a payload of a history", What: "it is not what was encrypted",
		Remedy: "look at Temporal's database; the vault does not depend on it", Err: err,
	}
}
