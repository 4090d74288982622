package disk

import "fmt"

// Stat samples the device. Windows has no count of a drive's writes that can prove anything: a drive is always read whole.
func (d *Device) Stat() (Stat, error) {
	if d.node {
		return Stat{InFlight: 1}, nil
	}
	if err := d.file.Sync(); err != nil {
		return Stat{}, fmt.Errorf("flush %s: %w", d.path, err)
	}
	st, err := d.file.Stat()
	if err != nil {
		return Stat{}, fmt.Errorf("sample %s: %w", d.path, err)
	}
	return Stat{FileChanged: st.ModTime().UnixNano()}, nil
}

// Accounted reports whether the kernel counts the device's writes at all, in a way that can prove that there was none.
func (d *Device) Accounted() bool { return false }

// Sequence is a number that changes whenever another medium stands behind the same name. Windows has none.
func (d *Device) Sequence() string { return "" }
