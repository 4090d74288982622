package bootentry

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Variables are the boot variables of a machine.
type Variables struct {
	Options map[uint16]Option // those that could be read
	Taken   []uint16          // numbers in use, readable or not
	Order   []uint16
}

// Changes are what has to be done, in this order: write the option, set the order, remove the others.
type Changes struct {
	Number uint16 // of the option
	Write  bool   // it is not there as it shall be
	Option Option
	Remove []uint16
	Order  []uint16
}

// Settle makes one option, tried first, of all that start the file.
func Settle(v Variables, title string, t Target) (Changes, error) {
	option, err := Start(title, t)
	if err != nil {
		return Changes{}, err
	}
	c := Changes{Option: option, Write: true}
	var same []uint16
	for _, n := range slices.Sorted(maps.Keys(v.Options)) {
		if found, ok := v.Options[n].Target(); ok && found.same(t) {
			same = append(same, n)
		}
	}
	if len(same) > 0 {
		c.Number, c.Remove = same[0], same[1:]
		kept := v.Options[c.Number]
		c.Write = kept.Title != title || kept.Attributes&Active == 0 || string(kept.Path) != string(option.Path)
	} else if c.Number, err = free(v); err != nil {
		return Changes{}, err
	}
	c.Order = append(c.Order, c.Number)
	for _, n := range v.Order {
		if !slices.Contains(c.Order, n) && !slices.Contains(c.Remove, n) {
			c.Order = append(c.Order, n)
		}
	}
	return c, nil
}

// Count says how many options start a file.
func Count(v Variables, t Target) (n int) {
	for _, o := range v.Options {
		if found, ok := o.Target(); ok && found.same(t) {
			n++
		}
	}
	return n
}

func free(v Variables) (uint16, error) {
	for n := range 1 << 16 {
		if !slices.Contains(v.Taken, uint16(n)) && !slices.Contains(v.Order, uint16(n)) {
			return uint16(n), nil
		}
	}
	return 0, fmt.Errorf("all %d numbers of boot options are taken", 1<<16)
}

// Name is the variable of an option.
func Name(n uint16) string { return fmt.Sprintf("Boot%04X", n) }

// ParseName reads the name of an option's variable.
func ParseName(name string) (n uint16, ok bool) {
	digits, ok := strings.CutPrefix(name, "Boot")
	if !ok || len(digits) != 4 {
		return 0, false
	}
	for _, d := range digits {
		at := strings.IndexRune("0123456789ABCDEF", d)
		if at < 0 {
			return 0, false
		}
		n = n<<4 | uint16(at)
	}
	return n, true
}

// ParseOrder reads the variable BootOrder.
func ParseOrder(b []byte) ([]uint16, error) {
	if len(b)%2 != 0 {
		return nil, fmt.Errorf("a boot order of %d bytes", len(b))
	}
	var order []uint16
	for i := 0; i < len(b); i += 2 {
		order = append(order, binary.LittleEndian.Uint16(b[i:]))
	}
	return order, nil
}

// EncodeOrder gives the content of the variable BootOrder.
func EncodeOrder(order []uint16) []byte {
	var b []byte
	for _, n := range order {
		b = binary.LittleEndian.AppendUint16(b, n)
	}
	return b
}
