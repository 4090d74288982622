package vault

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// golden reads a file that tests/formats keeps.
func golden(f *testing.F, path ...string) []byte {
	f.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "tests", "formats", "testdata"}, path...)...))
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// FuzzDescription: a vault.json that is believed has an id, and the CA that it names has signed it.
func FuzzDescription(f *testing.F) {
	stored := golden(f, "vault", "points", "v1", "vault.json")
	f.Add(stored)
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parseDescription(body)
		if err != nil {
			return
		}
		if _, err := d.ID(); err != nil {
			t.Fatalf("a description is believed that has no id: %v", err)
		}
	})
}

// FuzzFollow: a document of recipients that follows is one of the CA's own.
func FuzzFollow(f *testing.F) {
	d, err := parseDescription(golden(f, "vault", "points", "v1", "vault.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"signed":{"kind":"recipients","version":1,"number":1,"recipients":[]},"signature":"AA=="}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if next, err := d.follow(body); err == nil {
			t.Fatalf("nobody signed it, and it is followed: %+v", next)
		}
	})
}

// FuzzKeyFile: a key that is read is written as the same key.
func FuzzKeyFile(f *testing.F) {
	f.Add(golden(f, "vault.key"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := ParseKey(text)
		if err != nil {
			return
		}
		again, err := k.Text()
		if err != nil {
			t.Fatal(err)
		}
		same, err := ParseKey(again)
		if err != nil || !bytes.Equal(same.Recipient().Public, k.Recipient().Public) {
			t.Fatalf("written again it is %v, %v", same, err)
		}
	})
}

// FuzzKeyRing reads whatever lies in a key file: several keys, wrapped ones, or anything else.
func FuzzKeyRing(f *testing.F) {
	key := golden(f, "vault.key")
	f.Add(append(bytes.Clone(key), key...))
	path := filepath.Join(f.TempDir(), "vault.key")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		ring, err := OpenKeyFile(t.Context(), path, nil)
		if err == nil && len(ring) == 0 {
			t.Fatal("a file without a key was read")
		}
	})
}
