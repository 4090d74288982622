package rescue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"farshore/dataplane/rescue/bootentry"
)

// globalGUID is the vendor of the variables that the UEFI specification itself defines.
const globalGUID = "8be4df61-93ca-11d2-aa0d-00e098032b8c"

// variableAttributes: kept over restarts, and seen by boot loaders and the running system.
const variableAttributes = 1 | 2 | 4

// Variables are the firmware's boot variables, as efivarfs shows them in a folder: each file is four bytes of attributes and
// the content.
type Variables struct{ Folder string }

func (v Variables) path(name string) string { return filepath.Join(v.Folder, name+"-"+globalGUID) }

func (v Variables) read(name string) ([]byte, error) {
	body, err := os.ReadFile(v.path(name))
	if err != nil {
		return nil, err
	}
	if len(body) < 4 {
		return nil, fmt.Errorf("variable %s has %d bytes", name, len(body))
	}
	return body[4:], nil
}

// write replaces a variable, in the one call of write(2) that efivarfs wants.
func (v Variables) write(name string, content []byte) error {
	f, err := os.OpenFile(v.path(name), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(binary.LittleEndian.AppendUint32(nil, variableAttributes), content...))
	return errors.Join(err, f.Close())
}

// load reads all boot variables. An option that cannot be read keeps its number.
func (v Variables) load() (bootentry.Variables, error) {
	all := bootentry.Variables{Options: map[uint16]bootentry.Option{}}
	files, err := os.ReadDir(v.Folder)
	if err != nil {
		return all, err
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), "-"+globalGUID)
		if !ok {
			continue
		}
		n, ok := bootentry.ParseName(name)
		if !ok {
			continue
		}
		all.Taken = append(all.Taken, n)
		body, err := v.read(name)
		if err != nil {
			return all, err
		}
		if o, err := bootentry.ParseOption(body); err == nil {
			all.Options[n] = o
		}
	}
	order, err := v.read("BootOrder")
	if err == nil {
		all.Order, err = bootentry.ParseOrder(order)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return all, err
}

// Settle makes one boot entry for a file, tried first, and reads back that it is so. choose names the file when it is known
// what the firmware has.
func (v Variables) Settle(title string, choose func(bootentry.Variables) bootentry.Target) (bootentry.Target, error) {
	now, err := v.load()
	if err != nil {
		return bootentry.Target{}, err
	}
	target := choose(now)
	c, err := bootentry.Settle(now, title, target)
	if err != nil {
		return target, err
	}
	if c.Write {
		if err := v.write(bootentry.Name(c.Number), c.Option.Encode()); err != nil {
			return target, err
		}
	}
	if err := v.write("BootOrder", bootentry.EncodeOrder(c.Order)); err != nil {
		return target, err
	}
	for _, n := range c.Remove {
		if err := os.Remove(v.path(bootentry.Name(n))); err != nil {
			return target, err
		}
	}
	if now, err = v.load(); err != nil {
		return target, err
	}
	if left := bootentry.Count(now, target); left != 1 || len(now.Order) == 0 || now.Order[0] != c.Number {
		return target, fmt.Errorf("the firmware has %d entries for it and tries %v in this order", left, now.Order)
	}
	return target, nil
}
