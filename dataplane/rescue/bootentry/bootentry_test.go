package bootentry

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var loader = Target{Partition: 2, First: 4096, Blocks: 32768, GUID: "1b0d5c6e-92a4-4f0e-8d11-fa25b0e00002", File: `\EFI\BOOT\BOOTX64.EFI`}

func start(t *testing.T, title string, target Target) Option {
	t.Helper()
	o, err := Start(title, target)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// The bytes are written by hand after UEFI 2.10, 3.1.3, 10.3.5.1 and 10.3.5.4.
func TestAnOptionIsWrittenAsTheSpecificationSays(t *testing.T) {
	want := strings.Join([]string{
		"01000000", "5e00", // active; 94 bytes of device path
		"770065006200" + "0000",                                                                                    // "web"
		"04012a00", "02000000", "0010000000000000", "0080000000000000", "6e5c0d1ba4920e4f8d11fa25b0e00002", "0202", // hard drive
		"04043000", // file path of 48 bytes
		"5c004500460049005c0042004f004f0054005c0042004f004f0054005800360034002e00450046004900" + "0000",
		"7fff0400", // end
	}, "")
	if got := hex.EncodeToString(start(t, "web", loader).Encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Options that OVMF (Debian 12) has written by itself, taken from its store of variables: none of them starts a file of a partition.
func TestOptionsOfRealFirmwareAreRead(t *testing.T) {
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			t.Fatal(err)
		}
		o, err := ParseOption(raw)
		if err != nil || !bytes.Equal(o.Encode(), raw) {
			t.Errorf("%s: %+v, %v", path, o, err)
		}
		if target, ok := o.Target(); ok {
			t.Errorf("%s (%s) starts %+v", path, o.Title, target)
		}
	}
}

func TestAnythingIsReadOrRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOf(rapid.Byte()).Draw(t, "option")
		o, err := ParseOption(raw)
		if err != nil {
			return
		}
		o.Target()
		if again, err := ParseOption(o.Encode()); err != nil || !bytes.Equal(again.Path, o.Path) || !bytes.Equal(again.Data, o.Data) {
			t.Fatalf("%x is read as %+v, and that as %+v (%v)", raw, o, again, err)
		}
	})
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := loader
		want.Partition = rapid.IntRange(1, 128).Draw(t, "partition")
		want.First, want.Blocks = rapid.Uint64().Draw(t, "first"), rapid.Uint64().Draw(t, "blocks")
		want.File = `\` + rapid.StringMatching(`[A-Za-z0-9_]{1,20}\\[a-z0-9]{1,8}\.efi`).Draw(t, "file")
		o, err := Start("m", want)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := o.Target(); !ok || got != want {
			t.Fatalf("got %+v, %v; want %+v", got, ok, want)
		}
	})
}

// apply does what Settle says, as the firmware would hold it then.
func apply(v Variables, c Changes) Variables {
	next := Variables{Options: map[uint16]Option{}, Order: c.Order}
	for n, o := range v.Options {
		if !slices.Contains(c.Remove, n) {
			next.Options[n] = o
		}
	}
	for _, n := range v.Taken {
		if !slices.Contains(c.Remove, n) {
			next.Taken = append(next.Taken, n)
		}
	}
	if c.Write {
		next.Options[c.Number] = c.Option
		if !slices.Contains(next.Taken, c.Number) {
			next.Taken = append(next.Taken, c.Number)
		}
	}
	return next
}

func TestOneEntryIsLeftHoweverManyThereWere(t *testing.T) {
	other := loader
	other.GUID, other.File = "00000000-1111-2222-3333-444444444444", `\EFI\foreign\grubx64.efi`
	lower := loader
	lower.File = strings.ToLower(loader.File)
	dead := start(t, "web-01", loader)
	dead.Attributes = 0
	rows := []struct {
		name    string
		options []Option
		order   []uint16
		want    []uint16 // the order afterwards
		write   bool
	}{
		{"a new machine", nil, nil, []uint16{0}, true},
		{"other systems stay behind it", []Option{start(t, "other", other)}, []uint16{0}, []uint16{1, 0}, true},
		{"restored before", []Option{start(t, "other", other), start(t, "web-01", loader)}, []uint16{0, 1}, []uint16{1, 0}, false},
		{
			"restored by others, many times",
			[]Option{start(t, "a", lower), start(t, "b", loader), start(t, "c", loader), start(t, "other", other)},
			[]uint16{3, 2, 1, 0},
			[]uint16{0, 3},
			true,
		},
		{"switched off", []Option{dead}, []uint16{0}, []uint16{0}, true},
		{"not in the order", []Option{start(t, "web-01", loader)}, nil, []uint16{0}, false},
		{"a number that only the order knows", nil, []uint16{0, 7}, []uint16{1, 0, 7}, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			v := Variables{Options: map[uint16]Option{}, Order: row.order}
			for i, o := range row.options {
				v.Options[uint16(i)] = o
				v.Taken = append(v.Taken, uint16(i))
			}
			c, err := Settle(v, "web-01", loader)
			if err != nil || !slices.Equal(c.Order, row.want) || c.Write != row.write {
				t.Fatalf("Settle = %+v, %v; want order %v, write %v", c, err, row.want, row.write)
			}
			after := apply(v, c)
			if n := Count(after, loader); n != 1 {
				t.Errorf("%d entries for it are left: %+v", n, after)
			}
			again, err := Settle(after, "web-01", loader)
			if err != nil || again.Write || len(again.Remove) > 0 || !slices.Equal(again.Order, after.Order) {
				t.Errorf("the second time it would change %+v (%v)", again, err)
			}
		})
	}
}

func TestNumbersThatCannotBeReadAreNotTaken(t *testing.T) {
	v := Variables{Options: map[uint16]Option{}, Taken: []uint16{0, 1, 2}}
	if c, err := Settle(v, "m", loader); err != nil || c.Number != 3 {
		t.Errorf("Settle = %+v, %v", c, err)
	}
}

func TestNamesOfOptions(t *testing.T) {
	for name, want := range map[string]int{"Boot0000": 0, "Boot00AF": 0xaf, "BootFFFF": 0xffff, "Boot00af": -1, "BootOrder": -1, "Boot001": -1, "BootCurrent": -1} {
		n, ok := ParseName(name)
		if ok != (want >= 0) || ok && (int(n) != want || Name(n) != name) {
			t.Errorf("ParseName(%s) = %d, %v; want %d", name, n, ok, want)
		}
	}
}
