package initramfs_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"farshore/dataplane/readiness/initramfs"
	"farshore/dataplane/readiness/initramfs/initramfstest"
)

// compressors are those that run here without another program.
var compressors = map[string]func(t *testing.T, w io.Writer) io.WriteCloser{
	"gzip": func(_ *testing.T, w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	"xz": func(t *testing.T, w io.Writer) io.WriteCloser {
		z, err := xz.NewWriter(w)
		return must(t, z, err)
	},
	"lzma": func(t *testing.T, w io.Writer) io.WriteCloser {
		z, err := lzma.NewWriter(w)
		return must(t, z, err)
	},
	"zstd": func(t *testing.T, w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w)
		return must(t, z, err)
	},
	"lz4": func(t *testing.T, w io.Writer) io.WriteCloser {
		z := lz4.NewWriter(w)
		if err := z.Apply(lz4.LegacyOption(true)); err != nil {
			t.Fatal(err)
		}
		return z
	},
}

func must[W any](t *testing.T, w W, err error) W {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func compress(t *testing.T, name string, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := compressors[name](t, &out)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestEveryCompressionIsReadBehindMicrocodeAndBeforeAnotherArchive(t *testing.T) {
	micro := initramfstest.Archive(map[string]string{"kernel/x86/microcode/GenuineIntel.bin": "code"})
	body := initramfstest.Archive(map[string]string{"init": "#!/bin/sh", "conf/arch.conf": "a", "usr/lib/modules/6.1/hv_vmbus.ko": strings.Repeat("x", 100_000)})
	last := initramfstest.Archive(map[string]string{"etc/late": "later"})
	for name := range compressors {
		t.Run(name, func(t *testing.T) {
			packed := compress(t, name, body)
			image := slices.Concat(micro, make([]byte, 512-len(micro)%512), packed)
			if name != "lzma" { // which does not say where it ends
				image = slices.Concat(image, make([]byte, 4-len(image)%4), last)
			}
			got, err := initramfs.Read(bytes.NewReader(image), func(n string) bool { return n == "init" })
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"kernel/x86/microcode/GenuineIntel.bin", "usr/lib/modules/6.1/hv_vmbus.ko", "conf/arch.conf"} {
				if !slices.Contains(got.Names, want) {
					t.Errorf("%s is missing in %v", want, got.Names)
				}
			}
			if name != "lzma" && !slices.Contains(got.Names, "etc/late") {
				t.Errorf("what follows the compressed archive is missing in %v", got.Names)
			}
			if string(got.Kept["init"]) != "#!/bin/sh" || len(got.Kept) != 1 {
				t.Errorf("kept %q", got.Kept)
			}
			if got.Parts[1].Compression != name || got.Parts[1].Files != 3 {
				t.Errorf("parts %+v", got.Parts)
			}
		})
	}
}

// What the distributions' own programs write.
func TestWhatTheUsualProgramsCompressIsRead(t *testing.T) {
	body := initramfstest.Archive(map[string]string{"lib/modules/6.1/nvme.ko": strings.Repeat("nvme", 1<<20)})
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"gzip -n -9 -c", "bzip2 -c", "xz --check=crc32 -c", "xz --format=lzma -c", "zstd -q -19 -T0 -c", "zstd -q -1 -c", "lz4 -9 -l -c"} {
		t.Run(command, func(t *testing.T) {
			words := append(strings.Fields(command), path)
			if _, err := exec.LookPath(words[0]); err != nil {
				t.Skipf("SKIPPED: %v", err)
			}
			packed, err := exec.CommandContext(t.Context(), words[0], words[1:]...).Output()
			if err != nil {
				t.Fatal(err)
			}
			got, err := initramfs.Read(bytes.NewReader(packed), nil)
			if err != nil || !slices.Equal(got.Names, []string{"lib/modules/6.1/nvme.ko"}) {
				t.Errorf("%v (%v)", got.Names, err)
			}
		})
	}
}

func TestADamagedImageIsRefusedWithThePlaceOfTheDamage(t *testing.T) {
	good := initramfstest.Archive(map[string]string{"init": "x", "bin/sh": "y"})
	for name, c := range map[string]struct {
		image []byte
		want  string
	}{
		"nothing":           {nil, "it is empty"},
		"only padding":      {make([]byte, 512), "it is empty"},
		"something else":    {[]byte("#!/bin/sh\necho"), "neither a cpio archive"},
		"cut in a header":   {good[:100], "header of file 0"},
		"cut in a file":     {good[:len(good)-200], "unexpected EOF"},
		"no trailer":        {good[:len(good)-124], "header of file 2"},
		"bad digits":        {append([]byte("070701zzzz"), good[10:]...), ""},
		"a torn gzip":       {compress(t, "gzip", good)[:40], "unpack gzip"},
		"garbage behind":    {append(slices.Clone(good), "garbage"...), fmt.Sprintf("offset %d", len(good))},
		"a huge dictionary": {hugeXZ(t, good), "dictionary"},
		"a torn zstd":       {compress(t, "zstd", good)[:20], "unpack zstd"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := initramfs.Read(bytes.NewReader(c.image), nil)
			if name == "bad digits" { // the inode number is not looked at
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

// hugeXZ says of itself that it needs a dictionary of 3 GiB.
func hugeXZ(t *testing.T, body []byte) []byte {
	t.Helper()
	packed := compress(t, "xz", body)
	at := bytes.Index(packed[12:], []byte{0x21, 1}) + 12 + 2
	packed[at] = 39
	return packed
}

func FuzzRead(f *testing.F) {
	f.Add(initramfstest.Archive(map[string]string{"init": "x", "bin/sh": strings.Repeat("y", 70)}))
	f.Fuzz(func(t *testing.T, image []byte) {
		got, err := initramfs.Read(bytes.NewReader(image), func(string) bool { return true })
		if err == nil && len(got.Parts) == 0 {
			t.Error("an image without a part was accepted")
		}
		files := 0
		for _, p := range got.Parts {
			files += p.Files
		}
		if err == nil && files < len(got.Names) {
			t.Errorf("%d names in %d files", len(got.Names), files)
		}
	})
}
