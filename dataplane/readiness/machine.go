package readiness

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"farshore/dataplane/readiness/initramfs"
	"farshore/dataplane/readiness/volume"
)

// Machine is what is looked at.
type Machine struct {
	Root  fs.FS // of the root file system, with everything mounted in it. Absolute links stay inside
	Facts Facts
	// Images keeps what is in each initramfs between two looks: unpacking one takes seconds. May be nil.
	Images map[string]*initramfs.Image
}

// Facts are what the files do not say. What is not known is zero.
type Facts struct {
	Arch          string           // "amd64" or "arm64"; empty means amd64
	Live          bool             // the root is that of the machine this runs on
	Firmware      string           // "bios" or "uefi", of a live machine
	SecureBoot    bool             // it is switched on
	ESP           string           // where the EFI system partition is mounted: "boot/efi"; empty if that is not known
	BootDisk      *volume.Table    // of the disk that the root file system is on
	BootDiskBytes int64            // its size
	BootDiskName  string           // "sda"; only of a live machine it has a meaning
	Stack         []string         // what lies between root file system and disk: "lvm", "crypt", "md"
	Devices       []Device         // block devices with something on them
	Free          map[string]int64 // bytes that may still be written to the file system at "boot", "boot/efi", "etc"
}

// Device is a block device and the names under which it is known.
type Device struct {
	Names    []string // below /dev: "sda1", "disk/by-id/ata-X-part1"
	Boot     bool     // a partition of the boot disk
	Root     bool     // the root file system is on it
	Number   int      // of the partition; 0 if it is none
	PartUUID string
	volume.Volume
}

// maxConfig is how much of a configuration file is read.
const maxConfig = 4 << 20

// read gives a file, or nothing if it is not there, not readable or no configuration file by its size.
func (m *Machine) read(name string) []byte {
	f, err := m.Root.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // only read
	content, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil || len(content) > maxConfig {
		return nil
	}
	return content
}

func (m *Machine) exists(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { _, err := fs.Stat(m.Root, n); return err == nil })
}

// glob lists files that match any of the patterns.
func (m *Machine) glob(patterns ...string) []string {
	var all []string
	for _, p := range patterns {
		names, err := fs.Glob(m.Root, p)
		if err == nil {
			all = append(all, names...)
		}
	}
	return all
}

// fold finds a path below dir as a file system does that ignores case.
func (m *Machine) fold(dir string, parts ...string) (string, bool) {
	for _, part := range parts {
		entries, err := fs.ReadDir(m.Root, dir)
		if err != nil {
			return "", false
		}
		n := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return strings.EqualFold(e.Name(), part) })
		if n < 0 {
			return "", false
		}
		dir = path.Join(dir, entries[n].Name())
	}
	return dir, true
}

// line is one of a configuration file.
type line struct {
	number int
	text   string // without the white space around it
}

// lines gives those of a file that are neither empty nor a comment.
func lines(content []byte) []line {
	var all []line
	scanner := bufio.NewScanner(bytes.NewReader(content))
	scanner.Buffer(nil, maxConfig)
	for n := 1; scanner.Scan(); n++ {
		text := strings.TrimSpace(scanner.Text())
		if text != "" && text[0] != '#' {
			all = append(all, line{n, text})
		}
	}
	return all
}

// assignments reads the NAME=VALUE lines of a shell fragment; quotes around a value are taken off. The last one counts.
func assignments(content []byte) map[string]string {
	values := map[string]string{}
	for _, l := range lines(content) {
		name, value, ok := strings.Cut(l.text, "=")
		if !ok {
			continue
		}
		words := shellWords(value)
		value = ""
		if len(words) > 0 {
			value = words[0]
		}
		values[strings.TrimSpace(name)] = value
	}
	return values
}

// shellWords splits as a shell does, with both kinds of quotes and backslashes; it ends at a comment.
func shellWords(s string) []string {
	var words []string
	var word strings.Builder
	quote, begun := byte(0), false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(s):
			i++
			word.WriteByte(s[i])
			begun = true
		case quote != 0:
			word.WriteByte(c)
		case c == '\'' || c == '"':
			quote, begun = c, true
		case c == '#' && !begun:
			return words
		case c == ' ' || c == '\t':
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}

// size is that of a file, or 0.
func (m *Machine) size(name string) int64 {
	about, err := fs.Stat(m.Root, name)
	if err != nil {
		return 0
	}
	return about.Size()
}

// follow gives the file that a link in the end stands for; path elements that are links themselves stay as they are.
func (m *Machine) follow(name string) string {
	for range 8 {
		to, err := fs.ReadLink(m.Root, name)
		if err != nil {
			return name
		}
		if path.IsAbs(to) {
			name = strings.TrimPrefix(path.Clean(to), "/")
		} else {
			name = strings.TrimPrefix(path.Join("/", path.Dir(name), to), "/")
		}
	}
	return name
}

// image lists an initramfs, from the cache if it has not changed.
func (m *Machine) image(name string) (*initramfs.Image, error) {
	f, err := m.Root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	about, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if about.IsDir() {
		return nil, errors.New("it is a folder")
	}
	key := strings.Join([]string{name, about.ModTime().String(), strconv.FormatInt(about.Size(), 10)}, " ")
	if image, ok := m.Images[key]; ok {
		return image, nil
	}
	image, err := initramfs.Read(f, nil)
	if err == nil && m.Images != nil {
		m.Images[key] = image
	}
	return image, err
}
